//! One look at the file, which a whole call goes by: the policy and the places that a grant needs,
//! and the few keys that must survive a mistake elsewhere in the file.

use super::error::ConfigError;
use super::settings::{Config, MpsConfig};
use super::values::fault_of_path;
use crate::paths::Paths;
use crate::sys::checked::read_checked;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

/// A file that was changed more recently may be half written: a program that rewrites it in place
/// empties it first, and is done long before this.
const AT_REST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct ConfigReading {
    /// The configuration, or why nothing may be granted.
    pub config: Result<Config, ConfigError>,
    /// The low-level runtime, where the file names one.
    pub runtime: Option<PathBuf>,
    /// The lease directory, where the file names one.
    pub run_dir: Option<PathBuf>,
    /// How far [`Self::runtime`] and [`Self::run_dir`] can be relied on.
    pub keys: EarlyKeys,
    seen: Option<FileSnapshot>,
}

/// What is known of the keys that are read even if there are mistakes elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyKeys {
    /// One that is `None` is not in the file.
    Read,
    /// There is no file: the defaults hold.
    Missing,
    /// The administrator's choice may exist and cannot be told: the file is empty, unsafe or
    /// unreadable, is not TOML, or has a runtime that cannot be one.
    Hidden,
}

/// The file as it was read.
#[derive(Debug)]
struct FileSnapshot {
    bytes: Vec<u8>,
    version: FileVersion,
}

/// Changes with every change of the file: seconds and nanoseconds of its ctime, and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion(i64, i64, u64);

impl FileVersion {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ctime(), metadata.ctime_nsec(), metadata.ino())
    }

    /// Whether the file was left alone for a while before now. A time in the future says that the
    /// clock was set, and nothing of the file.
    fn is_at_rest(self) -> bool {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since_epoch.map_or(0, |now| i128::try_from(now.as_nanos()).unwrap_or(i128::MAX));
        let changed = i128::from(self.0) * 1_000_000_000 + i128::from(self.1);
        (now - changed).unsigned_abs() >= AT_REST.as_nanos()
    }
}

/// Reads the file at `path`. Unless it was named it may be absent, which means the defaults.
pub fn look(path: &Path, is_named: bool) -> ConfigReading {
    let nothing =
        |keys, config| ConfigReading { config, runtime: None, run_dir: None, keys, seen: None };
    match read_checked(path) {
        Ok(Some(file)) => {
            let reading = of_bytes(&file.bytes, path);
            let version = FileVersion::of(&file.metadata);
            ConfigReading { seen: Some(FileSnapshot { bytes: file.bytes, version }), ..reading }
        }
        Ok(None) if !is_named => nothing(EarlyKeys::Missing, Ok(Config::default())),
        Ok(None) => nothing(EarlyKeys::Missing, Err(ConfigError::Missing { path: path.into() })),
        Err(error) => nothing(EarlyKeys::Hidden, Err(error.into())),
    }
}

impl ConfigReading {
    /// With its paths as they are found from here, where another file system is looked at.
    pub fn below(self, paths: &Paths) -> Self {
        if paths.are_own() {
            return self;
        }
        let on_host = |path: PathBuf| paths.on_host(&path);
        let config = self.config.map(|config| Config {
            runtime: config.runtime.map(on_host),
            run_dir: on_host(config.run_dir),
            devices_file: on_host(config.devices_file),
            driver_root: on_host(config.driver_root),
            hook: config.hook.map(on_host),
            mps: MpsConfig { control: config.mps.control.map(on_host), ..config.mps },
            ..config
        });
        let (runtime, run_dir) = (self.runtime.map(on_host), self.run_dir.map(on_host));
        Self { config, runtime, run_dir, ..self }
    }

    /// Makes sure that what was read is the whole file, before anything is granted by it. Fails
    /// with [`ConfigError::Unsettled`] if the file is being changed.
    pub fn settle(&self, path: &Path) -> Result<(), ConfigError> {
        let Some(FileSnapshot { bytes, version }) = &self.seen else { return Ok(()) };
        let now = fs::metadata(path).ok();
        if version.is_at_rest() && now.is_some_and(|now| FileVersion::of(&now) == *version) {
            return Ok(());
        }
        thread::sleep(AT_REST);
        match read_checked(path) {
            Ok(Some(again)) if again.bytes == *bytes => Ok(()),
            _ => Err(ConfigError::Unsettled { path: path.into() }),
        }
    }
}

/// Of a file without mistakes, what it does not say is the default, so `run_dir` is always told.
pub(super) fn of_bytes(bytes: &[u8], path: &Path) -> ConfigReading {
    let config = strict(bytes, path);
    let (runtime, run_dir, keys) = match &config {
        Ok(config) => (config.runtime.clone(), Some(config.run_dir.clone()), EarlyKeys::Read),
        Err(ConfigError::Empty { .. }) => (None, None, EarlyKeys::Hidden),
        Err(_) => leniently(bytes),
    };
    ConfigReading { config, runtime, run_dir, keys, seen: None }
}

fn strict(bytes: &[u8], path: &Path) -> Result<Config, ConfigError> {
    if bytes.trim_ascii().is_empty() {
        return Err(ConfigError::Empty { path: path.into() });
    }
    let not_text = |error: std::str::Utf8Error| {
        let offset = error.valid_up_to();
        ConfigError::NotText { path: path.into(), offset }
    };
    Config::default().with_text(std::str::from_utf8(bytes).map_err(not_text)?, path)
}

fn leniently(bytes: &[u8]) -> (Option<PathBuf>, Option<PathBuf>, EarlyKeys) {
    let table = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let Some(table) = table else { return (None, None, EarlyKeys::Hidden) };
    let path = |key| {
        let text = table.get(key)?.as_str().filter(|text| fault_of_path(text).is_none())?;
        Some(PathBuf::from(text))
    };
    let runtime = path("runtime");
    let is_hidden = runtime.is_none() && table.contains_key("runtime");
    (runtime, path("run_dir"), if is_hidden { EarlyKeys::Hidden } else { EarlyKeys::Read })
}
