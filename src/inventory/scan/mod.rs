//! Looks for the node's devices in all sources that the configuration names.

mod merge;
mod twins;

use super::cache::{INVENTORY_VERSION, Inventory, Settings, boot_id};
use super::error::InventoryError;
use super::found::{Found, Reach};
use super::stamp::Stamp;
use super::{amd, cdi, driver_files, drm, nvidia, static_file};
use crate::config::{Config, DriverSetting, Source};
use crate::model::cdi::Cdi;
use crate::model::device::Node;
use crate::paths::Paths;
use crate::sys::PathError;
use crate::sys::checked::{FileError, read_checked};
use crate::sys::clock::now_rfc3339;
use std::path::Path;

/// Reads the node's sources anew. If none has a device, the node has none, which is valid. Fails
/// with [`Code::BadInventory`](crate::model::code::Code) if the devices file is unsafe, wrong, or
/// simulates a device that the host has. A failing vendor's driver is not an error; the notes of
/// the inventory or of the device contain its message.
pub fn scan(paths: &Paths, config: &Config) -> Result<Inventory, InventoryError> {
    scan_by(paths, config, Reach::Libraries)
}

/// The same by the kernel and files alone: no vendor's library is loaded, so that it is fast and
/// runs no code of the host that is looked at. Fails as [`scan`] does.
pub fn scan_files(paths: &Paths, config: &Config) -> Result<Inventory, InventoryError> {
    scan_by(paths, config, Reach::Files)
}

fn scan_by(paths: &Paths, config: &Config, reach: Reach) -> Result<Inventory, InventoryError> {
    let boot_id = boot_id(paths)?;
    let mut all = Vec::new();
    for source in &config.sources {
        let found = match source {
            Source::Static => from_file(paths, config)?,
            Source::Nvidia => nvidia::find(paths, config, reach),
            Source::Amd => amd::find(paths, config),
            Source::Intel => drm::find(paths, config),
        };
        let is_simulated = found.devices.iter().any(|device| device.simulated);
        all.push(found);
        // Simulated and real devices are not mixed. (The devices file comes first.)
        if is_simulated {
            break;
        }
    }
    let mut found = merge::merge(all);
    driver_files::complete(&mut found, paths, config);
    let mut node = Node {
        devices: std::mem::take(&mut found.devices),
        control: std::mem::take(&mut found.control),
        links: std::mem::take(&mut found.links),
    };
    node.number();
    twins::mark(&mut node);
    let cdi = read_cdi(paths, config, &node, &mut found);
    Ok(Inventory {
        v: INVENTORY_VERSION,
        boot_id,
        settings: Settings::of(config),
        from: found.from,
        stamps: found.stamps,
        node,
        drivers: found.drivers,
        cdi,
        notes: found.notes,
        made_at: now_rfc3339(),
    })
}

/// The devices in the host's CDI specs, if a start may use them: not for simulated devices, which
/// no driver knows, nor if the driver's files are found without them.
fn read_cdi(paths: &Paths, config: &Config, node: &Node, found: &mut Found) -> Cdi {
    let is_real = node.devices.iter().any(|device| !device.simulated);
    if !is_real || !config.driver.may_be(DriverSetting::Cdi) {
        return Cdi::default();
    }
    let specs = cdi::read(paths);
    let has_files = |vendor| {
        found.drivers.iter().any(|driver| driver.vendor == vendor && !driver.files.is_empty())
    };
    let wanted = |vendor| config.driver == DriverSetting::Cdi || !has_files(vendor);
    let cdi = cdi::compile(&specs, node, paths, wanted);
    found.stamps.extend(specs.stamps);
    found.notes.extend(specs.notes);
    cdi
}

fn from_file(paths: &Paths, config: &Config) -> Result<Found, InventoryError> {
    let path = &config.devices_file;
    let source = Source::Static;
    // The metadata is from before the first byte was read: an edit in between makes the inventory
    // stale, not wrong.
    let Some(file) = read_checked(path)? else {
        let stamp = Stamp::of_file(source, path)
            .map_err(|error| FileError::Io(PathError::new("read", path)(error)))?;
        return Ok(Found { stamps: vec![stamp], ..Found::default() });
    };
    let text = String::from_utf8(file.bytes).map_err(|error| InventoryError::NotText {
        path: path.clone(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    let node = read_static(&text, path, paths)?;
    Ok(Found {
        from: vec![path.display().to_string()],
        devices: node.devices,
        control: node.control,
        links: node.links,
        stamps: vec![Stamp::of_metadata(source, path, &file.metadata)],
        ..Found::default()
    })
}

fn read_static(text: &str, path: &Path, paths: &Paths) -> Result<Node, InventoryError> {
    let node = static_file::parse(text)
        .map_err(|problem| InventoryError::Invalid { path: path.into(), problem })?;
    let existing = static_file::simulated_numbers_exist(&node, &paths.sys)
        .or_else(|| static_file::simulated_majors_registered(&node, paths));
    match existing {
        Some(number) => Err(InventoryError::NumberExists { path: path.into(), number }),
        None => Ok(node),
    }
}
