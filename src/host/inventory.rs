//! The inventory: the file that a scan made, as long as it tells the truth. A start has it made anew
//! by `gpulease inventory refresh`, once; what only looks scans by itself and writes nothing.

use super::Host;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::inventory::{self, Inventory, InventoryError, Look};
use crate::model::code::Code;
use crate::sys::PathError;
use crate::sys::lock::Lock;
use std::ffi::OsStr;
use std::time::Duration;

/// What a refresh may take beyond the time that a vendor's library has to answer, which is asked
/// twice if the driver is only loaded by that.
const FILES: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 2;

/// Why the file is of no use.
#[derive(Debug)]
pub enum Unfit {
    Missing,
    Unreadable(PathError),
    /// Others could have written it.
    Store(Failure),
    /// It is damaged or out of date.
    Content(InventoryError),
}

impl Unfit {
    fn why(&self) -> String {
        match self {
            Self::Missing => "there is none".to_owned(),
            Self::Unreadable(error) => chain(error),
            Self::Store(failure) => failure.message.clone(),
            Self::Content(InventoryError::Stale(why)) => why.clone(),
            Self::Content(error) => error.to_string(),
        }
    }
}

impl Host {
    /// The inventory for a container start. Fails with `stale-inventory` if none can be had that is
    /// of this boot and this configuration.
    pub fn inventory(&self, config: &Config) -> Result<Inventory, Failure> {
        if let Ok(inventory) = self.cached_inventory(config) {
            return Ok(inventory);
        }
        let deadline = config.probe_timeout.saturating_mul(PROBES_MAX).saturating_add(FILES);
        // After a reboot many containers start at once: one of them looks, the others go by what it
        // saw.
        let _turn = self.turn(deadline)?;
        if let Ok(inventory) = self.cached_inventory(config) {
            return Ok(inventory);
        }
        self.refresh(deadline)?;
        // What this refresh could not look at is for the next start to look at.
        let made = self.recorded_inventory().and_then(|mut made| {
            made.stamps.retain(|stamp| stamp.look != Look::Unknown);
            self.fresh(made, config)
        });
        made.map_err(|unfit| {
            let why = unfit.why();
            Failure::new(
                Code::StaleInventory,
                format!("the inventory is of no use even after a refresh: {why}"),
            )
            .hint("run `gpulease inventory refresh` and see what it says")
        })
    }

    /// The inventory that the next container start would go by: the file, or, where that is missing
    /// or out of date, what a refresh would find.
    #[cfg(feature = "cli")]
    pub fn inventory_now(&self, config: &Config) -> Result<Inventory, Failure> {
        match self.cached_inventory(config) {
            Ok(inventory) => Ok(inventory),
            Err(_) => Ok(inventory::scan(&self.paths, config)?),
        }
    }

    /// What is in the file, if it still holds.
    pub fn cached_inventory(&self, config: &Config) -> Result<Inventory, Unfit> {
        self.fresh(self.recorded_inventory()?, config)
    }

    /// What is in the file, with the paths of its sources as they are found from here.
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
