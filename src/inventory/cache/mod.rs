//! `inventory.json`: what a scan found, and whether it still holds.

use super::error::{InventoryError, StaleReason};
use super::source::SourceStamp;
use super::static_file;
use crate::config::Config;
use crate::model::device::Node;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::checked::read_checked;
use crate::sys::{PathError, identity};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

/// The version of the format that this build writes and reads. Another one is no loss: the
/// inventory is made anew.
pub const INVENTORY_VERSION: u32 = 1;

/// The result of a scan, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Format version.
    pub v: u32,
    /// `/proc/sys/kernel/random/boot_id` at the time of the scan.
    pub boot_id: String,
    /// What was read. A source that did not exist is absent.
    pub sources: Vec<SourceStamp>,
    /// What the node has.
    pub node: Node,
    /// When, RFC 3339 in UTC; for display.
    pub made_at: String,
}

/// Reads the node's sources anew. Today that is the devices file; where it does not exist, the
/// node has no devices, which is legal.
///
/// # Errors
/// With [`Code::BadInventory`](crate::model::code::Code) if the devices file is unsafe, wrong, or
/// simulates a device that the host has.
pub fn scan(paths: &Paths, config: &Config) -> Result<Inventory, InventoryError> {
    let boot_id = boot_id(paths)?;
    let path = &config.devices_file;
    // The metadata is from before the first byte was read: an edit in between makes the inventory
    // stale, not wrong.
    let (node, sources) = match read_checked(path)? {
        None => (Node::default(), Vec::new()),
        Some(file) => {
            let text = String::from_utf8(file.bytes).map_err(|error| InventoryError::NotText {
                path: path.clone(),
                offset: error.utf8_error().valid_up_to(),
            })?;
            (read_static(&text, path, paths)?, vec![SourceStamp::of_static(path, &file.metadata)])
        }
    };
    let made_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Ok(Inventory { v: INVENTORY_VERSION, boot_id, sources, node, made_at })
}

fn read_static(text: &str, path: &Path, paths: &Paths) -> Result<Node, InventoryError> {
    let node = static_file::parse(text)
        .map_err(|problem| InventoryError::Invalid { path: path.into(), problem })?;
    let existing = static_file::simulated_numbers_exist(&node, &paths.sys)
        .or_else(|| static_file::simulated_majors_registered(&node, &paths.proc));
    match existing {
        Some(number) => Err(InventoryError::NumberExists { path: path.into(), number }),
        None => Ok(node),
    }
}

/// Whether an inventory still tells the truth: written by this version, in this boot, from the
/// configured source, which has not changed. It reads the boot id and looks at the source without
/// reading it, so it is cheap enough for every container start.
///
/// # Errors
/// The first reason why it does not.
pub fn freshness(inventory: &Inventory, paths: &Paths, config: &Config) -> Result<(), StaleReason> {
    check_version(inventory.v)?;
    match boot_id(paths) {
        Ok(boot_id) if boot_id == inventory.boot_id => {}
        Ok(_) => return Err(StaleReason::Boot),
        Err(_) => return Err(StaleReason::BootUnknown { path: boot_id_path(&paths.proc) }),
    }
    let path = &config.devices_file;
    let now = match fs::metadata(path) {
        Ok(metadata) => Some(SourceStamp::of_static(path, &metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(StaleReason::Unreadable { path: path.clone(), fault: error.to_string() });
        }
    };
    let path = path.clone();
    match (inventory.sources.as_slice(), now) {
        ([], None) => Ok(()),
        ([], Some(_)) => Err(StaleReason::Appeared { path }),
        ([recorded, ..], _) if recorded.path != path => {
            Err(StaleReason::AnotherFile { recorded: recorded.path.clone(), path })
        }
        (_, None) => Err(StaleReason::Gone { path }),
        ([recorded], Some(now)) if *recorded == now => Ok(()),
        (_, Some(_)) => Err(StaleReason::Changed { path }),
    }
}

const fn check_version(found: u32) -> Result<(), StaleReason> {
    if found == INVENTORY_VERSION {
        Ok(())
    } else {
        Err(StaleReason::Version { found, expected: INVENTORY_VERSION })
    }
}

/// The bytes of `inventory.json`.
///
/// # Errors
/// [`InventoryError::Encode`] if a path in it is not UTF-8.
pub fn encode(inventory: &Inventory) -> Result<Vec<u8>, InventoryError> {
    let mut bytes = serde_json::to_vec(inventory).map_err(InventoryError::Encode)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the bytes of `inventory.json`.
///
/// # Errors
/// [`InventoryError::Stale`] for another version's format, [`InventoryError::Damaged`] for
/// anything that [`encode`] cannot have written.
pub fn decode(bytes: &[u8]) -> Result<Inventory, InventoryError> {
    /// The one field that all versions have.
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let damaged = |error: serde_json::Error| InventoryError::Damaged(shown(&error.to_string()));
    let inventory = match serde_json::from_slice::<Inventory>(bytes) {
        Ok(inventory) => inventory,
        Err(error) => {
            // Another version's format is not damage, whatever it looks like to this one.
            if let Ok(Version { v }) = serde_json::from_slice(bytes) {
                check_version(v)?;
            }
            return Err(damaged(error));
        }
    };
    check_version(inventory.v)?;
    // The allocator relies on the numbering that a scan makes.
    if !inventory.node.is_numbered() {
        return Err(InventoryError::Damaged("the devices are not numbered in order".to_owned()));
    }
    Ok(inventory)
}

fn boot_id_path(proc: &Path) -> PathBuf {
    proc.join("sys/kernel/random/boot_id")
}

fn boot_id(paths: &Paths) -> Result<String, InventoryError> {
    let id = identity::boot_id(paths)
        .map_err(|PathError { path, source, .. }| InventoryError::BootId { path, source })?;
    let plausible = !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let path = || boot_id_path(&paths.proc);
    if plausible { Ok(id) } else { Err(InventoryError::NoBootId { path: path() }) }
}

#[cfg(test)]
mod tests;
