//! `inventory.json`: the result of a scan, and whether it is still current.

use super::error::InventoryError;
use super::stamp::{Look, Stamp};
use crate::config::{Config, DriverSetting, Source};
use crate::model::cdi::Cdi;
use crate::model::device::Node;
use crate::model::driver::Driver;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::sys::{PathError, identity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The version of the format that this build writes and reads. An inventory of another version is
/// simply made anew. Since 4 a device that has a twin is marked.
pub const INVENTORY_VERSION: u32 = 4;

/// The result of a scan, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    pub v: u32,
    /// `/proc/sys/kernel/random/boot_id` at the time of the scan.
    pub boot_id: String,
    /// The settings that the scan used.
    pub settings: Settings,
    /// The sources, for display: `/etc/gpulease/devices.toml`, `NVML 12.550.163`.
    pub from: Vec<String>,
    /// The state of the sources, and of files that were missing. The inventory is out of date once
    /// one of them changes.
    pub stamps: Vec<Stamp>,
    /// The node's devices.
    pub node: Node,
    /// The drivers of the devices, with the driver files that containers need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<Driver>,
    /// The devices in the host's CDI specs, if a start may use them.
    #[serde(default, skip_serializing_if = "Cdi::is_empty")]
    pub cdi: Cdi,
    /// Messages for people: a library that did not answer, a GPU that cannot be leased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The time of the scan, RFC 3339 in UTC, for display.
    pub made_at: String,
}

impl Inventory {
    /// The same inventory with its source paths converted, for a host that is looked at from
    /// outside.
    #[must_use]
    pub fn with_paths(mut self, other: impl Fn(&Path) -> PathBuf) -> Self {
        for stamp in &mut self.stamps {
            stamp.path = other(&stamp.path);
        }
        self.settings.devices_file = other(&self.settings.devices_file);
        self.settings.driver_root = other(&self.settings.driver_root);
        self
    }
}

/// The settings that decide what a scan finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where devices are looked for.
    pub sources: BTreeSet<Source>,
    pub devices_file: PathBuf,
    /// The directory of NVIDIA's driver files.
    pub driver_root: PathBuf,
    /// The provider of the driver files, which decides whether they are looked for.
    pub driver: DriverSetting,
}

impl Settings {
    /// The settings of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            sources: config.sources.clone(),
            devices_file: config.devices_file.clone(),
            driver_root: config.driver_root.clone(),
            driver: config.driver,
        }
    }
}

/// Whether an inventory is current: written by this version, in this boot, with this configuration,
/// from sources that have not changed. The check reads the boot id and a few small files of the
/// kernel, and only looks at the metadata of others, so it is cheap enough for every container
/// start. The error is the first reason, in words.
pub fn freshness(inventory: &Inventory, paths: &Paths, config: &Config) -> Result<(), String> {
    check_version(inventory.v)?;
    match boot_id(paths) {
        Ok(boot_id) if boot_id == inventory.boot_id => {}
        Ok(_) => return Err("it belongs to another boot of this host".to_owned()),
        Err(_) => {
            let path = boot_id_path(&paths.proc);
            return Err(format!("the boot id `{}` cannot be read", path.display()));
        }
    }
    check_settings(&inventory.settings, config)?;
    inventory.stamps.iter().try_for_each(check_stamp)
}

fn check_settings(made_by: &Settings, config: &Config) -> Result<(), String> {
    let (recorded, path) = (&made_by.devices_file, &config.devices_file);
    let key = if recorded != path {
        let (recorded, path) = (recorded.display(), path.display());
        return Err(format!("it was read from `{recorded}`, now `{path}` is configured"));
    } else if made_by.sources != config.sources {
        "sources"
    } else if made_by.driver_root != config.driver_root {
        "driver_root"
    } else if made_by.driver != config.driver {
        "driver"
    } else {
        return Ok(());
    };
    Err(format!("`{key}` has another value in the configuration since"))
}

fn check_stamp(stamp: &Stamp) -> Result<(), String> {
    let path = stamp.path.display();
    match stamp.now() {
        _ if stamp.look == Look::Unknown => {
            Err(format!("`{path}` could not be looked at when it was made"))
        }
        Ok(now) if now == stamp.look => Ok(()),
        Ok(Look::Absent) => Err(format!("`{path}` is gone")),
        Ok(_) if stamp.look == Look::Absent => Err(format!("`{path}` has appeared since")),
        Ok(_) => Err(format!("`{path}` has changed since")),
        Err(error) => Err(format!("`{path}` cannot be looked at: {error}")),
    }
}

fn check_version(found: u32) -> Result<(), String> {
    if found == INVENTORY_VERSION {
        return Ok(());
    }
    Err(format!(
        "it has format version {found}, this version of gpulease reads {INVENTORY_VERSION}"
    ))
}

/// The bytes of `inventory.json`. Fails with [`InventoryError::Encode`] if a path in
/// it is not UTF-8.
pub fn encode(inventory: &Inventory) -> Result<Vec<u8>, InventoryError> {
    let mut bytes = serde_json::to_vec(inventory).map_err(InventoryError::Encode)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the bytes of `inventory.json`. Fails with [`InventoryError::Stale`] for another version's
/// format, [`InventoryError::Damaged`] for anything that [`encode`] cannot have written.
pub fn decode(bytes: &[u8]) -> Result<Inventory, InventoryError> {
    /// The only field that all versions have.
    #[derive(Deserialize)]
    struct CacheVersion {
        v: u32,
    }
    let damaged = |error: serde_json::Error| InventoryError::Damaged(shown(&error.to_string()));
    let inventory = match serde_json::from_slice::<Inventory>(bytes) {
        Ok(inventory) => inventory,
        Err(error) => {
            // Another version's format is not damage, even if this version cannot read it.
            if let Ok(CacheVersion { v }) = serde_json::from_slice(bytes) {
                check_version(v).map_err(InventoryError::Stale)?;
            }
            return Err(damaged(error));
        }
    };
    check_version(inventory.v).map_err(InventoryError::Stale)?;
    // The allocator relies on the numbering that a scan makes.
    if !inventory.node.is_numbered() {
        return Err(InventoryError::Damaged("the devices are not numbered in order".to_owned()));
    }
    Ok(inventory)
}

fn boot_id_path(proc: &Path) -> PathBuf {
    proc.join("sys/kernel/random/boot_id")
}

pub(super) fn boot_id(paths: &Paths) -> Result<String, InventoryError> {
    let id = identity::boot_id(paths)
        .map_err(|PathError { path, source, .. }| InventoryError::BootId { path, source })?;
    let plausible = !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let path = || boot_id_path(&paths.proc);
    if plausible { Ok(id) } else { Err(InventoryError::NoBootId { path: path() }) }
}

#[cfg(test)]
mod tests;
