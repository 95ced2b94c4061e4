//! What every call works with: the host's directories, its configuration, read
//! once, and its inventory.

pub mod command;
pub mod facilities;
pub mod inventory;

use crate::config::{self, Config, ConfigError, ConfigReading, EarlyKeys};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::paths::Paths;
use crate::store::Store;
use crate::store::run_dirs::RunDirs;
use crate::sys::identity;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How much of the configuration can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigState {
    All,
    /// The low-level runtime and the lease directory, as a container without a request takes them.
    Essentials,
    /// Nothing: not even where leases lie.
    Nothing,
}

/// The host, as the one look at the configuration shows it. Looking cannot fail.
pub struct Host {
    pub paths: Paths,
    store: Store,
    pub config_path: PathBuf,
    config_is_explicit: bool,
    reading: ConfigReading,
    known: ConfigState,
    /// Why the reading is not to be relied on, once that was asked.
    unsettled: OnceCell<Option<ConfigError>>,
}

impl Host {
    /// By the configuration file that was named, if one was. Where it cannot be understood, leases
    /// are looked for where one was last granted by it, and none is granted.
    pub fn look(named: Option<&Path>) -> Self {
        Self::with(named, Paths::default())
    }

    /// A host whose file system lies below `root`. Paths of its configuration are as they
    /// are found from here.
    pub fn below(named: Option<&Path>, root: &Path) -> Self {
        Self::with(named, Paths::below(root))
    }

    fn with(named: Option<&Path>, mut paths: Paths) -> Self {
        let located = config::locate(named);
        let config_is_explicit = located != Path::new(config::DEFAULT_PATH);
        // A file that was named is the caller's, the default one is the host's.
        let config_path = if config_is_explicit { located } else { paths.on_host(&located) };
        let reading = config::look(&config_path, config_is_explicit).below(&paths);
        let last = || RunDirs::at(&paths.var).last_of(&name_of(&config_path, &paths));
        let last = if reading.config.is_ok() { None } else { last() };
        let known = match reading.config {
            Ok(_) => ConfigState::All,
            Err(_) if reading.keys == EarlyKeys::Read || last.is_some() => ConfigState::Essentials,
            Err(_) => ConfigState::Nothing,
        };
        let run_dir = last.map(|last| paths.on_host(&last)).or_else(|| reading.run_dir.clone());
        paths.run = run_dir.unwrap_or(paths.run);
        let (store, unsettled) = (Store::at(&paths.run), OnceCell::new());
        Self { paths, store, config_path, config_is_explicit, reading, known, unsettled }
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

    /// How much there is to go by where [`Self::config`] fails.
    pub fn known(&self) -> ConfigState {
        match self.configuration() {
            Err(ConfigError::Unsettled { .. }) => ConfigState::Essentials,
            _ => self.known,
        }
    }

    /// The configuration file as the host's own programs know it.
    pub fn config_name(&self) -> PathBuf {
        name_of(&self.config_path, &self.paths)
    }

    /// Whether this is the host's root, and not that of a user namespace.
    pub fn is_root(&self) -> bool {
        identity::is_host_root(&self.paths)
    }

    /// For something that only root may do.
    pub fn require_root(&self, what: &str) -> Result<(), Failure> {
        if self.is_root() {
            return Ok(());
        }
        let message = format!("{what} needs root, and not in a user namespace");
        Err(Failure::new(Code::RootlessUnsupported, message).hint("run it with sudo"))
    }

    /// The low-level runtime that the file names, whatever is wrong elsewhere in it.
    pub fn runtime(&self) -> Option<&Path> {
        self.reading.runtime.as_deref()
    }

    /// Whether the administrator's choice of a runtime may exist and cannot be told, so that the last
    /// one that served is a better guess than the default.
    pub fn hides_runtime(&self) -> bool {
        self.reading.keys == EarlyKeys::Hidden
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

fn name_of(config: &Path, paths: &Paths) -> PathBuf {
    config
        .strip_prefix(&paths.root)
        .map_or_else(|_| config.into(), |path| Path::new("/").join(path))
}

#[cfg(test)]
mod tests;
