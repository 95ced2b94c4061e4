//! Finds CDI specs that were written for another boot or another driver. NVIDIA's majors are
//! assigned when its modules load, so a node with an old number opens another device, or none.

use super::finding::{Findings, quoted};
use crate::host::Host;
use crate::inventory::cdi::{SpecFile, read_all};
use crate::model::cdi::EditNode;
use crate::model::text::shown;
use crate::sys::char_drivers;
use std::fs;
use std::path::Path;

pub(super) fn check(host: &Host, found: &mut Findings) {
    for file in read_all(&host.paths).files {
        let stale: Vec<(&str, String)> = nodes(&file)
            .filter_map(|node| Some((node.path.as_str(), other(node, host)?)))
            .collect();
        let Some((first, number)) = stale.first() else { continue };
        let more = match stale.len() {
            1 => String::new(),
            count => format!(", and so are {} more nodes", count - 1),
        };
        let (file, first) = (quoted(&file.path), shown(first));
        found.warning(
            "cdi-stale",
            format!(
                "{file} is out of date: `{first}` is {number} on this host now{more}; engines that \
                 use the spec give containers another device, or none"
            ),
            format!(
                "write {file} again with the tool that wrote it (`nvidia-ctk cdi generate`, \
                 `amd-ctk cdi generate`, `gpulease cdi generate`)"
            ),
        );
    }
}

/// All device nodes of a spec.
fn nodes(file: &SpecFile) -> impl Iterator<Item = &EditNode> {
    let devices = file.spec.devices.iter().map(|device| &device.container_edits);
    devices.chain([&file.spec.container_edits]).flat_map(|edits| &edits.device_nodes)
}

/// The node's number on this host, if the spec has another one.
fn other(node: &EditNode, host: &Host) -> Option<String> {
    let (said_major, said_minor) = node.numbers()?;
    let metadata = fs::metadata(host.paths.on_host(Path::new(node.on_host()))).ok()?;
    let here = char_drivers::numbers_of_any(&metadata)?;
    (here != (said_major, said_minor)).then(|| format!("{}:{}", here.0, here.1))
}
