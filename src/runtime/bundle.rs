//! The bundle: a directory with a `config.json` (runtime-spec, bundle.md).

use super::args::Invocation;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::PathError;
use std::fs::File;
use std::io::{self, Read};
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

/// Reads a file that an engine wrote, but no more than a sane one has.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn read_limited(path: &Path) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::with_capacity(32 << 10);
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if u64::try_from(count).unwrap_or(u64::MAX) > MAX_BYTES => {
            let text = format!("it is larger than {} MiB", MAX_BYTES >> 20);
            Err(PathError::new("read", path)(io::Error::new(io::ErrorKind::FileTooLarge, text)))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(PathError::new("read", path)(error)),
    }
}
