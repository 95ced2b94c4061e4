//! The node that is looked at.

use crate::config::{self, Config, ConfigError, Keys};
use crate::inventory::{self, Inventory, InventoryError};
use crate::paths::Paths;
use crate::store::Store;
use crate::sys::identity;
use std::io;
use std::path::{Path, PathBuf};

/// How much of the configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    All,
    /// The low-level runtime and the lease directory, as a container without a request takes them.
    Essentials,
    /// Nothing: not even where leases lie.
    Nothing,
}

/// A node and what is configured on it, as far as that can be told.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) paths: Paths,
    pub(super) config_path: PathBuf,
    /// Why the configuration cannot be used.
    pub(super) config_error: Option<ConfigError>,
    /// What of [`Self::config`] is no guess.
    pub(super) known: Known,
    /// Its paths as they are found from here.
    pub(super) config: Config,
    pub(super) store: Store,
    /// Root, and not in a user namespace.
    pub(super) is_host_root: bool,
}

impl Subject {
    pub(super) fn look(config: Option<&Path>, paths: Paths) -> Self {
        let located = config::locate(config);
        let is_default = located == Path::new(config::DEFAULT_PATH);
        // A file that was named is the caller's, the default one is the host's.
        let config_path = if is_default { paths.on_host(&located) } else { located };
        let reading = config::look(&config_path);
        let (config, known, config_error) = match reading.config {
            Ok(config) => (config, Known::All, None),
            Err(ConfigError::Missing { .. }) if is_default => (Config::default(), Known::All, None),
            Err(error) => {
                // The two keys that survive a mistake elsewhere in the file.
                let is_known = reading.keys == Keys::Read;
                let known = if is_known { Known::Essentials } else { Known::Nothing };
                let base = Config::default();
                let run_dir = reading.run_dir.unwrap_or_else(|| base.run_dir.clone());
                (Config { runtime: reading.runtime, run_dir, ..base }, known, Some(error))
            }
        };
        let on_host = |path: &PathBuf| paths.on_host(path);
        let config = Config {
            runtime: config.runtime.as_ref().map(on_host),
            run_dir: on_host(&config.run_dir),
            devices_file: on_host(&config.devices_file),
            driver_root: on_host(&config.driver_root),
            hook: config.hook.as_ref().map(on_host),
            ..config
        };
        let store = Store::at(&config.run_dir);
        let paths = Paths { run: config.run_dir.clone(), ..paths };
        let is_host_root = identity::is_host_root(&paths);
        Self { paths, config_path, config_error, known, config, store, is_host_root }
    }

    /// The same if it still holds.
    pub(super) fn fresh_inventory(&self) -> Option<Inventory> {
        let inventory = self.cached_inventory().ok()??.ok()?;
        inventory::freshness(&inventory, &self.paths, &self.config).is_ok().then_some(inventory)
    }

    /// `inventory.json`, with the paths of its sources as they are found from here.
    pub(super) fn cached_inventory(&self) -> io::Result<Option<Result<Inventory, InventoryError>>> {
        let bytes = self.store.inventory().map_err(|error| error.source)?;
        Ok(bytes.map(|bytes| {
            Ok(inventory::decode(&bytes)?.with_paths(|path| self.paths.on_host(path)))
        }))
    }
}
