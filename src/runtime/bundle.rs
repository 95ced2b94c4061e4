//! The bundle: a directory with a `config.json` (runtime-spec, bundle.md).

use super::args::Invocation;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::PathError;
use crate::sys::checked::read_foreign;
use std::io;
use std::path::{Path, PathBuf};

/// The largest file that is read: engines write some tens of KiB, and a runtime would choke on
/// more than this too.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// Where the configuration of this call's bundle lies.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// The directory, absolute.
    pub dir: PathBuf,
    /// Its `config.json`.
    pub config: PathBuf,
}

impl Bundle {
    /// From `--bundle`, or the current directory, as runc takes it.
    pub(super) fn of(call: &Invocation) -> Result<Self, Failure> {
        let named = call.bundle.clone().unwrap_or_default();
        let dir = if named.is_absolute() {
            named
        } else {
            let cwd = std::env::current_dir().map_err(|error| {
                Failure::new(Code::BadBundle, format!("cannot tell the current directory: {error}"))
            })?;
            if named.as_os_str().is_empty() { cwd } else { cwd.join(named) }
        };
        let config = dir.join(call.config_file.as_deref().unwrap_or(Path::new("config.json")));
        Ok(Self { dir, config })
    }
}

/// Reads a file that an engine wrote, but no more than a sane one has, and nothing that has to be
/// waited for.
///
/// # Errors
/// If it is not there, is no regular file, cannot be read, or is larger.
pub fn read_limited(path: &Path) -> Result<Vec<u8>, PathError> {
    let bytes = read_foreign(path, MAX_BYTES).map_err(PathError::new("read", path))?;
    let missing = || PathError::new("read", path)(io::ErrorKind::NotFound.into());
    bytes.ok_or_else(missing)
}
