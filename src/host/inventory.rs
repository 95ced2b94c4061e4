//! The inventory that a call works with: the file that a scan made, as long as it is current. A
//! container start refreshes it once, by `gpulease inventory refresh`. Commands that only look scan
//! by themselves and write nothing.

use super::Host;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::inventory::{self, Inventory, InventoryError, Look};
use crate::model::code::Code;
use crate::sys::PathError;
#[cfg(feature = "cli")]
use crate::sys::atomic::{self, Durability};
use crate::sys::lock::Lock;
use std::ffi::OsStr;
use std::time::Duration;

/// The time that a refresh may take besides asking a vendor's library. The library is asked twice
/// if the driver only loads when it is asked.
const FILES: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 2;

/// Why the inventory file cannot be used.
#[derive(Debug)]
pub enum Unfit {
    Missing,
    Unreadable(PathError),
    /// Other users could have written it.
    Store(Failure),
    /// It is damaged or out of date.
    Content(InventoryError),
}

impl Unfit {
    fn why(&self) -> String {
        match self {
            Self::Missing => "it is missing".to_owned(),
            Self::Unreadable(error) => chain(error),
            Self::Store(failure) => failure.message.clone(),
            Self::Content(InventoryError::Stale(why)) => why.clone(),
            Self::Content(error) => error.to_string(),
        }
    }
}

impl Host {
    /// The inventory for a container start. Fails with `stale-inventory` if not even a refresh
    /// gives one of this boot and this configuration.
    pub fn inventory(&self, config: &Config) -> Result<Inventory, Failure> {
        if let Ok(inventory) = self.cached_inventory(config) {
            return Ok(inventory);
        }
        let deadline = config.probe_timeout.saturating_mul(PROBES_MAX).saturating_add(FILES);
        // After a reboot many containers start at once. One of them refreshes, and the others use
        // its result.
        let _turn = self.turn(deadline)?;
        if let Ok(inventory) = self.cached_inventory(config) {
            return Ok(inventory);
        }
        self.refresh(deadline)?;
        // The next start tries again what this refresh could not look at.
        let made = self.recorded_inventory().and_then(|mut made| {
            made.stamps.retain(|stamp| stamp.look != Look::Unknown);
            self.fresh(made, config)
        });
        made.map_err(|unfit| {
            let why = unfit.why();
            Failure::new(
                Code::StaleInventory,
                format!("the inventory cannot be used even after a refresh: {why}"),
            )
            .hint("run `gpulease inventory refresh` and see what it says")
        })
    }

    /// The inventory that the next container start would use: the file, or, if that is missing or
    /// out of date, the result of a scan.
    #[cfg(feature = "cli")]
    pub fn inventory_now(&self, config: &Config) -> Result<Inventory, Failure> {
        match self.cached_inventory(config) {
            Ok(inventory) => Ok(inventory),
            Err(_) => Ok(inventory::scan(&self.paths, config)?),
        }
    }

    /// Reads the devices and replaces the file. Fails without root, or if a source or the file fails;
    /// the old file stays then: it is checked before each use.
    #[cfg(feature = "cli")]
    pub fn write_inventory(&self) -> Result<Inventory, Failure> {
        self.require_root("to write the inventory")?;
        let inventory = inventory::scan(&self.paths, self.config()?)?;
        let bytes = inventory::encode(&inventory)?;
        self.store.prepare(&self.paths)?;
        // A refresh that was killed may have left its file.
        self.store.remove_leftovers();
        atomic::replace(&self.store.inventory_path(), &bytes, Durability::Synced)?;
        Ok(inventory)
    }

    /// The inventory in the file, if it is current.
    pub fn cached_inventory(&self, config: &Config) -> Result<Inventory, Unfit> {
        self.fresh(self.recorded_inventory()?, config)
    }

    /// The inventory in the file, with the paths of its sources converted to paths from here.
    pub fn recorded_inventory(&self) -> Result<Inventory, Unfit> {
        let bytes = self.store.inventory().map_err(Unfit::Unreadable)?;
        let bytes = bytes.ok_or(Unfit::Missing)?;
        self.store.check().map_err(Unfit::Store)?;
        let inventory = inventory::decode(&bytes).map_err(Unfit::Content)?;
        if self.paths.are_own() {
            return Ok(inventory);
        }
        Ok(inventory.with_paths(|path| self.paths.on_host(path)))
    }

    fn fresh(&self, inventory: Inventory, config: &Config) -> Result<Inventory, Unfit> {
        match inventory::freshness(&inventory, &self.paths, config) {
            Ok(()) => Ok(inventory),
            Err(stale) => Err(Unfit::Content(InventoryError::Stale(stale))),
        }
    }

    fn turn(&self, deadline: Duration) -> Result<Lock, Failure> {
        self.store.prepare(&self.paths)?;
        self.store.refresh_turn(deadline, &self.paths)
    }

    fn refresh(&self, deadline: Duration) -> Result<(), Failure> {
        let words = ["inventory", "refresh"].map(OsStr::new);
        let failed = |what: &str| {
            Failure::new(Code::StaleInventory, format!("cannot refresh the inventory: {what}"))
                .hint("run `gpulease inventory refresh` and see what it says")
        };
        self.ask_command(&words, deadline, failed).map(drop)
    }
}
