//! The ledger while its lock is held: the only way to change a lease.

use super::{Entry, Store, StoreError, record};
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::sys::atomic::{self, Durability};
use crate::sys::lock::Lock;
use crate::sys::{PathError, clock, failpoint};
use std::fs;
use std::io;

/// The locked ledger.
#[derive(Debug)]
#[must_use]
pub struct Ledger<'a> {
    store: &'a Store,
    _lock: Lock,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(store: &'a Store, lock: Lock) -> Self {
        Self { store, _lock: lock }
    }

    /// All records.
    ///
    /// # Errors
    /// As [`Store::entries`].
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.store.entries()
    }

    /// One record.
    ///
    /// # Errors
    /// As [`Store::entry`].
    pub fn entry(&self, key: &LeaseKey) -> Result<Option<Entry>, StoreError> {
        self.store.entry(key)
    }

    /// Writes a record in place of any earlier one of the same container.
    ///
    /// # Errors
    /// Names the file, e.g. on a full disk; the earlier record is then still there.
    pub fn put(&self, lease: &Lease) -> Result<(), StoreError> {
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

    /// Removes a record; one that is gone is as good.
    ///
    /// # Errors
    /// Names the file.
    pub fn remove(&self, key: &LeaseKey) -> Result<(), StoreError> {
        failpoint::hit("store.before-remove");
        atomic::remove(&self.store.lease_path(key))?;
        failpoint::hit("store.after-remove");
        Ok(())
    }

    /// Moves an unreadable record to `corrupt/`, where an administrator can look at it.
    ///
    /// # Errors
    /// Names the file.
    pub fn set_aside(&self, key: &LeaseKey) -> Result<(), StoreError> {
        let from = self.store.lease_path(key);
        let to = self.store.run.join("corrupt").join(format!("{}.json", key.file_stem()));
        let moved = match fs::rename(&from, &to) {
            // A file and a directory cannot take each other's place, nor one that is not empty any.
            Err(error)
                if error.kind() != io::ErrorKind::NotFound && to.symlink_metadata().is_ok() =>
            {
                fs::rename(&from, to.with_extension(format!("{}.json", clock::boottime_ms())))
            }
            moved => moved,
        };
        Ok(moved.map_err(PathError::new("move aside", &from))?)
    }

    /// The store, for its unlocked parts.
    #[must_use]
    pub fn store(&self) -> &'a Store {
        self.store
    }
}
