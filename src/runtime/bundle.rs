//! The bundle: a directory with a `config.json` (runtime-spec, bundle.md).

use super::args::Invocation;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::checked::{read_foreign, read_stream};
use crate::sys::{PathError, handed};
use std::io;
use std::os::fd::RawFd;
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

/// Reads a file that the caller named, whatever it is, but no more than a sane one has: all of a
/// pipe, as the runtime would. Once only.
pub(super) fn read_given(path: &Path) -> Result<Vec<u8>, PathError> {
    read_stream(path, MAX_BYTES).map_err(PathError::new("read", path))
}

/// A copy of what the caller gave as `path`, for the low-level runtime.
pub(super) fn hand_on(call: &Invocation, path: &Path, text: &[u8]) -> Result<PathBuf, Failure> {
    handed::hand_on(text, first_free(call)).map_err(|error| {
        let shown = path.display();
        let text = format!("cannot hand a copy of `{shown}` to the low-level runtime: {error}");
        Failure::new(Code::BadBundle, text)
    })
}

/// The first descriptor that the runtime does not pass on to the container: after the standard
/// ones, those that were announced by `LISTEN_FDS` (sd_listen_fds(3)) and by `--preserve-fds`.
fn first_free(call: &Invocation) -> RawFd {
    let listened = std::env::var("LISTEN_FDS").ok().and_then(|count| count.trim().parse().ok());
    let passed = call.preserved.saturating_add(listened.unwrap_or(0u32)).saturating_add(3);
    RawFd::try_from(passed).unwrap_or(RawFd::MAX)
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
