//! The objects that every call works with: the host's directories, its configuration, which is read
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

/// How much of the configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigState {
    All,
    /// The low-level runtime and the lease directory, which suffice for a container without a
    /// request.
    Essentials,
    /// Nothing, not even where leases lie.
    Nothing,
}

/// The host as one look at the configuration shows it. Looking cannot fail.
pub struct Host {
    pub paths: Paths,
    store: Store,
    pub config_path: PathBuf,
    config_is_explicit: bool,
    reading: ConfigReading,
    known: ConfigState,
    /// Why the reading cannot be relied on, once that was checked.
    unsettled: OnceCell<Option<ConfigError>>,
}

impl Host {
    /// Looks at the host by the configuration file that `named` names, or the default one. If the
    /// file cannot be understood, nothing is granted, and leases are looked for where this file
    /// last granted one.
    pub fn look(named: Option<&Path>) -> Self {
        Self::with(named, Paths::default())
    }

    /// A host whose file system is below `root`. The paths of its configuration are converted to
    /// paths from here.
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

    /// The same host with another lease directory.
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

    /// The configuration. The error says what is wrong with the file.
    pub fn configuration(&self) -> Result<&Config, &ConfigError> {
        let config = self.reading.config.as_ref()?;
        let settle = || self.reading.settle(&self.config_path).err();
        match self.unsettled.get_or_init(settle) {
            None => Ok(config),
            Some(error) => Err(error),
        }
    }

    /// How much of the configuration is known where [`Self::config`] fails.
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

    /// Fails with `rootless-unsupported`, unless this is the host's root. `what` names the action.
    pub fn require_root(&self, what: &str) -> Result<(), Failure> {
        if self.is_root() {
            return Ok(());
        }
        let message = format!("{what} needs root, and not in a user namespace");
        Err(Failure::new(Code::RootlessUnsupported, message).hint("run it with sudo"))
    }

    /// The low-level runtime that the file names, even if the rest of the file is wrong.
    pub fn runtime(&self) -> Option<&Path> {
        self.reading.runtime.as_deref()
    }

    /// Whether the file may name a runtime that cannot be read, so that the last runtime that
    /// served is a better guess than the default.
    pub fn hides_runtime(&self) -> bool {
        self.reading.keys == EarlyKeys::Hidden
    }

    /// The arguments that make another program of gpulease use the same configuration.
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
