//! One lease file. Decoding never fails: what cannot be read is a [`Corrupt`] entry, which the
//! sweep treats as a holder of devices until its container is known to be dead.

use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, RECORD_VERSION};
use crate::sys::PathError;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Records are small; a huge file is damage, not data.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// The container, from the file's name.
    pub key: LeaseKey,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// When it was last written, if the file system knows.
    pub modified: Option<SystemTime>,
}

/// What lies under one lease's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A lease.
    Lease(Box<Lease>),
    /// Damage.
    Corrupt(Corrupt),
}

/// A file of at most `max` bytes; more is cut, and then unreadable.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, PathError> {
    // Room for a whole record, or it is read in a dozen steps; every create reads all of them.
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)
        .and_then(|file| file.take(max).read_to_end(&mut bytes))
        .map_err(PathError::new("read", path))?;
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8], key: &LeaseKey, path: &Path) -> Entry {
    match decode_lease(bytes, key) {
        Ok(lease) => Entry::Lease(Box::new(lease)),
        Err(why) => Entry::Corrupt(Corrupt {
            key: key.clone(),
            path: path.to_owned(),
            why,
            modified: fs::metadata(path).and_then(|m| m.modified()).ok(),
        }),
    }
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
