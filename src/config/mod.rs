//! The administrator's configuration, `/etc/gpulease/config.toml`.
//!
//! Each call reads the file once ([`look`]) and uses that reading. A container with a GPU request
//! needs the whole file to be understood. A container without a request needs little of it, so a
//! mistake elsewhere in the file does not stop every container on the host.

mod error;
mod reading;
mod settings;
mod toml_text;
mod tree;
mod values;

pub use error::ConfigError;
pub use reading::{ConfigReading, EarlyKeys, look};
pub use settings::{ComputeMode, Config, DriverSetting, MpsDaemon, Source};
pub use toml_text::{parse as parse_toml, position};

use crate::model::variables;
use std::path::{Path, PathBuf};

/// The path of the configuration, unless a flag or a variable names another.
pub const DEFAULT_PATH: &str = "/etc/gpulease/config.toml";

/// The file to read: the one that `--gpulease-config` names, else the one that `GPULEASE_CONFIG`
/// names, else [`DEFAULT_PATH`]. The path is absolute, since a hook may read it from another
/// directory.
pub fn locate(flag: Option<&Path>) -> PathBuf {
    let named = flag.map(Path::to_owned).or_else(|| {
        std::env::var_os(variables::CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from)
    });
    let path = named.unwrap_or_else(|| DEFAULT_PATH.into());
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests;
