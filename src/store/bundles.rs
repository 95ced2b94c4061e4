//! The edits of bundles' `config.json`, recorded so that the next start of the same bundle can
//! begin from the author's version. They are not kept in the file's annotations, because anyone who
//! can write a bundle can forge those.

use super::directory::Store;
use crate::failure::Failure;
use crate::injection::Undo;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::LeasedDevice;
use crate::sys::atomic::{self, Durability};
use crate::sys::checked::read_own;
use crate::sys::error::if_there;
use crate::sys::patience::within;
use crate::sys::{PathError, failpoint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The edit of one bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BundleRecord {
    /// The start that made the edit. The bundle's hooks carry the same nonce.
    pub nonce: Nonce,
    /// The container for which the bundle was edited.
    pub key: LeaseKey,
    pub bundle: String,
    /// The granted devices. If the lease is unreadable, they tell which devices the container
    /// holds.
    pub devices: Vec<LeasedDevice>,
    /// The cgroup of its processes, where it could be predicted; for the same case.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// The pid namespace in which the edit was made, as in the lease's owner; for the same case.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// How to undo our edits.
    pub undo: Undo,
    /// The edit that was in the bundle before this one, in case this process dies before the file
    /// is replaced.
    #[serde(default)]
    pub earlier: Option<RecordedEdit>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEdit {
    /// The start that made the edit.
    pub nonce: Nonce,
    /// How to undo it.
    pub undo: Undo,
}

impl BundleRecord {
    /// How to undo the edit of this start.
    pub fn undo_of(&self, nonce: &Nonce) -> Option<&Undo> {
        if self.nonce == *nonce {
            return Some(&self.undo);
        }
        self.earlier.as_ref().filter(|earlier| earlier.nonce == *nonce).map(|earlier| &earlier.undo)
    }
}

/// More than the largest `config.json` that is edited.
const MAX_BYTES: u64 = 65 << 20;

/// The most time that a `delete` spends on forgetting bundles. The next one does the rest.
const FORGETTING: Duration = Duration::from_millis(20);

/// The longest wait for a bundle's file system. An engine's whole clean-up has 5 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// With up to this many records a grant does not look for records to forget.
const FEW: usize = 64;

/// If there are more records than this, only those of containers with a lease stay. A bundle that
/// still exists and is forgotten is started again as after a reboot.
const MANY: usize = 1024;

/// How many records a grant looks at. A grant makes one.
const LOOKS: usize = 8;

impl Store {
    /// One record per bundle directory. Two paths with the same hash overwrite each other's record,
    /// and the loser is treated as after a reboot.
    fn bundle_path(&self, bundle: &Path) -> PathBuf {
        let hash = fnv1a(bundle.as_os_str().as_bytes());
        self.bundles_dir().join(format!("{hash:016x}.json"))
    }

    /// Records an edit before it is made. This needs no lock, because only one container uses a
    /// bundle at a time. The error names the file.
    pub fn put_bundle(&self, bundle: &BundleRecord) -> Result<(), Failure> {
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
    pub fn bundle(&self, bundle: &Path) -> Option<BundleRecord> {
        let record: BundleRecord = read(&self.bundle_path(bundle))?;
        (Path::new(&record.bundle) == bundle).then_some(record)
    }

    /// Removes the record of this start's edit, which was not made after all, or was undone. The
    /// edit before it is then the last. The error names the file.
    pub fn take_back_bundle(&self, bundle: &Path, nonce: &Nonce) -> Result<(), Failure> {
        let own = |record: &BundleRecord| record.nonce == *nonce;
        let Some(record) = self.bundle(bundle).filter(own) else { return Ok(()) };
        match record.earlier {
            Some(RecordedEdit { nonce, undo }) => {
                self.put_bundle(&BundleRecord { nonce, undo, earlier: None, ..record })
            }
            None => Ok(atomic::remove(&self.bundle_path(Path::new(&record.bundle)))?),
        }
    }

    /// Forgets the bundles that no longer exist. Engines make a bundle directory for each
    /// container, so this keeps `bundles/` small.
    pub fn forget_bundles(&self) {
        let start = Instant::now();
        let files = self.all_bundle_files();
        let in_time = |_: &&PathBuf| start.elapsed() <= FORGETTING;
        self.forget(files.iter().take_while(in_time), files.len());
    }

    /// Forgets some of the bundles that no longer exist, at a grant, because a `delete` may never
    /// come, as with a runtime that runs a container in the foreground. The grant's nonce selects
    /// the records, so that each gets its turn.
    pub fn forget_some_bundles(&self, nonce: &Nonce) {
        let files = self.all_bundle_files();
        if files.len() <= FEW {
            return;
        }
        let count = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let first = fnv1a(nonce.as_str().as_bytes()).checked_rem(count).unwrap_or_default();
        let turn = files.iter().cycle().skip(usize::try_from(first).unwrap_or_default());
        self.forget(turn.take(LOOKS), files.len());
    }

    /// This needs no lock. A bundle that is started again between the check and the removal is
    /// treated as after a reboot, too.
    fn forget<'p>(&self, files: impl Iterator<Item = &'p PathBuf>, mut left: usize) {
        for path in files {
            let Some(place) = read::<BundleRecordHead>(path) else { continue };
            let has_lease = || !matches!(self.entry(&place.key), Ok(None));
            let is_over = is_gone(Path::new(&place.bundle)) || (left > MANY && !has_lease());
            // A record that stays is found again the next time.
            if is_over && atomic::remove(path).is_ok() {
                left = left.saturating_sub(1);
            }
        }
    }

    fn all_bundle_files(&self) -> Vec<PathBuf> {
        self.bundle_files().into_iter().flatten().flatten().collect()
    }

    pub(super) fn bundle_files(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<PathBuf>> + use<>> {
        let listing = if_there(fs::read_dir(self.bundles_dir()))?;
        let paths = listing.into_iter().flatten().map(|entry| Ok(entry?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
        Ok(paths.filter(move |path| path.as_ref().map_or(true, is_record)))
    }
}

/// Whether a directory certainly does not exist. A directory that may not be looked at, as by a
/// hook that has dropped its privileges, may be in use. So may one on a file system that does not
/// answer.
fn is_gone(dir: &Path) -> bool {
    let dir = dir.to_owned();
    let look = || fs::symlink_metadata(dir).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    within(PATIENCE, look).is_ok_and(|answer| answer == Some(true))
}

/// The part of a [`BundleRecord`] that tells whether it is still needed.
#[derive(Deserialize)]
struct BundleRecordHead {
    key: LeaseKey,
    bundle: String,
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_own(path, MAX_BYTES).ok()??).ok()
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo). It makes a file name, not a secret.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{lease, store};

    fn put(store: &Store, id: &str, bundle: &Path) {
        let lease = lease(id, "/run/runc");
        let record = BundleRecord {
            nonce: lease.nonce.clone(),
            key: lease.key().unwrap(),
            bundle: bundle.display().to_string(),
            devices: Vec::new(),
            cgroup: None,
            pid_namespace: None,
            undo: Undo::default(),
            earlier: None,
        };
        store.put_bundle(&record).unwrap();
    }

    fn nonce(number: usize) -> Nonce {
        Nonce::new(&format!("{number:032x}")).unwrap()
    }

    fn count(store: &Store) -> usize {
        store.all_bundle_files().len()
    }

    #[test]
    fn grants_forget_more_than_they_make() {
        let (_dir, store, _) = store();
        for grant in 0..3 * FEW {
            put(&store, "web", Path::new(&format!("/gone/{grant}")));
            store.forget_some_bundles(&nonce(grant));
            assert!(count(&store) <= FEW, "{grant}");
        }
        assert!(count(&store) > FEW - LOOKS);
        // Each time as many as there is time for.
        for _ in 0..FEW {
            store.forget_bundles();
        }
        assert_eq!(count(&store), 0);
    }

    #[test]
    fn a_bundle_that_lies_there_is_forgotten_only_of_many() {
        let (dir, store, paths) = store();
        let held = lease("held", "/run/runc");
        store.lock(Duration::ZERO, &paths).unwrap().put(&held).unwrap();
        let bundle = |number: usize| {
            let bundle = dir.path().join(number.to_string());
            fs::create_dir_all(&bundle).unwrap();
            bundle
        };
        for number in 0..MANY {
            put(&store, if number % 2 == 0 { "held" } else { "ended" }, &bundle(number));
        }
        store.forget_some_bundles(&nonce(0));
        assert_eq!(count(&store), MANY);
        put(&store, "ended", &bundle(MANY));
        put(&store, "held", &bundle(MANY + 1));
        for grant in 0..20 {
            store.forget_some_bundles(&nonce(grant));
        }
        let left = store.all_bundle_files();
        assert_eq!(left.len(), MANY, "as many as may lie there");
        let of = |path: &&PathBuf| {
            read::<BundleRecordHead>(path).unwrap().key.container_id.as_str() == "held"
        };
        assert_eq!(left.iter().filter(of).count(), MANY / 2 + 1);
    }
}
