//! The facts in the bundles' records about containers whose lease cannot be read. The records are
//! read once for all such leases, and up to a limit, because the ledger is locked meanwhile: for
//! each lease by itself the work would grow as leases times bundles.

use super::directory::Store;
use super::record::Entry;
use crate::model::id::LeaseKey;
use crate::model::lease::LeasedDevice;
use crate::sys::checked::read_own;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The facts in the record of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Witness {
    key: LeaseKey,
    /// The devices that the container was granted.
    pub devices: Vec<LeasedDevice>,
    /// The cgroup of its processes, where it could be predicted.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// The pid namespace in which the record was written, as in a lease's owner.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
}

/// The facts about all containers that were asked for.
#[derive(Debug, Default)]
pub struct Witnesses {
    of: BTreeMap<LeaseKey, Vec<Witness>>,
    is_cut_off: bool,
    has_unreadable: bool,
}

impl Witnesses {
    /// The records of this container.
    pub fn of(&self, key: &LeaseKey) -> &[Witness] {
        self.of.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether some records were not read, because there are too many or they cannot be listed.
    pub const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// The devices that the container was granted, if no other record can name more.
    pub fn devices_of(&self, key: &LeaseKey) -> Option<Vec<&LeasedDevice>> {
        let devices: Vec<_> = self.of(key).iter().flat_map(|witness| &witness.devices).collect();
        let is_certain = !self.is_cut_off && !self.has_unreadable && !devices.is_empty();
        is_certain.then_some(devices)
    }
}

/// The limits of a search.
#[derive(Debug, Clone, Copy)]
struct Limits {
    records: usize,
    bytes: u64,
    time: Duration,
}

/// Many times the records of a node's containers, and a part of the time that others wait for the
/// lock.
const LIMITS: Limits = Limits { records: 4096, bytes: 32 << 20, time: Duration::from_secs(1) };

impl Store {
    /// Reads the records for those of these entries that are unreadable. If there are none, nothing
    /// is read.
    pub fn witnesses<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Witnesses {
        let unread = entries.into_iter().filter_map(|entry| match entry {
            Entry::Corrupt(corrupt) => Some(&corrupt.key),
            Entry::Lease(_) => None,
        });
        let unread: BTreeSet<&LeaseKey> = unread.collect();
        if unread.is_empty() {
            return Witnesses::default();
        }
        match self.bundle_files() {
            Ok(files) => hear(files, &unread, LIMITS),
            Err(_) => Witnesses { is_cut_off: true, ..Witnesses::default() },
        }
    }
}

fn hear(
    files: impl Iterator<Item = io::Result<PathBuf>>,
    of: &BTreeSet<&LeaseKey>,
    limits: Limits,
) -> Witnesses {
    let mut heard = Witnesses::default();
    let (start, mut records, mut bytes) = (Instant::now(), 0, 0);
    for path in files {
        let Ok(path) = path else {
            heard.is_cut_off = true;
            break;
        };
        let left = limits.bytes.saturating_sub(bytes);
        if records >= limits.records || left == 0 || start.elapsed() > limits.time {
            heard.is_cut_off = true;
            break;
        }
        records += 1;
        match read(&path, left) {
            // It was removed meanwhile.
            Ok(None) => {}
            Ok(Some(text)) => {
                bytes = bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
                match serde_json::from_slice::<Witness>(&text) {
                    Ok(witness) if of.contains(&witness.key) => {
                        heard.of.entry(witness.key.clone()).or_default().push(witness);
                    }
                    Ok(_) => {}
                    Err(_) => heard.has_unreadable = true,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                heard.is_cut_off = true;
                break;
            }
            Err(_) => heard.has_unreadable = true,
        }
    }
    heard
}

fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    #[cfg(test)]
    READS.set(READS.get() + 1);
    read_own(path, max)
}

#[cfg(test)]
thread_local! {
    /// How many records this thread has read.
    pub(crate) static READS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{ContainerId, Nonce};
    use crate::store::BundleRecord;
    use crate::store::tests::{lease, store};
    use std::fs;

    fn key(id: &str) -> LeaseKey {
        LeaseKey::new("/run/runc", ContainerId::new(id).unwrap()).unwrap()
    }

    fn put(store: &Store, id: &str, bundle: &str) {
        let record = BundleRecord {
            nonce: Nonce::new(&"ab".repeat(16)).unwrap(),
            key: key(id),
            bundle: bundle.to_owned(),
            devices: lease(id, "/run/runc").devices,
            cgroup: Some(format!("/sys/fs/cgroup/{id}")),
            pid_namespace: None,
            undo: serde_json::from_str("{}").unwrap(),
            earlier: None,
        };
        store.put_bundle(&record).unwrap();
    }

    fn heard(store: &Store, id: &str, limits: Limits) -> Witnesses {
        hear(store.bundle_files().unwrap(), &[&key(id)].into(), limits)
    }

    #[test]
    fn every_bundle_of_a_container_is_heard_and_no_others() {
        let (_dir, store, _) = store();
        assert_eq!(heard(&store, "web", LIMITS).of(&key("web")), []);
        for bundle in ["/a", "/b"] {
            put(&store, "web", bundle);
        }
        put(&store, "other", "/c");
        let heard = heard(&store, "web", LIMITS);
        assert_eq!(heard.of(&key("web")).len(), 2);
        assert_eq!(heard.of(&key("web"))[0].cgroup.as_deref(), Some("/sys/fs/cgroup/web"));
        assert_eq!(heard.of(&key("other")), [], "not asked for");
        assert_eq!(heard.devices_of(&key("web")).unwrap().len(), 2);
        assert_eq!(heard.devices_of(&key("other")), None);
    }

    #[test]
    fn past_a_limit_nothing_is_certain() {
        let (_dir, store, _) = store();
        for bundle in 0..5 {
            put(&store, "web", &format!("/{bundle}"));
        }
        let limits = |limits: Limits| {
            let heard = heard(&store, "web", limits);
            assert_eq!(heard.devices_of(&key("web")).is_none(), heard.is_cut_off());
            heard.is_cut_off()
        };
        assert!(!limits(Limits { records: 5, ..LIMITS }));
        assert!(limits(Limits { records: 4, ..LIMITS }));
        assert!(limits(Limits { bytes: 10, ..LIMITS }));
        assert!(limits(Limits { time: Duration::ZERO, ..LIMITS }));
    }

    #[test]
    fn a_record_that_cannot_be_read_may_say_more() {
        let (_dir, store, _) = store();
        put(&store, "web", "/a");
        fs::write(store.bundles_dir().join("0.json"), "{").unwrap();
        let heard = heard(&store, "web", LIMITS);
        assert_eq!((heard.of(&key("web")).len(), heard.is_cut_off()), (1, false));
        assert_eq!(heard.devices_of(&key("web")), None);
    }
}
