//! File systems and mounts.

use super::PathError;
use super::error::check;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use std::io;
use std::path::Path;

/// `RAMFS_MAGIC` (statfs(2)), which nix does not name.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount {
    /// The file system is in memory, so a reboot empties it.
    pub volatile: bool,
    pub read_only: bool,
    /// There is no room for another file, by blocks or by inodes.
    pub full: bool,
}

/// Looks at the file system that contains `path`. Fails if the path is missing, or may not be
/// looked at.
pub fn of(path: &Path) -> Result<Mount, PathError> {
    let found = statfs(path).map_err(io::Error::from).map_err(PathError::new("look at", path))?;
    let kind = found.filesystem_type();
    // A file system that does not count inodes reports that it has none.
    let out_of_inodes = found.files() > 0 && found.files_free() == 0;
    let out_of_blocks = found.blocks() > 0 && found.blocks_available() == 0;
    Ok(Mount {
        volatile: kind == TMPFS_MAGIC || kind == RAMFS_MAGIC,
        read_only: found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
        full: out_of_inodes || out_of_blocks,
    })
}

/// Whether a file system is mounted on exactly this directory, as this process sees it. Since Linux
/// 5.8 this also finds another directory of the same file system. Fails if the directory is
/// missing, or may not be looked at.
pub fn is_mount_point(dir: &Path) -> Result<bool, PathError> {
    use std::os::unix::fs::MetadataExt;
    let failed = PathError::new("look at", dir);
    let Ok(path) = c_path(dir) else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends with NUL, the buffer is one of the kernel's, and both outlive the call.
    let result = unsafe {
        libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, 0, found.as_mut_ptr())
    };
    if result == 0 {
        // SAFETY: all of it is zero where the kernel wrote nothing, which is a value of each field.
        let found = unsafe { found.assume_init() };
        let root = u64::from(libc::STATX_ATTR_MOUNT_ROOT.unsigned_abs());
        if found.stx_attributes_mask & root != 0 {
            return Ok(found.stx_attributes & root != 0);
        }
    }
    let device = |path: &Path| {
        let metadata = std::fs::symlink_metadata(path);
        metadata.map(|metadata| metadata.dev()).map_err(PathError::new("look at", path))
    };
    let parent = dir.parent().unwrap_or(dir);
    Ok(device(dir)? != device(parent)?)
}

/// A mount point at any depth below this directory. Fails if a directory may not be looked at.
pub fn mounted_below(dir: &Path) -> Result<Option<std::path::PathBuf>, PathError> {
    for entry in std::fs::read_dir(dir).map_err(PathError::new("look at", dir))? {
        let entry = entry.map_err(PathError::new("look at", dir))?;
        let path = entry.path();
        if !entry.file_type().map_err(PathError::new("look at", &path))?.is_dir() {
            continue;
        }
        if is_mount_point(&path)? {
            return Ok(Some(path));
        }
        if let Some(below) = mounted_below(&path)? {
            return Ok(Some(below));
        }
    }
    Ok(None)
}

/// Mounts a tmpfs without devices and programs, with these options (tmpfs(5)). The error names the
/// directory.
pub fn mount_tmpfs(dir: &Path, options: &str) -> Result<(), PathError> {
    let failed = PathError::new("mount a tmpfs on", dir);
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let (Ok(target), Ok(options)) = (c_path(dir), std::ffi::CString::new(options)) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let (name, kind) = (c"gpulease-mps".as_ptr(), c"tmpfs".as_ptr());
    // SAFETY: the pointers are to strings that end with NUL and outlive the call.
    check(unsafe { libc::mount(name, target.as_ptr(), kind, flags, options.as_ptr().cast()) })
        .map_err(failed)
}

/// Unmounts the directory. Files that other processes still use stay until they stop using them.
/// The error names the directory.
pub fn unmount(dir: &Path) -> Result<(), PathError> {
    let failed = PathError::new("unmount", dir);
    let Ok(target) = c_path(dir) else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: the pointer is to a string that ends with NUL and outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }).map_err(failed)
}

pub(super) fn c_path(path: &Path) -> Result<std::ffi::CString, std::ffi::NulError> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(dir.path()).unwrap());
        assert!(is_mount_point(&dir.path().join("none")).is_err());
        assert!(unmount(&dir.path().join("none")).is_err());
    }

    #[test]
    fn mounts_are_found_however_far_below() {
        let dir = tempfile::tempdir().unwrap();
        let far = dir.path().join("a/b");
        std::fs::create_dir_all(&far).unwrap();
        std::os::unix::fs::symlink("/proc", far.join("link")).unwrap();
        assert_eq!(mounted_below(dir.path()).unwrap(), None);
        // As long as it is root's to mount; elsewhere nothing can lie below.
        if mount_tmpfs(&far, "size=64k").is_ok() {
            let found = mounted_below(dir.path());
            unmount(&far).unwrap();
            assert_eq!(found.unwrap(), Some(far));
        }
        assert!(!is_mount_point(&dir.path().join("a/b/link")).unwrap());
    }

    #[test]
    fn procfs_is_no_tmpfs_and_what_is_missing_is_an_error() {
        assert!(!of(Path::new("/proc")).unwrap().volatile);
        assert!(of(Path::new("/proc/nothing")).is_err());
    }
}
