//! What a call works with: the configuration, read once, and the directories.

use crate::config::{self, Config, Keys, Reading};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::store::Store;
use crate::store::run_dirs::RunDirs;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The host, as the one look at the configuration shows it. Looking cannot fail.
pub struct Host {
    pub config_path: PathBuf,
    pub config_is_explicit: bool,
    reading: Reading,
    pub paths: Paths,
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
        Self { config_path, config_is_explicit, reading, paths }
    }

    /// The configuration, for a container that asks for a GPU. Fails with `bad-config` if the file
    /// cannot be understood, or may not be whole.
    pub fn config(&self) -> Result<Config, Failure> {
        let config = self.reading.config.as_ref()?;
        self.reading.settle(&self.config_path).map_err(|error| Failure::from(&error))?;
        Ok(config.clone())
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

    /// What the `gpulease` command has to be told to see the same.
    pub fn own_arguments(&self) -> Vec<OsString> {
        if !self.config_is_explicit {
            return Vec::new();
        }
        vec!["--gpulease-config".into(), self.config_path.clone().into()]
    }

    pub fn store(&self) -> Store {
        Store::at(&self.paths.run)
    }
}
