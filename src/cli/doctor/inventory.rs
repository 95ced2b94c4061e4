//! Checks the devices file, the inventory that was made from it, and the nodes of its devices.

use super::configuration::insecure;
use super::finding::{Findings, first_and_more, plain, quoted};
use super::nvidia::is_device;
use crate::cli::words;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::host::inventory::Unfit;
use crate::inventory::missing::{find_devices, no_devices};
use crate::inventory::{self, Inventory, InventoryError};
use crate::model::text::shown;
use crate::sys::checked::FileError;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Returns the inventory that a start would have.
pub(super) fn check(host: &Host, config: &Config, found: &mut Findings) -> Option<Inventory> {
    let scanned = match seen(host, config) {
        Ok(scanned) => scanned,
        Err(error) => {
            source(&error, host, config, found);
            return None;
        }
    };
    cache(host, config, found);
    if scanned.node.devices.is_empty() {
        let why = no_devices(config);
        let fix = find_devices(config);
        found.fault("no-devices", format!("{why}: every request is refused"), fix);
        return Some(scanned);
    }
    let simulated = scanned.node.devices.iter().filter(|device| device.simulated).count();
    let more = if simulated > 0 { format!(", {simulated} simulated") } else { String::new() };
    let count = words::count(scanned.node.devices.len(), "device");
    found.ok("devices", format!("{count}{more}, by {}", shown(&scanned.from.join(", "))));
    if simulated > 0 {
        hidden(host, config, found);
    }
    nodes(&scanned, host, config, found);
    memory_limits(&scanned, host, found);
    Some(scanned)
}

/// The node's devices. The answers of a library are in the inventory as long as it is valid. The
/// library is not called again, and never with the files of another root.
pub(super) fn seen(host: &Host, config: &Config) -> Result<Inventory, InventoryError> {
    let known = host.cached_inventory(config).ok().filter(|known| !is_simulated(known));
    known.map_or_else(|| inventory::scan_files(&host.paths, config), Ok)
}

fn is_simulated(inventory: &Inventory) -> bool {
    inventory.node.devices.iter().any(|device| device.simulated)
}

/// Reports a devices file that simulates devices on a host with GPUs: the file replaces them.
fn hidden(host: &Host, config: &Config, found: &mut Findings) {
    let has_any = |path: PathBuf| fs::read_dir(path).is_ok_and(|mut there| there.next().is_some());
    let paths = &host.paths;
    if has_any(paths.proc.join("driver/nvidia/gpus")) || has_any(paths.sys.join("class/kfd/kfd")) {
        found.warning(
            "simulated-hides-gpus",
            format!(
                "this host has GPUs, but they are not used: {} simulates others",
                quoted(&config.devices_file)
            ),
            "remove the file to lease the real GPUs",
        );
    }
}

/// Reports a fault of the devices file, with which every request fails.
fn source(error: &InventoryError, host: &Host, config: &Config, found: &mut Findings) {
    let Failure { message: text, hint, .. } = Failure::from(error);
    let hint = hint.unwrap_or_default();
    let file = &config.devices_file;
    match error {
        InventoryError::File(FileError::Io(error))
            if error.source.kind() == ErrorKind::PermissionDenied && !host.is_root() =>
        {
            found.unchecked(file, &error.source);
        }
        InventoryError::File(error) => insecure(error, text, "devices-file-insecure", found),
        InventoryError::NumberExists { .. } => {
            found.fault("simulated-number-exists", text, hint);
        }
        InventoryError::BootId { .. } | InventoryError::NoBootId { .. } => {
            found.fault(
                "boot-id-unreadable",
                text,
                format!("mount procfs at {}", plain(&host.paths.proc)),
            );
        }
        _ => found.fault("devices-file-invalid", text, hint),
    }
}

/// The devices file is good, so the next start repairs any fault of the cache.
fn cache(host: &Host, config: &Config, found: &mut Findings) {
    const REFRESH: &str = "nothing has to be done; `gpulease inventory refresh` renews it now";
    let path = host.store().inventory_path();
    match host.cached_inventory(config) {
        Ok(_) => found.ok("inventory", format!("{} is of this boot and up to date", quoted(&path))),
        Err(Unfit::Missing) => {
            let text = format!("{} does not exist yet; the next start creates it", quoted(&path));
            found.note("inventory-missing", text, REFRESH);
        }
        Err(Unfit::Content(InventoryError::Stale(why))) => {
            let why = shown(&why);
            let text =
                format!("{} is out of date ({why}); the next start renews it", quoted(&path));
            found.note("inventory-stale", text, REFRESH);
        }
        Err(Unfit::Content(error)) => {
            let text = format!("{}: {error}; the next start renews it", quoted(&path));
            found.warning("inventory-damaged", text, "run `gpulease inventory refresh`");
        }
        Err(Unfit::Unreadable(error)) => {
            let why = &error.source;
            if why.kind() == ErrorKind::PermissionDenied && !host.is_root() {
                return found.unchecked(&path, why);
            }
            let text = format!("{} cannot be read: {why}", quoted(&path));
            let fix = format!("`rm -r --one-file-system {}`", plain(&path));
            found.fault("inventory-unreadable", text, fix);
        }
        // Another check reports the faults of the directory.
        Err(Unfit::Store(_)) => {}
    }
}

/// A start with a device that has no node is refused.
fn nodes(inventory: &Inventory, host: &Host, config: &Config, found: &mut Findings) {
    let real = inventory.node.nodes().filter(|node| node.simulated.is_none());
    let real: Vec<&str> = real.map(|node| node.path.as_str()).collect();
    let missing: Vec<&str> = real.iter().copied().filter(|path| !is_device(path, host)).collect();
    match missing.as_slice() {
        [] if real.is_empty() => {}
        [] => {
            let count = words::count(real.len(), "node");
            found.ok("device-nodes", format!("{count} of the devices exist"));
        }
        _ => {
            let which = first_and_more(&missing);
            // Unlike a GPU's nodes, these are made one by one, on demand.
            let caps = if missing.iter().any(|path| path.starts_with("/dev/nvidia-caps/")) {
                ", make the nodes of MIG capabilities (`nvidia-modprobe -f FILE` for each FILE \
                 `access` below /proc/driver/nvidia/capabilities)"
            } else {
                ""
            };
            found.fault(
                "device-node-missing",
                format!(
                    "{which} of the inventory does not exist as a device here: requests that \
                     need it are refused"
                ),
                format!(
                    "load the driver (`nvidia-modprobe -u -c 0`, `modprobe amdgpu`){caps}, or \
                     correct {}",
                    quoted(&config.devices_file)
                ),
            );
        }
    }
}

/// `dmem` is the cgroup controller for device memory (Linux 6.14, cgroup v2).
fn memory_limits(inventory: &Inventory, host: &Host, found: &mut Findings) {
    let controllers = host.paths.sys.join("fs/cgroup/cgroup.controllers");
    let controllers = fs::read_to_string(controllers).unwrap_or_default();
    if controllers.split_whitespace().any(|controller| controller == "dmem") {
        found.ok("dmem", "the kernel can limit device memory by the cgroup controller dmem");
    } else if inventory.node.devices.iter().any(|device| !device.simulated) {
        found.note(
            "dmem-missing",
            "there is no cgroup controller dmem: the kernel does not limit a container to its \
             share of a device's memory",
            "put only containers that trust each other on one device; dmem needs cgroup v2 and \
             Linux 6.14 or later, built with CONFIG_CGROUP_DMEM",
        );
    }
}
