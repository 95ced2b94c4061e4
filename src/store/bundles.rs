//! What we did to a bundle's `config.json`, so that the next start of the same bundle begins
//! from what its author wrote. Kept here and not in the file's annotations, which anyone who can
//! write a bundle can forge.

use super::{Store, StoreError};
use crate::injection::Undo;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::LeasedDevice;
use crate::sys::atomic::{self, Durability};
use crate::sys::checked::read_own;
use crate::sys::{PathError, failpoint};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was done to one bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BundleRecord {
    /// The start that did it; the bundle's hooks carry it.
    pub nonce: Nonce,
    /// The container for which the bundle was edited.
    pub key: LeaseKey,
    /// The bundle directory.
    pub bundle: String,
    /// What it was granted: says which devices a container holds whose lease is unreadable.
    pub devices: Vec<LeasedDevice>,
    /// Where its processes are, where that could be foretold: for the same case.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// How to take our edits out again.
    pub undo: Undo,
    /// The edit that was in the bundle before this one, in case we die before the file is
    /// replaced.
    #[serde(default)]
    pub earlier: Option<Edit>,
}

/// One edit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edit {
    /// The start that did it.
    pub nonce: Nonce,
    /// How to take it out again.
    pub undo: Undo,
}

impl BundleRecord {
    /// How to undo what this start did.
    #[must_use]
    pub fn undo_of(&self, nonce: &Nonce) -> Option<&Undo> {
        if self.nonce == *nonce {
            return Some(&self.undo);
        }
        self.earlier.as_ref().filter(|earlier| earlier.nonce == *nonce).map(|earlier| &earlier.undo)
    }
}

/// More than any `config.json` that is edited.
const MAX_BYTES: u64 = 65 << 20;

/// The most time that a delete spends on forgetting: the rest waits for the next.
const FORGETTING: Duration = Duration::from_millis(20);

impl Store {
    pub(super) fn bundles_dir(&self) -> PathBuf {
        self.run.join("bundles")
    }

    /// One record per bundle directory, whatever its path: two that hash alike overwrite each
    /// other's, and the loser is treated as after a reboot.
    fn bundle_path(&self, bundle: &Path) -> PathBuf {
        let hash = fnv1a(bundle.as_os_str().as_bytes());
        self.bundles_dir().join(format!("{hash:016x}.json"))
    }

    /// Records an edit before it is made. Needs no lock: a bundle is one container's at a time.
    ///
    /// # Errors
    /// Names the file.
    pub fn put_bundle(&self, bundle: &BundleRecord) -> Result<(), StoreError> {
        let path = self.bundle_path(Path::new(&bundle.bundle));
        let bytes = serde_json::to_vec(bundle).map_err(|error| {
            PathError::new("write", &path)(io::Error::new(io::ErrorKind::InvalidData, error))
        })?;
        failpoint::hit("bundles.before-put");
        atomic::replace(&path, &bytes, Durability::Renamed)?;
        failpoint::hit("bundles.after-put");
        Ok(())
    }

    /// The record of a bundle; `None` if there is none (a reboot) or it is unreadable.
    #[must_use]
    pub fn bundle(&self, bundle: &Path) -> Option<BundleRecord> {
        let record = read_bundle(&self.bundle_path(bundle))?;
        (Path::new(&record.bundle) == bundle).then_some(record)
    }

    /// Takes back the record of an edit that was not made after all.
    ///
    /// # Errors
    /// Names the file.
    pub fn take_back_bundle(&self, record: BundleRecord) -> Result<(), StoreError> {
        match record.earlier {
            Some(Edit { nonce, undo }) => {
                self.put_bundle(&BundleRecord { nonce, undo, earlier: None, ..record })
            }
            None => Ok(atomic::remove(&self.bundle_path(Path::new(&record.bundle)))?),
        }
    }

    /// Forgets the bundles that are gone from disk. Engines make a bundle directory per container,
    /// so this is what keeps `bundles/` small.
    pub fn forget_gone_bundles(&self) {
        let start = Instant::now();
        for path in self.bundle_files().into_iter().flatten().flatten() {
            if start.elapsed() > FORGETTING {
                return;
            }
            if read_place(&path).is_some_and(|place| is_gone(Path::new(&place.bundle))) {
                // What stays is found again at the next deletion.
                let _ = atomic::remove(&path);
            }
        }
    }

    pub(super) fn bundle_files(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<PathBuf>> + use<>> {
        let listing = match fs::read_dir(self.bundles_dir()) {
            Ok(listing) => Some(listing),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let paths = listing.into_iter().flatten().map(|entry| Ok(entry?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
        Ok(paths.filter(move |path| path.as_ref().map_or(true, is_record)))
    }
}

/// Whether a directory is certainly not there. One that may not be looked at, as by a hook that has
/// dropped its privileges, may well be in use.
fn is_gone(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The part of a [`BundleRecord`] that says whether it is still needed.
#[derive(Deserialize)]
struct Place {
    bundle: String,
}

fn read_place(path: &Path) -> Option<Place> {
    serde_json::from_slice(&read_own(path, MAX_BYTES).ok()??).ok()
}

fn read_bundle(path: &Path) -> Option<BundleRecord> {
    serde_json::from_slice(&read_own(path, MAX_BYTES).ok()??).ok()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): a file name, not a secret.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
