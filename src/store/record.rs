//! One lease file. Decoding never fails: an unreadable file becomes a [`Corrupt`] entry, which
//! counts as a holder of devices until its container is known to be dead.

use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, RECORD_VERSION};
use crate::sys::PathError;
use crate::sys::checked::{is_damage, read_own};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Records are small; a larger file is damaged.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// The container, from the file's name.
    pub key: LeaseKey,
    pub path: PathBuf,
    /// The fault.
    pub why: String,
    /// The time of the last write, if the file system knows it.
    pub modified: Option<SystemTime>,
}

/// The content of a lease file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Lease(Box<Lease>),
    Corrupt(Corrupt),
}

/// Reads the record at this path.
pub(super) fn read(path: &Path, key: &LeaseKey) -> Result<Option<Entry>, PathError> {
    match read_own(path, MAX_BYTES) {
        Ok(bytes) => Ok(bytes.map(|bytes| decode(&bytes, key, path))),
        Err(error) if is_damage(&error) => Ok(Some(corrupt(error.to_string(), key, path))),
        Err(error) => Err(PathError::new("read", path)(error)),
    }
}

pub(super) fn decode(bytes: &[u8], key: &LeaseKey, path: &Path) -> Entry {
    match decode_lease(bytes, key) {
        Ok(lease) => Entry::Lease(Box::new(lease)),
        Err(why) => corrupt(why, key, path),
    }
}

fn corrupt(why: String, key: &LeaseKey, path: &Path) -> Entry {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok();
    Entry::Corrupt(Corrupt { key: key.clone(), path: path.to_owned(), why, modified })
}

fn decode_lease(bytes: &[u8], key: &LeaseKey) -> Result<Lease, String> {
    let lease: Lease = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if lease.v > RECORD_VERSION {
        return Err(format!(
            "it is of format {}, this gpulease reads up to {RECORD_VERSION}",
            lease.v
        ));
    }
    if lease.key().ok().as_ref() != Some(key) {
        return Err("it names another container than its file".into());
    }
    Ok(lease)
}

pub(super) fn encode(lease: &Lease) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(lease)?;
    bytes.push(b'\n');
    Ok(bytes)
}
