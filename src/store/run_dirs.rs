//! Which lease directory each configuration file named when it was last used for a grant.
//!
//! The leases must stay where they are even if a configuration is edited, damaged or removed.
//! Otherwise devices that are held in the old directory would be granted again in a new one. So the
//! directory is also recorded outside of the configuration, in `/var/lib/gpulease/run_dir`. The
//! record changes only while the leases of the old directory are locked and none of them is held.

use super::directory::{check_owner, make_with_parents};
use crate::failure::Failure;
use crate::paths::Paths;
use crate::sys::atomic::{self, Durability};
use crate::sys::checked::read_own;
use crate::sys::lock::{self, Lock};
use crate::sys::{PathError, identity};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than the lines of a host on which thousands of configuration files were tried.
const MAX_BYTES: u64 = 1 << 20;

/// The file, with a line for each configuration file: its path, the lease directory, and the id of
/// the boot in which it last granted, separated by tabs.
#[derive(Debug, Clone)]
pub struct RunDirs {
    dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    config: PathBuf,
    run_dir: PathBuf,
    boot_id: String,
}

impl RunDirs {
    /// The record in this directory, `/var/lib/gpulease`. Nothing is touched yet.
    pub fn at(var: &Path) -> Self {
        Self { dir: var.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("run_dir")
    }

    /// The directory where this configuration file last granted leases, in this boot or an earlier
    /// one.
    pub fn last_of(&self, config: &Path) -> Option<PathBuf> {
        let lines = self.lines().ok()?;
        lines.into_iter().find(|line| line.config == config).map(|line| line.run_dir)
    }

    /// The directory where this configuration file granted leases in this boot. Fails if the file
    /// exists and cannot be read, or is not root's.
    pub fn current_of(&self, config: &Path, paths: &Paths) -> Result<Option<PathBuf>, Failure> {
        let boot_id = identity::boot_id(paths)?;
        let is_it = |line: &Line| line.config == config && line.boot_id == boot_id;
        Ok(self.lines()?.into_iter().find(is_it).map(|line| line.run_dir))
    }

    /// Locks the file against changes by others. Fails if the directory cannot be made, if others
    /// can write to it, or if the lock is not free in time.
    pub fn lock(&self, deadline: Duration, paths: &Paths) -> Result<Lock, Failure> {
        make_with_parents(&self.dir)?;
        check_owner(&self.dir)?;
        Ok(lock::acquire(&self.dir.join("run_dir.lock"), deadline, paths)?)
    }

    /// Records the directory where this configuration file grants from now on. Lines of earlier
    /// boots and of removed directories are dropped. The error names the file, which then is
    /// unchanged.
    pub fn record(
        &self,
        _: &Lock,
        config: &Path,
        run_dir: &Path,
        paths: &Paths,
    ) -> Result<(), Failure> {
        let boot_id = identity::boot_id(paths)?;
        let mut lines = self.lines()?;
        lines.retain(|line| {
            line.config != config && line.boot_id == boot_id && line.run_dir.is_dir()
        });
        lines.push(Line { config: config.to_owned(), run_dir: run_dir.to_owned(), boot_id });
        let text: Vec<u8> = lines.iter().flat_map(Line::bytes).collect();
        atomic::remove_leftovers(&self.dir);
        Ok(atomic::replace(&self.path(), &text, Durability::Synced)?)
    }

    fn lines(&self) -> Result<Vec<Line>, PathError> {
        let path = self.path();
        let bytes = read_own(&path, MAX_BYTES).map_err(PathError::new("read", &path))?;
        let bytes = bytes.unwrap_or_default();
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(Line::of).collect())
    }
}

impl Line {
    fn of(line: &[u8]) -> Option<Self> {
        let mut parts = line.split(|byte| *byte == b'\t');
        let path = |part: &[u8]| PathBuf::from(OsStr::from_bytes(part));
        let (config, run_dir) = (path(parts.next()?), path(parts.next()?));
        let boot_id = std::str::from_utf8(parts.next()?).ok()?.to_owned();
        Some(Self { config, run_dir, boot_id })
    }

    fn bytes(&self) -> Vec<u8> {
        let (config, run_dir) = (self.config.as_os_str(), self.run_dir.as_os_str());
        [config.as_bytes(), b"\t", run_dir.as_bytes(), b"\t", self.boot_id.as_bytes(), b"\n"]
            .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn recorded(var: &Path, config: &str, run_dir: &Path) {
        let (run_dirs, paths) = (RunDirs::at(var), Paths::default());
        let lock = run_dirs.lock(Duration::ZERO, &paths).unwrap();
        run_dirs.record(&lock, Path::new(config), run_dir, &paths).unwrap();
    }

    #[test]
    fn each_configuration_file_has_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (var, paths) = (dir.path().join("var/lib/gpulease"), Paths::default());
        let run_dirs = RunDirs::at(&var);
        assert_eq!(run_dirs.last_of(Path::new("/etc/a")), None);
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        recorded(&var, "/etc/a", &one);
        recorded(&var, "/etc/b", &two);
        recorded(&var, "/etc/b", &one);
        recorded(&var, "/etc/gone", &dir.path().join("gone"));
        let current = |config: &str| run_dirs.current_of(Path::new(config), &paths).unwrap();
        assert_eq!((current("/etc/a"), current("/etc/b")), (Some(one.clone()), Some(one.clone())));
        assert_eq!(current("/etc/gone"), Some(dir.path().join("gone")));
        recorded(&var, "/etc/a", &two);
        assert_eq!((current("/etc/a"), current("/etc/gone")), (Some(two), None));
        let file = run_dirs.path();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        // After a reboot all leases are void, and the last place is still a good guess.
        let text = fs::read_to_string(&file).unwrap();
        let other = text.replace(&identity::boot_id(&paths).unwrap(), "another-boot");
        fs::write(&file, other).unwrap();
        assert_eq!(current("/etc/b"), None);
        assert_eq!(run_dirs.last_of(Path::new("/etc/b")), Some(one.clone()));
        recorded(&var, "/etc/a", &one);
        assert_eq!(run_dirs.last_of(Path::new("/etc/b")), None, "of no use any more");
    }

    #[test]
    fn damage_is_an_error_and_never_no_line() {
        let dir = tempfile::tempdir().unwrap();
        let (run_dirs, paths) = (RunDirs::at(dir.path()), Paths::default());
        fs::create_dir(run_dirs.path()).unwrap();
        assert!(run_dirs.current_of(Path::new("/etc/a"), &paths).is_err());
        fs::remove_dir(run_dirs.path()).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let failure = run_dirs.lock(Duration::ZERO, &paths).unwrap_err();
        assert!(failure.message.contains("could be forged"), "{failure:?}");
    }
}
