//! Reads files that engines write: a bundle's `config.json`, and others for a runtime.

use super::lowlevel::RuntimeKind;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::PathError;
use crate::sys::checked::read_foreign;
use nix::errno::Errno;
use std::fs;
use std::path::Path;

/// The largest file that is read. Engines write some tens of KiB, and a runtime fails on such a
/// file too.
pub const MAX_BYTES: u64 = 64 << 20;

/// Reads a file that an engine wrote. It reads at most [`MAX_BYTES`], and never waits for a writer.
/// Fails if the file does not exist, is not a regular file, cannot be read, or is larger.
pub fn read_limited(path: &Path) -> Result<Vec<u8>, PathError> {
    let bytes = read_foreign(path, MAX_BYTES).map_err(PathError::new("read", path))?;
    let missing = || PathError::new("read", path)(Errno::ENOENT.into());
    bytes.ok_or_else(missing)
}

/// The name of a bundle's own configuration.
pub const CONFIG: &str = "config.json";

/// Whether the bundle's own configuration is a file that can be replaced by another one.
pub fn is_regular(config: &Path) -> bool {
    fs::symlink_metadata(config).is_ok_and(|found| found.is_file())
}

/// Whether the bundle's own configuration cannot be replaced: runc reads this file alone. (crun can
/// be pointed to another one.)
pub fn is_fixed(config: &Path, kind: RuntimeKind) -> bool {
    kind == RuntimeKind::Runc && !is_regular(config)
}

/// The refusal of a configuration that cannot be replaced.
pub fn fixed(config: &Path) -> Failure {
    let text = format!(
        "`{}` is a link, and gpulease changes neither a link nor its target",
        config.display()
    );
    Failure::new(Code::BadBundle, text)
        .hint("put the file itself into the bundle, or start the container with crun")
}
