//! The ledger's lock: `flock(2)` with a deadline. The kernel releases it when its holder dies, and
//! at `execve` by `O_CLOEXEC`, so that no crash can leave it locked.

mod holders;

pub use holders::LockHolders;

use super::PathError;
use super::error::if_there;
use super::patience::within;
use crate::paths::Paths;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why the lock was not acquired.
#[derive(Debug, Error)]
pub enum LockError {
    /// The file could not be opened or locked.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another process held it for the whole time.
    #[error("the lock `{path}` was not free within {waited:?}; it is held by {holders}")]
    Timeout {
        path: String,
        /// How long this process waited.
        waited: Duration,
        holders: LockHolders,
    },
}

/// A held lock; dropping it unlocks.
#[derive(Debug)]
#[must_use]
pub struct Lock {
    _file: File,
}

/// Takes the lock at `path`, and waits no longer than `deadline`. The file is created if it is
/// missing, and never removed, because a lock on a removed file excludes no other process. Fails if
/// the file cannot be opened, or if the lock is not free in time.
pub fn acquire(path: &Path, deadline: Duration, paths: &Paths) -> Result<Lock, LockError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
        .map_err(PathError::new("open", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(PathError::new("lock", path)(error).into()),
    }
    match wait_in_line(file, deadline) {
        Some(locked) => Ok(Lock { _file: locked.map_err(PathError::new("lock", path))? }),
        None => Err(timeout(path, deadline, paths)),
    }
}

/// Whether the lock can be acquired within `deadline`. This never blocks others: it takes a shared
/// lock and drops it at once, and does not create the file. `false` if there is no such file. Fails
/// as [`acquire`] does.
pub fn probe(path: &Path, deadline: Duration, paths: &Paths) -> Result<bool, LockError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let opened = if_there(opened).map_err(PathError::new("open", path))?;
    let Some(file) = opened else { return Ok(false) };
    let start = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if start.elapsed() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => {
                return Err(PathError::new("lock", path)(error).into());
            }
        }
    }
    Err(timeout(path, deadline, paths))
}

/// Waits in the kernel's queue, which serves processes in their order. With polling, some would
/// starve in a burst of starts. `flock` has no deadline, so a thread waits in it. After the
/// deadline the thread ends with the process, or drops the lock as soon as it gets it.
fn wait_in_line(file: File, deadline: Duration) -> Option<io::Result<File>> {
    if deadline.is_zero() {
        return None;
    }
    // After the deadline the file is closed together with the answer.
    within(deadline, move || file.lock().map(|()| file)).unwrap_or_else(|error| Some(Err(error)))
}

fn timeout(path: &Path, waited: Duration, paths: &Paths) -> LockError {
    let holders = LockHolders::of(path, paths);
    LockError::Timeout { path: path.display().to_string(), waited, holders }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_waits_and_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let paths = Paths::default();
        let held = acquire(&path, Duration::ZERO, &paths).unwrap();
        let error = acquire(&path, Duration::from_millis(20), &paths).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        // The one who gave up may be handed the lock first, and lets go of it at once.
        drop(acquire(&path, Duration::from_secs(5), &paths).unwrap());
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let paths = Paths::default();
        let held = acquire(&path, Duration::ZERO, &paths).unwrap();
        let (theirs, ours) = (path.clone(), paths.clone());
        let waiter =
            thread::spawn(move || acquire(&theirs, Duration::from_secs(30), &ours).map(drop));
        thread::sleep(Duration::from_millis(20));
        drop(held);
        waiter.join().unwrap().unwrap();
    }
}
