use super::*;
use crate::model::code::Code;
use crate::model::id::{ContainerId, DeviceId, LeaseKey, Nonce};
use crate::model::isolation::{Enforcement, Isolation, IsolationRecord};
use crate::model::lease::{Lease, LeaseState, LeasedDevice, Owner, RECORD_VERSION, Sharing};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::paths::Paths;
use crate::sys::atomic;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

pub(crate) fn lease(id: &str, root: &str) -> Lease {
    let nonce = Nonce::new(&"ab".repeat(16)).unwrap();
    Lease {
        v: RECORD_VERSION,
        id: nonce.lease_id(),
        nonce,
        state: LeaseState::Pending,
        container_id: ContainerId::new(id).unwrap(),
        runtime_root: root.to_owned(),
        engine: "runc".into(),
        runtime: "/usr/bin/runc".into(),
        bundle: "/b".into(),
        pid_file: None,
        created_at: "2026-01-01T00:00:00Z".into(),
        owner: Owner { pid: 1, start_time: 1, boot_id: "b".into(), pid_namespace: 1 },
        precreate: None,
        cgroup: None,
        devices: vec![LeasedDevice {
            uuid: DeviceId::new("GPU-1").unwrap(),
            index: 0,
            vendor: crate::model::device::Vendor::Nvidia,
            model: "X".into(),
            pci: crate::model::device::PciAddress::parse("01:00.0").unwrap(),
            nodes: vec!["/dev/nvidia0".into()],
            milli: MilliGpu::WHOLE,
            memory_bytes: Some(Bytes(1)),
            sharing: Sharing::Exclusive,
            simulated: true,
            mig: None,
            cu_mask: None,
            dmem_region: None,
        }],
        isolation: IsolationRecord {
            requested: Isolation::Auto,
            requested_as: None,
            effective: Isolation::None,
            compute_enforcement: Enforcement::None,
            memory_enforcement: Enforcement::None,
            missing: Vec::new(),
        },
        mps: None,
        env: std::collections::BTreeMap::new(),
        priority: 5,
        workload: None,
        release_grace_ms: 0,
        grace_until_ms: None,
    }
}

pub(crate) fn store() -> (tempfile::TempDir, Store, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("gpulease");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let store = Store::at(&run);
    let paths = Paths::default();
    store.prepare(&paths).unwrap();
    (dir, store, paths)
}

#[test]
fn what_is_put_is_read_and_what_is_removed_is_gone() {
    let (_dir, store, paths) = store();
    let lease = lease("web", "/run/runc");
    let key = lease.key().unwrap();
    {
        let ledger = store.lock(Duration::ZERO, &paths).unwrap();
        ledger.put(&lease).unwrap();
        assert_eq!(ledger.entry(&key).unwrap(), Some(Entry::Lease(Box::new(lease.clone()))));
        assert_eq!(store.lock(Duration::ZERO, &paths).unwrap_err().code, Code::LockTimeout);
    }
    assert_eq!(store.entries().unwrap().len(), 1);
    let ledger = store.lock(Duration::ZERO, &paths).unwrap();
    ledger.remove(&key).unwrap();
    ledger.remove(&key).unwrap();
    assert_eq!(ledger.entry(&key).unwrap(), None);
}

#[test]
fn damage_is_an_entry_a_foreign_file_is_not() {
    let (_dir, store, paths) = store();
    let good = lease("web", "/run/runc");
    let ledger = store.lock(Duration::ZERO, &paths).unwrap();
    ledger.put(&good).unwrap();
    let dir = store.leases_dir();
    let text = fs::read_to_string(store.lease_path(&good.key().unwrap())).unwrap();
    fs::write(dir.join("other@run!runc.json"), &text).unwrap();
    fs::write(dir.join("half@run!runc.json"), &text[..text.len() / 2]).unwrap();
    fs::write(dir.join("newer@run!runc.json"), text.replace("\"v\":1", "\"v\":99")).unwrap();
    fs::write(dir.join("README.json"), "{}").unwrap();
    fs::write(dir.join(".web@run!runc.1.tmp"), "{").unwrap();
    let entries = store.entries().unwrap();
    let why: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Corrupt(corrupt) => {
                Some((corrupt.key.container_id.as_str(), corrupt.why.as_str()))
            }
            Entry::Lease(_) => None,
        })
        .collect();
    assert_eq!(entries.len(), 4, "{entries:?}");
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why.iter().any(|(id, why)| *id == "other" && why.contains("another container")));
    assert!(why.iter().any(|(id, why)| *id == "newer" && why.contains("format")));
    ledger
        .set_aside(&LeaseKey::new("/run/runc", ContainerId::new("half").unwrap()).unwrap())
        .unwrap();
    assert_eq!(store.entries().unwrap().len(), 3);
    assert!(store.run.join("corrupt/half@run!runc.json").exists());
}

