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

/// Whether something is mounted on this very directory, as this process sees it.
///
/// # Errors
/// If it is not there, or may not be looked at.
#[cfg(feature = "cli")]
pub fn is_mount_point(dir: &Path) -> Result<bool, PathError> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| {
        let metadata = std::fs::symlink_metadata(path);
        metadata.map(|metadata| metadata.dev()).map_err(PathError::new("look at", path))
    };
    let parent = dir.parent().unwrap_or(dir);
    Ok(device(dir)? != device(parent)?)
}

/// Mounts a tmpfs that holds neither devices nor programs, with these options of its own (tmpfs(5)).
///
/// # Errors
/// Names the directory.
#[cfg(feature = "cli")]
pub fn mount_tmpfs(dir: &Path, options: &str) -> Result<(), PathError> {
    let failed = PathError::new("mount a tmpfs on", dir);
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let (Ok(target), Ok(options)) = (c_path(dir), std::ffi::CString::new(options)) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    // SAFETY: the pointers are to strings that end with NUL and outlive the call.
    let result = unsafe {
        libc::mount(
            c"gpulease-mps".as_ptr(),
            target.as_ptr(),
            c"tmpfs".as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    };
    if result == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
}

/// Takes away what is mounted on the directory. What others still have open or mounted elsewhere lives
/// until they let go of it.
///
/// # Errors
/// Names the directory.
#[cfg(feature = "cli")]
pub fn unmount(dir: &Path) -> Result<(), PathError> {
    let failed = PathError::new("unmount", dir);
    let Ok(target) = c_path(dir) else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
    // SAFETY: the pointer is to a string that ends with NUL and outlives the call.
    let result =
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    if result == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
}

#[cfg(feature = "cli")]
pub(super) fn c_path(path: &Path) -> Result<std::ffi::CString, std::ffi::NulError> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(dir.path()).unwrap());
        assert!(is_mount_point(&dir.path().join("none")).is_err());
        assert!(unmount(&dir.path().join("none")).is_err());
    }

    #[test]
    fn procfs_is_no_tmpfs_and_what_is_missing_is_an_error() {
        assert!(!of(Path::new("/proc")).unwrap().volatile);
        assert!(of(Path::new("/proc/nothing")).is_err());
    }
}
