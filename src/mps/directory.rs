//! The directory of a daemon's files.

use super::{failed, fault};
use crate::failure::Failure;
use crate::model::id::DeviceId;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::store::mps_journal::{DIRECTORY, FILE};
use crate::sys::error::if_there;
use crate::sys::lock::{self, Lock};
use crate::sys::{PathError, atomic, mount};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory of the locks, beside those of the daemons.
const LOCKS: &str = "locks";

/// `sizeof(sun_path)` (unix(7)), with the NUL at its end. Clients connect to the sockets by path.
const SOCKET_PATH_MAX: usize = 108;

/// Of the tmpfs that is `/dev/shm`. Processes that share memory need much of it, and it takes the
/// place of the container's own `/dev/shm`. But its files outlive their writers, and count against a
/// limit of memory only if the writer has one. So it is smaller than the kernel's default, a half.
const SHM_OPTIONS: &str = "mode=1777,size=25%";

/// Of the tmpfs that is the pipe directory. All users may write the daemon's lock and pid file there
/// (seen with 550.163), and containers must be able to write to the sockets. On the file system of
/// the leases, any container could take the room that the next lease needs. There are six files, of
/// which the longest is a pid.
const PIPE_OPTIONS: &str = "mode=0755,size=1m,nr_inodes=64";

/// Of the tmpfs of the logs. The daemon and its servers write some lines for each client, so a
/// container can have them write any number.
const LOG_OPTIONS: &str = "mode=0700,size=4m,nr_inodes=64";

/// The directory of one daemon, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonDir {
    name: String,
    mps: PathBuf,
}

impl DaemonDir {
    /// Of the daemon of this name, which is a device's UUID or a lease's id. Fails if it is no such
    /// name.
    pub fn new(run: &Path, name: &str) -> Result<Self, Failure> {
        // Each lease's id has the form of a device's UUID.
        let is_reserved = name == LOCKS || name.starts_with('.');
        if is_reserved || DeviceId::new(name).is_err() {
            return Err(fault(format!("`{}` is no name of an MPS daemon", shown(name))));
        }
        Ok(Self { name: name.to_owned(), mps: run.join(DIRECTORY) })
    }

