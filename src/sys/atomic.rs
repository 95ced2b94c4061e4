//! The only way in which files are written: a new file beside the old one is renamed over it. A
//! reader sees the old text or the new one, never a part. If the disk is full, the old text stays.

use super::error::if_there;
use super::{PathError, proc_stat};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Whether the text must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Flushed before the rename. On tmpfs, where state lies by default, this costs nothing.
    Synced,
    /// Renamed only: for `config.json`, which an engine writes again at the next start anyway.
    Renamed,
}

/// Replaces `path` by `bytes`, with mode 0600. The error names the path. The old file is then
/// unchanged, and no temporary file is left.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), PathError> {
    write_beside(path, bytes, durability, |_| Ok(()))
}

/// Replaces `path`, and keeps its permissions and owner, but not setuid and the like. Only a
/// regular file is replaced, for instance no link. Fails as [`replace`] does.
pub fn replace_keeping_owner(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    check_is_file(path)?;
    keeping_owner(path, bytes, Durability::Renamed, |_| Ok(()))
}

/// Replaces `path` as [`replace_keeping_owner`] does, for a file that no program writes again: it
/// survives a power cut, and keeps its extended attributes, such as access control lists and the
/// labels of security modules (xattr(7), acl(5)).
#[cfg(feature = "cli")]
pub fn replace_whole(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    keeping_owner(path, bytes, Durability::Synced, |file| {
        use xattr::FileExt;
        for name in xattr::list_deref(path)?.filter(|name| !is_of_content(name)) {
            let Some(value) = xattr::get_deref(path, &name)? else { continue };
            // The directory may have set the same attribute already, as SELinux does with labels.
            if file.get_xattr(&name)?.as_ref() != Some(&value) {
                file.set_xattr(&name, &value)?;
            }
        }
        Ok(())
    })
}

/// Whether an attribute certifies the old text, or gives a program privileges.
fn is_of_content(name: &std::ffi::OsStr) -> bool {
    ["security.ima", "security.evm", "security.capability"].iter().any(|other| name == *other)
}

fn keeping_owner(
    path: &Path,
    bytes: &[u8],
    durability: Durability,
    adjust: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<(), PathError> {
    let old = fs::metadata(path).map_err(PathError::new("read", path))?;
    write_beside(path, bytes, durability, |file| {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        adjust(file)
    })
}

/// Creates or replaces `path`, with exactly this mode; it survives a power cut. Only a regular file
/// is replaced, for instance not `/dev/stdout`. Fails as [`replace`] does.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PathError> {
    check_is_file(path)?;
    // The umask may have taken bits away.
    let adjust = |file: &File| file.set_permissions(Permissions::from_mode(mode));
    write_beside(path, bytes, Durability::Synced, adjust)
}

/// Fails if there is something other than a regular file at a path that others chose.
fn check_is_file(path: &Path) -> Result<(), PathError> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        let error = std::io::Error::other("it is not a regular file");
        return Err(PathError::new("write", path)(error));
    }
    Ok(())
}

fn write_beside(
    path: &Path,
    bytes: &[u8],
    durability: Durability,
    adjust: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<(), PathError> {
    let pid = i32::try_from(std::process::id()).unwrap_or_default();
    let temporary = temporary_of(path, pid);
    let written = (|| {
        // `create_new` would always fail if a killed process with our pid had left its file.
        if_there(fs::remove_file(&temporary))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&temporary)?;
        adjust(&file)?;
        file.write_all(bytes)?;
        if durability == Durability::Synced {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| {
        // The clean-up may fail. The caller has to see the first error, not this one.
        let _ = fs::remove_file(&temporary);
        PathError { action: "write", path: path.to_owned(), source }
    })
}

/// The temporary file of the process `pid` for `path`: `.<name>.<pid>.tmp` in the same directory,
/// which no reader takes for a record.
pub fn temporary_of(path: &Path, pid: i32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A file name may have up to 255 bytes, and the temporary one has to fit as well.
    let short: String = name.chars().take(60).collect();
    path.with_file_name(format!(".{short}.{pid}.tmp"))
}

/// The pid in the name of a temporary file; `None` for another name.
pub fn pid_of_temporary(name: &OsStr) -> Option<i32> {
    let middle = name.to_str()?.strip_prefix('.')?.strip_suffix(".tmp")?;
    middle.rsplit_once('.')?.1.parse().ok().filter(|pid| *pid > 0)
}

/// Removes the temporary files of killed processes in a directory. If such a process still lives,
/// in another pid namespace, its write fails with an error. A file that cannot be removed stays for
/// the next time.
pub fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let writer = pid_of_temporary(&entry.file_name());
        let place = writer.map(|pid| Path::new("/proc").join(pid.to_string()));
        if place.is_some_and(|place| proc_stat::start_of_living(&place).is_none()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes a file. A missing one is no error. The error names the path.
pub fn remove(path: &Path) -> Result<(), PathError> {
    if_there(fs::remove_file(path)).map(drop).map_err(PathError::new("remove", path))
}

/// Creates a directory with exactly this mode, owned by us, if it is missing. Its parent must
/// exist. The error names the path.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), PathError> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            // The umask of an engine may have taken bits away.
            fs::set_permissions(path, Permissions::from_mode(mode))
                .and_then(|()| chown(path, Some(nix::unistd::geteuid().as_raw()), None))
                .map_err(PathError::new("prepare", path))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(PathError::new("create", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_keeps_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace_keeping_owner(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_not_replaced_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let edited = replace_keeping_owner(&link, b"new").unwrap_err();
        let made = create(&link, b"new", 0o644).unwrap_err();
        for error in [edited, made] {
            assert_eq!(error.source.to_string(), "it is not a regular file");
        }
        assert_eq!(fs::read_link(&link).unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), b"old");
    }

    #[test]
    fn replaces_and_keeps_extended_attributes() {
        // Not every /tmp can have them; where this repository is built, they can be had.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("daemon.json");
        fs::write(&path, "old").unwrap();
        xattr::set(&path, "user.note", b"kept").unwrap();
        replace_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(xattr::get(&path, "user.note").unwrap().as_deref(), Some(&b"kept"[..]));
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"new", Durability::Synced).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_the_dead_were_writing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // Of a process that has ended and is not waited for, the number is still there.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = temporary_of(&at("y.json"), i32::try_from(child.id()).unwrap());
        fs::write(&ended, "").unwrap();
        let start = std::time::Instant::now();
        while ended.exists() && start.elapsed() < std::time::Duration::from_secs(20) {
            remove_leftovers(dir.path());
        }
        assert!(!ended.exists());
        child.wait().unwrap();
        // No pid is as large as this.
        let dead = temporary_of(&at("x.json"), 400_000_000);
        let own = i32::try_from(std::process::id()).unwrap();
        let alive = temporary_of(&at("x.json"), own);
        let others = ["x.json", ".x.json.tmp", "x.json.400000000.tmp", ".x.json.400000000.tmp~"];
        for path in others.map(at).iter().chain([&dead, &alive]) {
            fs::write(path, "").unwrap();
        }
        remove_leftovers(dir.path());
        assert!(!dead.exists() && alive.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others.len() + 1);
        remove_leftovers(&at("nowhere"));
    }

    #[test]
    fn a_name_of_the_longest_kind_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n".repeat(255));
        replace(&path, b"x", Durability::Synced).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }
}
