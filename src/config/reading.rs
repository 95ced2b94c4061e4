//! One reading of the file, which a whole call uses: all settings, for a grant, and the few keys
//! that have to survive a mistake elsewhere in the file.

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
/// empties it first. Such a program is done long before this time has passed.
const AT_REST: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct ConfigReading {
    /// The configuration, or why nothing can be granted.
    pub config: Result<Config, ConfigError>,
    /// The low-level runtime, if the file names one.
    pub runtime: Option<PathBuf>,
    /// The lease directory, if the file names one.
    pub run_dir: Option<PathBuf>,
    /// How reliable [`Self::runtime`] and [`Self::run_dir`] are.
    pub keys: EarlyKeys,
    seen: Option<FileSnapshot>,
}

/// How reliable the keys are that are read even if there are mistakes elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyKeys {
    /// The file was read. A key that is `None` is not in it.
    Read,
    /// There is no file, so the defaults apply.
    Missing,
    /// The file may contain a choice that cannot be read: it is empty, unsafe or unreadable, is not
    /// TOML, or names an impossible runtime.
    Hidden,
}

/// The file as it was read.
#[derive(Debug)]
struct FileSnapshot {
    bytes: Vec<u8>,
    version: FileVersion,
}

/// The version of a file, which changes with every change of the file: seconds and nanoseconds of
/// its ctime, and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion(i64, i64, u64);

impl FileVersion {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ctime(), metadata.ctime_nsec(), metadata.ino())
    }

    /// Whether the file was not changed for a while. A time in the future shows that the clock was
    /// set, and nothing about the file.
    fn is_at_rest(self) -> bool {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since_epoch.map_or(0, |now| i128::try_from(now.as_nanos()).unwrap_or(i128::MAX));
        let changed = i128::from(self.0) * 1_000_000_000 + i128::from(self.1);
        (now - changed).unsigned_abs() >= AT_REST.as_nanos()
    }
}

/// Reads the file at `path`. If the file is absent and was not named, the defaults apply.
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
    /// The same reading with its paths converted to paths from here, for a host that is looked at
    /// from outside.
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

    /// Makes sure that the whole file was read, before anything is granted by it. Fails with
    /// [`ConfigError::Unsettled`] if the file is being changed.
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

/// In a file without mistakes an absent key has its default, so `run_dir` is always known.
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
