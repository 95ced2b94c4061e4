//! The ledger while its lock is held: the only way to change a lease.

use super::bundles::PATIENCE;
use super::directory::Store;
use super::record::{self, Entry};
use crate::failure::Failure;
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::paths::Paths;
use crate::sys::atomic::{self, Durability};
use crate::sys::lock::{self, Lock};
use crate::sys::patience::within;
use crate::sys::{PathError, clock, failpoint};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug)]
#[must_use]
pub struct Ledger<'a> {
    store: &'a Store,
    // Fields are dropped in this order, so the lock is released first.
    _lock: Lock,
    leftovers: Leftovers<'a>,
}

/// Temporary files of killed processes. They are removed after the ledger is unlocked, because a
/// bundle may be on a file system that answers late or never.
#[derive(Debug)]
struct Leftovers<'a> {
    store: &'a Store,
    are_there: Cell<bool>,
    in_bundles: RefCell<Vec<PathBuf>>,
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        if self.are_there.get() {
            self.store.remove_leftovers();
        }
        let in_bundles = self.in_bundles.take();
        if !in_bundles.is_empty() {
            let _ = within(PATIENCE, move || {
                in_bundles.iter().for_each(|path| drop(atomic::remove(path)));
            });
        }
    }
}

impl Store {
    /// Locks the ledger. Fails if the directory cannot be trusted, or if the lock is not free
    /// within `deadline`; the error then names its holder.
    pub fn lock(&self, deadline: Duration, paths: &Paths) -> Result<Ledger<'_>, Failure> {
        self.check()?;
        let lock = lock::acquire(&self.run.join("lock"), deadline, paths)?;
        Ok(Ledger::new(self, lock))
    }
}

impl<'a> Ledger<'a> {
    fn new(store: &'a Store, lock: Lock) -> Self {
        let leftovers =
            Leftovers { store, are_there: Cell::new(false), in_bundles: RefCell::default() };
        Self { store, _lock: lock, leftovers }
    }

    /// All records. Fails as [`Store::entries`] does.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let (entries, unfinished) = self.store.list()?;
        // Only the holder of the lock writes here, so the process that began these files is gone.
        for path in unfinished {
            // A file that cannot be removed is not a record, and does not prevent one.
            let _ = atomic::remove(&path);
            self.leftovers.are_there.set(true);
        }
        Ok(entries)
    }

    /// Registers the temporary files of a killed start, also that of its bundle's `config.json`,
    /// for removal after the ledger is unlocked.
    pub fn remove_leftovers_of(&self, lease: &Lease) {
        self.leftovers.are_there.set(true);
        let config = Path::new(&lease.bundle).join("config.json");
        let unfinished = atomic::temporary_of(&config, lease.owner.pid);
        self.leftovers.in_bundles.borrow_mut().push(unfinished);
    }

    /// Gives an unreadable record that is dated in the future the current time, so that it has an
    /// age from now on. The error names the file.
    pub fn date_anew(&self, key: &LeaseKey) -> Result<(), Failure> {
        let path = self.store.lease_path(key);
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(AT_FDCWD, &path, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW, flags)
            .map_err(io::Error::from)
            .map_err(PathError::new("date", &path))?;
        Ok(())
    }

    /// One record. Fails as [`Store::entry`] does.
    pub fn entry(&self, key: &LeaseKey) -> Result<Option<Entry>, Failure> {
        self.store.entry(key)
    }

    /// Writes a record in place of any earlier one of the same container. The error names the file,
    /// e.g. on a full disk; the earlier record then still exists.
    pub fn put(&self, lease: &Lease) -> Result<(), Failure> {
        let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidInput, error);
        let key = lease.key().map_err(|error| {
            PathError::new("write", &self.store.leases_dir())(invalid(error.to_string()))
        })?;
        let path = self.store.lease_path(&key);
        let bytes = record::encode(lease)
            .map_err(|error| PathError::new("write", &path)(invalid(error.to_string())))?;
        failpoint::hit("store.before-put");
        atomic::replace(&path, &bytes, Durability::Synced)?;
        failpoint::hit("store.after-put");
        Ok(())
    }

    /// Removes a record. A missing one is no error. The error names the file.
    pub fn remove(&self, key: &LeaseKey) -> Result<(), Failure> {
        failpoint::hit("store.before-remove");
        atomic::remove(&self.store.lease_path(key))?;
        failpoint::hit("store.after-remove");
        Ok(())
    }

    /// Moves an unreadable record to `corrupt/`, where an administrator can look at it.
    /// The error names the file.
    pub fn set_aside(&self, key: &LeaseKey) -> Result<(), Failure> {
        let from = self.store.lease_path(key);
        let to = self.store.run.join("corrupt").join(format!("{}.json", key.file_stem()));
        let moved = match fs::rename(&from, &to) {
            // A file cannot replace a directory, and nothing can replace a directory that is not
            // empty.
            Err(error)
                if error.kind() != io::ErrorKind::NotFound && to.symlink_metadata().is_ok() =>
            {
                fs::rename(&from, to.with_extension(format!("{}.json", clock::boottime_ms())))
            }
            moved => moved,
        };
        Ok(moved.map_err(PathError::new("move aside", &from))?)
    }
}