    /// All that exist, by name. Fails if they cannot be listed.
    pub fn all(run: &Path) -> Result<Vec<Self>, Failure> {
        let mps = run.join(DIRECTORY);
        let entries = match fs::read_dir(&mps) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(PathError::new("list", &mps)(error))),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut dirs: Vec<Self> = names.filter_map(|name| Self::new(run, &name).ok()).collect();
        dirs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(dirs)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        self.mps.join(&self.name)
    }

    pub fn pipe(&self) -> PathBuf {
        self.path().join("pipe")
    }

    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The log that the daemon and its servers write.
    pub fn log_file(&self) -> PathBuf {
        self.log().join("control.log")
    }

    pub fn shm(&self) -> PathBuf {
        self.path().join("shm")
    }

    pub fn journal(&self) -> PathBuf {
        self.path().join(FILE)
    }

    /// Takes the daemon's lock, and makes the directory of locks. A lock's name is a hash of the
    /// daemon's: a file for each lease would pile up, and a lock whose file is removed excludes no
    /// other process. Two daemons that share a lock wait for each other. Fails if the lock is not
    /// free within `deadline`, or a directory can be written by others than root.
    pub fn lock(&self, deadline: Duration, paths: &Paths) -> Result<Lock, Failure> {
        make_own_dir(&self.mps, 0o755)?;
        let locks = self.mps.join(LOCKS);
        make_own_dir(&locks, 0o700)?;
        let lock = locks.join(format!("{:02x}", hash(&self.name)));
        lock::acquire(&lock, deadline, paths).map_err(failed)
    }

    /// Makes the daemon's own directory. Fails if it cannot be made, others than root can write it,
    /// or its path is too long for sockets in it.
    pub fn make(&self) -> Result<(), Failure> {
        if let Some(why) = self.too_long() {
            return Err(fault(why).hint("set `run_dir` to a directory with a shorter path"));
        }
        make_own_dir(&self.path(), 0o755)
    }

    /// Why its path is too long for sockets in it, if it is.
    pub fn too_long(&self) -> Option<String> {
        let socket = self.pipe().join("control_privileged");
        let length = socket.as_os_str().as_bytes().len();
        (length >= SOCKET_PATH_MAX).then(|| {
            format!(
                "the path `{}` has {length} bytes, and a socket's must have less than \
                 {SOCKET_PATH_MAX}",
                socket.display()
            )
        })
    }

    /// Makes the directories for a new daemon, without the files of an earlier one. Each directory
    /// in which clients can cause writes is a file system of its own. The error names the path.
    pub fn create_dirs(&self) -> Result<(), Failure> {
        self.clear()?;
        for (dir, options) in self.mounts() {
            atomic::make_dir(&dir, 0o755).map_err(failed)?;
            mount::mount_tmpfs(&dir, options).map_err(failed)?;
        }
        Ok(())
    }

    /// The directories that are mounts, with their options.
    fn mounts(&self) -> [(PathBuf, &'static str); 3] {
        [(self.pipe(), PIPE_OPTIONS), (self.log(), LOG_OPTIONS), (self.shm(), SHM_OPTIONS)]
    }

    /// Whether all of the daemon's mounts are seen from here.
    pub fn sees_mounts(&self) -> bool {
        self.mounts().iter().all(|(dir, _)| mount::is_mount_point(dir).unwrap_or(false))
    }

    /// Whether its pipe directory is there, and only root can write it.
    pub fn has_pipe(&self) -> bool {
        is_own_dir(&self.pipe())
    }

    /// Removes all but the journal. The error names the path that cannot be removed.
    pub fn clear(&self) -> Result<(), Failure> {
        for (dir, _) in self.mounts() {
            // There may be several mounts, one over the other. A link is not followed.
            while is_dir(&dir) && mount::is_mount_point(&dir).map_err(failed)? {
                mount::unmount(&dir).map_err(failed)?;
            }
            remove(&dir).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes all of it, the journal last. The error names the path that cannot be removed.
    pub fn remove(&self) -> Result<(), Failure> {
        if is_dir(&self.path()) {
            self.clear()?;
        }
        remove(&self.path()).map_err(failed)
    }
}

/// Removes a file or a directory. Follows no link, and fails rather than remove files of a mount.
fn remove(path: &Path) -> Result<(), PathError> {
    if !is_dir(path) {
        return atomic::remove(path);
    }
    let removed = match mount::mounted_below(path)? {
        None => if_there(fs::remove_dir_all(path)).map(drop),
        Some(below) => {
            Err(io::Error::other(format!("something is mounted on `{}`", below.display())))
        }
    };
    removed.map_err(PathError::new("remove", path))
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_own_dir(dir: &Path) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(dir)
        .is_ok_and(|found| found.is_dir() && found.uid() == own && found.mode() & 0o022 == 0)
}

fn make_own_dir(dir: &Path, mode: u32) -> Result<(), Failure> {
    atomic::make_dir(dir, mode).map_err(failed)?;
    if is_own_dir(dir) {
        return Ok(());
    }
    let message = format!("`{}` is not a directory that is root's alone", dir.display());
    Err(fault(message).hint("remove it: it is made anew"))
}

/// FNV-1a, folded to 8 bits.
fn hash(name: &str) -> u8 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_be_bytes().into_iter().fold(0, |folded, byte| folded ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_directories_found() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["", ".", "..", "locks", ".x", "a/b", "a b", "../x", &"x".repeat(81)] {
            assert!(DaemonDir::new(dir.path(), bad).is_err(), "{bad}");
        }
        assert!(DaemonDir::all(dir.path()).unwrap().is_empty());
        let daemon = DaemonDir::new(dir.path(), "GPU-a").unwrap();
        drop(daemon.lock(Duration::ZERO, &Paths::default()).unwrap());
        assert!(DaemonDir::all(dir.path()).unwrap().is_empty());
        daemon.make().unwrap();
        DaemonDir::new(dir.path(), "l-0").unwrap().make().unwrap();
        let names = DaemonDir::all(dir.path()).unwrap();
        assert_eq!(names.iter().map(DaemonDir::name).collect::<Vec<_>>(), ["GPU-a", "l-0"]);
        daemon.remove().unwrap();
        assert!(!daemon.path().exists());
        daemon.remove().unwrap();
    }

    #[test]
    fn links_are_neither_followed_nor_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), "").unwrap();
        let daemon = DaemonDir::new(dir.path(), "GPU-a").unwrap();
        drop(daemon.lock(Duration::ZERO, &Paths::default()).unwrap());
        std::os::unix::fs::symlink(&victim, daemon.path()).unwrap();
        assert!(daemon.make().unwrap_err().message.contains("root's alone"));
        daemon.remove().unwrap();
        daemon.make().unwrap();
        std::os::unix::fs::symlink(&victim, daemon.pipe()).unwrap();
        assert!(!daemon.has_pipe());
        daemon.remove().unwrap();
        assert!(victim.join("file").exists() && !daemon.path().exists());
    }

    #[test]
    fn files_of_a_mount_are_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = DaemonDir::new(dir.path(), "GPU-a").unwrap();
        drop(daemon.lock(Duration::ZERO, &Paths::default()).unwrap());
        daemon.make().unwrap();
        let inner = daemon.path().join("inner/deep");
        fs::create_dir_all(&inner).unwrap();
        if mount::mount_tmpfs(&inner, "size=64k").is_err() {
            return;
        }
        fs::write(inner.join("precious"), "").unwrap();
        let removed = daemon.remove();
        let is_there = inner.join("precious").exists();
        mount::unmount(&inner).unwrap();
        let fault = removed.unwrap_err();
        assert!(is_there && fault.message.contains("is mounted on"), "{fault}");
        daemon.remove().unwrap();
        assert!(!daemon.path().exists());
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("x".repeat(100));
        fs::create_dir(&run).unwrap();
        let daemon = DaemonDir::new(&run, "GPU-a").unwrap();
        let fault = daemon.make().unwrap_err();
        assert!(fault.message.contains("less than 108") && fault.hint.is_some(), "{fault}");
    }
}
