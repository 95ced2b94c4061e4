//! The devices file, the inventory that was made of it, and the nodes of the devices in it.

use super::configuration::insecure;
use super::finding::{Findings, plain, quoted};
use super::subject::Subject;
use crate::cli::words;
use crate::failure::Failure;
use crate::inventory::{self, Inventory, InventoryError};
use crate::model::text::shown;
use crate::sys::checked::FileError;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Gives back what a start would find.
pub(super) fn check(subject: &Subject, found: &mut Findings) -> Option<Inventory> {
    // What a library said is in the inventory as long as that holds; it is not asked again, and never
    // by the files of another root.
    let known = subject.fresh_inventory().filter(|known| !is_simulated(known));
    let scan = || inventory::scan_files(&subject.paths, &subject.config);
    let scanned = match known.map_or_else(scan, Ok) {
        Ok(scanned) => scanned,
        Err(error) => {
            source(&error, subject, found);
            return None;
        }
    };
    cache(subject, found);
    if scanned.node.devices.is_empty() {
        let why = words::no_devices(&subject.config);
        found.fault("no-devices", format!("{why}: every request is refused"), words::FIND_DEVICES);
        return Some(scanned);
    }
    let simulated = scanned.node.devices.iter().filter(|device| device.simulated).count();
    let more = if simulated > 0 { format!(", {simulated} simulated") } else { String::new() };
    let count = words::count(scanned.node.devices.len(), "device");
    found.ok("devices", format!("{count}{more}, by {}", shown(&scanned.from.join(", "))));
    if simulated > 0 {
        hidden(subject, found);
    }
    nodes(&scanned, subject, found);
    memory_limits(&scanned, subject, found);
    Some(scanned)
}

fn is_simulated(inventory: &Inventory) -> bool {
    inventory.node.devices.iter().any(|device| device.simulated)
}

/// A devices file that somebody only wanted to try takes the place of the GPUs that there are.
fn hidden(subject: &Subject, found: &mut Findings) {
    let has_any = |path: PathBuf| fs::read_dir(path).is_ok_and(|mut there| there.next().is_some());
    let paths = &subject.paths;
    if has_any(paths.proc.join("driver/nvidia/gpus")) || has_any(paths.sys.join("class/kfd/kfd")) {
        found.warning(
            "simulated-hides-gpus",
            format!(
                "this host has GPUs, and none is looked for: {} simulates others",
                quoted(&subject.config.devices_file)
            ),
            "remove the file to lease the real ones",
        );
    }
}

/// What is wrong with the devices file: no start with a request can succeed.
fn source(error: &InventoryError, subject: &Subject, found: &mut Findings) {
    let text = Failure::of(error.code(), error).message;
    let file = &subject.config.devices_file;
    match error {
        InventoryError::File(FileError::Io(error))
            if error.source.kind() == ErrorKind::PermissionDenied && !subject.is_host_root =>
        {
            found.unchecked(file, &error.source);
        }
        InventoryError::File(error) => insecure(error, text, "devices-file-insecure", found),
        InventoryError::NumberExists { .. } => {
            found.fault("simulated-number-exists", text, error.hint());
        }
        InventoryError::BootId { .. } | InventoryError::NoBootId { .. } => {
            found.fault("boot-id-unreadable", text, "mount procfs at /proc");
        }
        _ => found.fault("devices-file-invalid", text, error.hint()),
    }
}

/// The source is good, so whatever is wrong here the next start sets right.
fn cache(subject: &Subject, found: &mut Findings) {
    const REFRESH: &str = "nothing has to be done; `gpulease inventory refresh` renews it now";
    let path = subject.store.inventory_path();
    let inventory = match subject.cached_inventory() {
        Ok(Some(Ok(inventory))) => inventory,
        Ok(None) => {
            let text = format!("{} is not there yet; the next start makes it", quoted(&path));
            return found.note("inventory-missing", text, REFRESH);
        }
        Ok(Some(Err(InventoryError::Stale(why)))) => {
            return found.note("inventory-stale", stale(&path, &why.to_string()), REFRESH);
        }
        Ok(Some(Err(error))) => {
            let text = format!("{}: {error}; the next start renews it", quoted(&path));
            return found.warning("inventory-damaged", text, "run `gpulease inventory refresh`");
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !subject.is_host_root => {
            return found.unchecked(&path, &error);
        }
        Err(error) => {
            let text = format!("{} cannot be read: {error}", quoted(&path));
            return found.fault(
                "inventory-unreadable",
                text,
                format!("`rm -r --one-file-system {}`", plain(&path)),
            );
        }
    };
    match inventory::freshness(&inventory, &subject.paths, &subject.config) {
        Ok(()) => {
            found.ok("inventory", format!("{} is of this boot and up to date", quoted(&path)))
        }
        Err(why) => found.note("inventory-stale", stale(&path, &why.to_string()), REFRESH),
    }
}

fn stale(path: &Path, why: &str) -> String {
    format!("{} is out of date ({}); the next start renews it", quoted(path), shown(why))
}

/// A start whose device has no node is refused.
fn nodes(inventory: &Inventory, subject: &Subject, found: &mut Findings) {
    let node = &inventory.node;
    let devices = node.devices.iter().flat_map(|device| &device.nodes);
    let control = node.control.iter().flat_map(|control| &control.nodes);
    let real = devices.chain(control).filter(|node| node.simulated.is_none());
    let mut missing = Vec::new();
    let mut seen = 0_usize;
    for node in real {
        seen += 1;
        let path = subject.paths.on_host(Path::new(&node.path));
        let is_device =
            fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_char_device());
        if !is_device {
            missing.push(node.path.as_str());
        }
    }
    match missing.as_slice() {
        [] if seen == 0 => {}
        [] => found
            .ok("device-nodes", format!("{} of the devices are there", words::count(seen, "node"))),
        [first, more @ ..] => {
            let more =
                if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            // Unlike a GPU's, these come one by one, as somebody asks for them.
            let caps = if missing.iter().any(|path| path.starts_with("/dev/nvidia-caps/")) {
                ", make the nodes of MIG capabilities (`nvidia-modprobe -f FILE` for each FILE \
                 `access` below /proc/driver/nvidia/capabilities)"
            } else {
                ""
            };
            found.fault(
                "device-node-missing",
                format!(
                    "`{}`{more} of the inventory is no device here: what needs it is refused",
                    shown(first)
                ),
                format!(
                    "load the driver (`nvidia-modprobe -u -c 0`, `modprobe amdgpu`){caps}, or \
                     correct {}",
                    quoted(&subject.config.devices_file)
                ),
            );
        }
    }
}

/// `dmem` is the cgroup controller for device memory (Linux 6.14, cgroup v2).
fn memory_limits(inventory: &Inventory, subject: &Subject, found: &mut Findings) {
    let controllers = subject.paths.sys.join("fs/cgroup/cgroup.controllers");
    let controllers = fs::read_to_string(controllers).unwrap_or_default();
    if controllers.split_whitespace().any(|controller| controller == "dmem") {
        found.ok("dmem", "the kernel can limit device memory by the cgroup controller dmem");
    } else if inventory.node.devices.iter().any(|device| !device.simulated) {
        found.note(
            "dmem-missing",
            "there is no cgroup controller dmem: the kernel does not hold a container to its \
             share of a device's memory",
            "put only containers that trust each other on one device; dmem needs cgroup v2 and Linux \
             6.14 or later, built with CONFIG_CGROUP_DMEM",
        );
    }
}
