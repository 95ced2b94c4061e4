//! What every start works with, by whomever it is prepared: the configuration and the directories.

use crate::config::{self, Config, Lenient};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::store::Store;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Known after the first look at the configuration, which cannot fail.
pub(crate) struct Host {
    pub(crate) config_path: PathBuf,
    pub(crate) config_is_explicit: bool,
    /// If there is a file without a mistake.
    config: Option<Config>,
    pub(crate) paths: Paths,
}

impl Host {
    /// With the configuration file that was named, if one was, and what of it can be said even if
    /// it has a mistake.
    pub(crate) fn look(named: Option<&Path>) -> (Self, Lenient) {
        let config_path = config::locate(named);
        let config_is_explicit = config_path != Path::new(config::DEFAULT_PATH);
        let (lenient, config) = config::read_once(&config_path);
        let mut paths = Paths::default();
        if let Some(run_dir) = &lenient.run_dir {
            paths.run.clone_from(run_dir);
        }
        (Self { config_path, config_is_explicit, config, paths }, lenient)
    }

    /// The configuration, read strictly: only for containers that ask for a GPU.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(config) => Ok(config.clone()),
            None => Ok(config::load(&self.config_path)?),
        }
    }

    /// What the `gpulease` command has to be told to see the same as we do.
    pub(crate) fn own_arguments(&self) -> Vec<OsString> {
        if !self.config_is_explicit {
            return Vec::new();
        }
        vec!["--gpulease-config".into(), self.config_path.clone().into()]
    }

    pub(crate) fn store(&self) -> Store {
        Store::at(&self.paths.run)
    }
}
