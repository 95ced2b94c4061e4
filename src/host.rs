//! What every call works with: the host's directories, its configuration, read once, and its
//! inventory.

mod inventory;

use crate::config::{self, Config, ConfigError, Keys, Reading};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::store::Store;
use crate::store::run_dirs::RunDirs;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The host, as the one look at the configuration shows it. Looking cannot fail.
pub struct Host {
    pub paths: Paths,
    store: Store,
    pub config_path: PathBuf,
    config_is_explicit: bool,
    reading: Reading,
    /// Why the reading is not to be relied on, once that was asked.
    unsettled: OnceCell<Option<ConfigError>>,
}

impl Host {
    /// By the configuration file that was named, if one was. Where it cannot be understood, leases
    /// are looked for where one was last granted by it, and none is granted.
    pub fn look(named: Option<&Path>) -> Self {
        let config_path = config::locate(named);
        let config_is_explicit = config_path != Path::new(config::DEFAULT_PATH);
        let reading = config::look(&config_path);
        let mut paths = Paths::default();
        let last = || RunDirs::at(&paths.var).last_of(&config_path);
        let run_dir = match &reading.config {
            Ok(config) => Some(config.run_dir.clone()),
            Err(_) => last().or_else(|| reading.run_dir.clone()),
        };
        paths.run = run_dir.unwrap_or(paths.run);
        let (store, unsettled) = (Store::at(&paths.run), OnceCell::new());
        Self { paths, store, config_path, config_is_explicit, reading, unsettled }
    }

    /// The same with another lease directory.
    #[must_use]
    pub fn with_run_dir(self, run_dir: &Path) -> Self {
        let paths = Paths { run: run_dir.to_owned(), ..self.paths };
        Self { paths, store: Store::at(run_dir), ..self }
    }

    /// The configuration, for all that needs the whole of it. Fails with `bad-config` if the file
    /// cannot be understood, or may not be whole.
    pub fn config(&self) -> Result<&Config, Failure> {
        Ok(self.configuration()?)
    }

    /// The same. Fails with what is wrong with the file.
    pub fn configuration(&self) -> Result<&Config, &ConfigError> {
        let config = self.reading.config.as_ref()?;
        let settle = || self.reading.settle(&self.config_path).err();
        match self.unsettled.get_or_init(settle) {
            None => Ok(config),
            Some(error) => Err(error),
        }
    }

    /// The low-level runtime that the file names, whatever is wrong elsewhere in it.
    pub fn runtime(&self) -> Option<&Path> {
        self.reading.runtime.as_deref()
    }

    /// Whether the administrator's choice of a runtime may exist and cannot be told, so that the last
    /// one that served is a better guess than the default.
    pub fn hides_runtime(&self) -> bool {
        self.reading.keys == Keys::Hidden
    }

    /// What another program of ours has to be told to see the same.
    pub fn own_arguments(&self) -> Vec<OsString> {
        if !self.config_is_explicit {
            return Vec::new();
        }
        vec!["--gpulease-config".into(), self.config_path.clone().into()]
    }

    pub const fn store(&self) -> &Store {
        &self.store
    }
}
