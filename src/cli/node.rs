//! What the commands look at: configuration, inventory, leases. Reading only, without the lock.

use crate::claim::sweep::{Swept, survey};
use crate::claim::{ClaimError, Ground, place};
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::inventory::{self, Inventory};
use crate::paths::Paths;
use crate::store::{Entry, Store};
use crate::sys::identity;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The host and what is configured on it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) paths: Paths,
    config_path: PathBuf,
    pub(super) config: Config,
    pub(super) store: Store,
}

impl Context {
    /// Reads the configuration, strictly.
    pub(super) fn new(config: Option<&Path>) -> Result<Self, Failure> {
        let config_path = config::locate(config);
        let config = config::load(&config_path).map_err(|error| Failure::from(&error))?;
        let paths = Paths { run: config.run_dir.clone(), ..Paths::default() };
        let store = Store::at(&config.run_dir);
        Ok(Self { paths, config_path, config, store })
    }

    /// The same with another lease directory.
    pub(super) fn at(&self, run_dir: &Path) -> Self {
        let config = Config { run_dir: run_dir.to_owned(), ..self.config.clone() };
        let paths = Paths { run: run_dir.to_owned(), ..self.paths.clone() };
        let config_path = self.config_path.clone();
        Self { paths, config_path, config, store: Store::at(run_dir) }
    }

    pub(super) const fn ground(&self) -> Ground<'_> {
        Ground { paths: &self.paths, store: &self.store }
    }

    /// What another `gpulease` has to be told to see the same.
    pub(super) fn own_arguments(&self) -> Vec<OsString> {
        vec!["--gpulease-config".into(), self.config_path.clone().into()]
    }

    /// All lease records, as they lie.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Failure> {
        self.store.entries().map_err(|error| self.unread(error.into()))
    }

    /// The leases as the next container start would find them.
    pub(super) fn survey(&self) -> Result<Swept, Failure> {
        survey(self.ground()).map_err(|error| self.unread(error))
    }

    /// A start is refused where leases are held in another lease directory than the configured one.
    pub(super) fn refuse_moved(&self) -> Result<(), Failure> {
        place::check(self.ground(), &self.config_path).map_err(|error| self.unread(error))
    }

    /// Why the records cannot be read: for all but root, that is because they are root's.
    fn unread(&self, error: ClaimError) -> Failure {
        let is_for_root = error.is_denied() && !identity::is_host_root(&self.paths);
        let failure = Failure::from(error);
        if !is_for_root {
            return failure;
        }
        Failure {
            message: format!("reading the leases needs root: {}", failure.message),
            ..failure
        }
    }

    /// The inventory that the next container start would go by: the cache, or, where that is
    /// missing or out of date, what a refresh would find. Nothing is written.
    pub(super) fn inventory(&self) -> Result<Inventory, Failure> {
        let bytes = self.store.inventory().ok().flatten();
        let cached = bytes.and_then(|bytes| inventory::decode(&bytes).ok());
        match cached {
            Some(cached) if inventory::freshness(&cached, &self.paths, &self.config).is_ok() => {
                Ok(cached)
            }
            _ => Ok(inventory::scan(&self.paths, &self.config)?),
        }
    }
}