#[test]
fn what_is_no_file_of_ours_is_damage_not_an_error() {
    let (_dir, store, paths) = store();
    let path = |name: &str| store.leases_dir().join(format!("{name}@run!runc.json"));
    let good = record::encode(&lease("linked", "/run/runc")).unwrap();
    fs::write(store.run.join("elsewhere"), good).unwrap();
    std::os::unix::fs::symlink("../elsewhere", path("linked")).unwrap();
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("directory").join("inside"), "x").unwrap();
    fs::File::create(path("sparse")).unwrap().set_len(3 << 30).unwrap();
    let ledger = store.lock(Duration::ZERO, &paths).unwrap();
    for round in 0..2 {
        let entries = ledger.entries().unwrap();
        assert_eq!(entries.len(), 4, "{round}: {entries:?}");
        for entry in entries {
            let Entry::Corrupt(corrupt) = entry else { panic!("{entry:?}") };
            // The second time there is one of that name in `corrupt/` already.
            ledger.set_aside(&corrupt.key).unwrap();
        }
        assert_eq!(ledger.entries().unwrap(), []);
        fs::write(path("directory"), "now a file").unwrap();
        fs::create_dir(path("pipe")).unwrap();
        fs::create_dir(path("linked")).unwrap();
        fs::create_dir(path("sparse")).unwrap();
    }
}

#[test]
fn what_was_on_its_way_goes_with_the_next_look() {
    let (_dir, store, paths) = store();
    let path = |name: &str| store.run.join(name);
    // Under the lock nothing else is written to `leases/`; elsewhere it may be by the living.
    let own = format!(".x.json.{}.tmp", std::process::id());
    let dead = ".x.json.400000000.tmp";
    let files = [format!("leases/{own}"), format!("bundles/{dead}"), dead.to_owned()];
    for file in &files {
        fs::write(path(file), "half").unwrap();
    }
    fs::write(path(&format!("bundles/{own}")), "half").unwrap();
    assert_eq!(store.entries().unwrap(), []);
    assert!(path(&files[0]).exists(), "a look without the lock changes nothing");
    assert_eq!(store.lock(Duration::ZERO, &paths).unwrap().entries().unwrap(), []);
    assert_eq!(files.each_ref().map(|file| path(file).exists()), [false; 3]);
    assert!(path(&format!("bundles/{own}")).exists());
}

#[test]
fn what_cannot_be_removed_stops_nothing() {
    let (_dir, store, paths) = store();
    let unfinished = store.run.join("leases/.x.json.400000000.tmp");
    fs::create_dir(&unfinished).unwrap();
    assert_eq!(store.lock(Duration::ZERO, &paths).unwrap().entries().unwrap(), []);
    assert!(unfinished.exists());
}

#[test]
fn a_bundle_is_cleaned_without_the_lock() {
    let (dir, store, paths) = store();
    let lease = Lease { bundle: dir.path().display().to_string(), ..lease("web", "/r") };
    let unfinished = atomic::temporary_of(&dir.path().join("config.json"), lease.owner.pid);
    fs::write(&unfinished, "half").unwrap();
    let ledger = store.lock(Duration::ZERO, &paths).unwrap();
    ledger.remove_leftovers_of(&lease);
    assert!(unfinished.exists(), "the bundle's file system may be slow");
    drop(ledger);
    assert!(!unfinished.exists());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let (_dir, store, paths) = store();
    fs::set_permissions(&store.run, fs::Permissions::from_mode(0o777)).unwrap();
    let error = store.prepare(&paths).unwrap_err().to_string();
    assert!(error.contains("0777"), "{error}");
    let link = store.run.with_extension("link");
    std::os::unix::fs::symlink(&store.run, &link).unwrap();
    let failure = Store::at(&link).prepare(&paths).unwrap_err();
    assert!(failure.message.contains("could be forged"), "{failure:?}");
}

#[test]
fn what_lies_inside_is_for_its_owner_alone() {
    let (_dir, store, paths) = store();
    let mode = |name: &str| fs::metadata(store.run.join(name)).unwrap().mode() & 0o7777;
    let set = |mode| {
        fs::set_permissions(store.run.join("leases"), fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["leases", "bundles", "corrupt"] {
        assert_eq!(mode(name), 0o700, "{name}");
    }
    set(0o755);
    store.prepare(&paths).unwrap();
    assert_eq!(mode("leases"), 0o700, "what was open is closed");
    // Files that others may have put there are not trusted.
    let refused = || store.prepare(&paths).is_err_and(|f| f.message.contains("could be forged"));
    for mode in [0o775, 0o777, 0o707] {
        set(mode);
        assert!(refused(), "{mode:o}");
    }
    set(0o700);
    let (dir, aside) = (store.run.join("leases"), store.run.join("aside"));
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        assert!(refused(), "another user's");
        std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
    }
    fs::rename(&dir, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &dir).unwrap();
    assert!(refused(), "a link");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = lease("web", "/run/runc").key().unwrap();
        let entry = record::decode(&bytes, &key, Path::new("/nonexistent"));
        prop_assert!(matches!(entry, Entry::Corrupt(_)), "{:?}", entry);
    }

    #[test]
    fn no_cut_of_a_record_is_taken_for_a_whole_one(cut in 0usize..1000) {
        let lease = lease("web", "/run/runc");
        let bytes = record::encode(&lease).unwrap();
        let cut = cut % (bytes.len() - 1);
        let entry = record::decode(&bytes[..cut], &lease.key().unwrap(), Path::new("/nonexistent"));
        prop_assert!(matches!(entry, Entry::Corrupt(_)), "{:?}", entry);
    }
}
