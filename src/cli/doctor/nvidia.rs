//! Checks NVIDIA's kernel module, and the device nodes that it does not make by itself.

use super::finding::Findings;
use crate::config::{Config, Source};
use crate::host::Host;
use crate::inventory::Inventory;
use crate::model::device::Vendor;
use crate::model::text::shown;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Unlike other drivers' nodes, NVIDIA's are made by a program. It has to run as root before a
/// container starts.
pub(super) fn check(inventory: &Inventory, host: &Host, config: &Config, found: &mut Findings) {
    let node = &inventory.node;
    let is_real = |vendor: Option<Vendor>| {
        node.devices.iter().any(|d| !d.simulated && vendor.is_none_or(|v| v == d.vendor))
    };
    let is_looked_for =
        config.sources.contains(&Source::Nvidia) && (node.devices.is_empty() || is_real(None));
    let module = host.paths.proc.join("driver/nvidia/version");
    if !module.exists() || !(is_looked_for || is_real(Some(Vendor::Nvidia))) {
        return;
    }
    // Another check covers the nodes of the inventory.
    let known: BTreeSet<&str> = node.nodes().map(|node| node.path.as_str()).collect();
    let expected = expected(host);
    let missing: Vec<&str> = expected
        .iter()
        .map(String::as_str)
        .filter(|path| !known.contains(path) && !is_device(path, host))
        .collect();
    if missing.is_empty() {
        return found.ok("nvidia-nodes", "the nodes of NVIDIA's driver exist");
    }
    let names: Vec<_> = missing.iter().map(|path| format!("`{}`", shown(path))).collect();
    let names = names.join(", ");
    found.fault(
        "nvidia-nodes-missing",
        format!("NVIDIA's kernel module is loaded, but without {names} containers cannot use CUDA"),
        "`nvidia-modprobe -u -c=0` makes them, as nvidia-persistenced does at boot; then \
         `gpulease inventory refresh`",
    );
}

/// The nodes that a container with every GPU needs.
fn expected(host: &Host) -> Vec<String> {
    let mut nodes = vec!["/dev/nvidiactl".to_owned(), "/dev/nvidia-uvm".to_owned()];
    let gpus = fs::read_dir(host.paths.proc.join("driver/nvidia/gpus"));
    let mut minors: Vec<u32> = gpus
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|gpu| minor(&fs::read_to_string(gpu.path().join("information")).ok()?))
        .collect();
    minors.sort_unstable();
    nodes.extend(minors.into_iter().map(|minor| format!("/dev/nvidia{minor}")));
    nodes
}

/// The number behind `Device Minor:`.
fn minor(information: &str) -> Option<u32> {
    let line = information.lines().find_map(|line| line.strip_prefix("Device Minor:"))?;
    line.trim().parse().ok()
}

pub(super) fn is_device(path: &str, host: &Host) -> bool {
    let path = host.paths.on_host(Path::new(path));
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}
