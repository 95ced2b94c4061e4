//! What the commands look at: configuration, inventory, leases. Reading only, without the lock.

use crate::claim::Ground;
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::inventory::{self, Inventory};
use crate::paths::Paths;
use crate::store::Store;
use std::path::Path;

/// The host and what is configured on it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) paths: Paths,
    pub(super) config: Config,
    pub(super) store: Store,
}

impl Context {
    /// Reads the configuration, strictly.
    pub(super) fn new(config: Option<&Path>) -> Result<Self, Failure> {
        let config = config::load(&config::locate(config))?;
        let paths = Paths { run: config.run_dir.clone(), ..Paths::default() };
        let store = Store::at(&config.run_dir);
        Ok(Self { paths, config, store })
    }

    pub(super) const fn ground(&self) -> Ground<'_> {
        Ground { paths: &self.paths, store: &self.store }
    }

    /// The inventory that the next container start would go by: the cache, or, where that is
    /// missing or out of date, what a refresh would find. Nothing is written.
    pub(super) fn inventory(&self) -> Result<Inventory, Failure> {
        let bytes = std::fs::read(self.store.inventory_path()).ok();
        let cached = bytes.and_then(|bytes| inventory::decode(&bytes).ok());
        match cached {
            Some(cached) if inventory::freshness(&cached, &self.paths, &self.config).is_ok() => {
                Ok(cached)
            }
            _ => Ok(inventory::scan(&self.paths, &self.config)?),
        }
    }
}
