//! What kind of file system a directory lies on.

use super::PathError;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use std::io;
use std::path::Path;

/// `RAMFS_MAGIC` (statfs(2)), which nix does not name.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// What `statfs(2)` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount {
    /// In memory, so that a reboot empties it.
    pub volatile: bool,
    /// Mounted read-only.
    pub read_only: bool,
    /// Without room for another file, by blocks or by inodes.
    pub full: bool,
}

/// Looks at the file system that holds `path`.
///
/// # Errors
/// If the path is not there, or may not be looked at.
pub fn of(path: &Path) -> Result<Mount, PathError> {
    let found = statfs(path).map_err(io::Error::from).map_err(PathError::new("look at", path))?;
    let kind = found.filesystem_type();
    // A file system that does not count inodes says that it has none.
    let out_of_inodes = found.files() > 0 && found.files_free() == 0;
    let out_of_blocks = found.blocks() > 0 && found.blocks_available() == 0;
    Ok(Mount {
        volatile: kind == TMPFS_MAGIC || kind == RAMFS_MAGIC,
        read_only: found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
        full: out_of_inodes || out_of_blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn procfs_is_no_tmpfs_and_what_is_missing_is_an_error() {
        assert!(!of(Path::new("/proc")).unwrap().volatile);
        assert!(of(Path::new("/proc/nothing")).is_err());
    }
}
