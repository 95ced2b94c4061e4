//! What engines write: a bundle's `config.json`, and other files for a runtime.

use crate::sys::PathError;
use crate::sys::checked::read_foreign;
use std::io;
use std::path::Path;

/// The largest file that is read: engines write some tens of KiB, and a runtime would choke on
/// more than this too.
pub const MAX_BYTES: u64 = 64 << 20;

/// Reads a file that an engine wrote, but no more than a sane one has, and nothing that has to be
/// waited for. Fails if it is not there, is no regular file, cannot be read, or is larger.
pub fn read_limited(path: &Path) -> Result<Vec<u8>, PathError> {
    let bytes = read_foreign(path, MAX_BYTES).map_err(PathError::new("read", path))?;
    let missing = || PathError::new("read", path)(io::ErrorKind::NotFound.into());
    bytes.ok_or_else(missing)
}
