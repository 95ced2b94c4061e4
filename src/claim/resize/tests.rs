//! With a ledger on disk, and limits whose setting may fail at any step.

use super::*;
use crate::model::device::Vendor;
use crate::model::fixtures;
use crate::model::id::{ContainerId, DeviceId, Nonce};
use crate::model::isolation::Enforcement;
use crate::paths::Paths;
use crate::store::Store;
use crate::sys::{lock, proc};
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const GIB: u64 = 1 << 30;
const REGION: &str = "drm/0000:01:00.0/vram0";

struct Host {
    _dir: tempfile::TempDir,
    store: Store,
    paths: Paths,
    node: Node,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("gpulease");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        let gpu = |uuid: &str, index| Device {
            index,
            memory_total_bytes: Some(Bytes(10 * GIB)),
            memory_reserved_bytes: None,
            ..fixtures::device(uuid, Vendor::Nvidia)
        };
        let node = Node { devices: vec![gpu("GPU-a", 0), gpu("GPU-b", 1)], ..Node::default() };
        Self { store: Store::at(&run), _dir: dir, paths: Paths::default(), node }
    }

    const fn ctx(&self) -> Ctx<'_> {
        Ctx { paths: &self.paths, store: &self.store }
    }

    /// A bound lease of this process, which lives, by `milli` and GiB of each of these GPUs.
    fn lease(&self, name: &str, gpus: &[&str], milli: u32, gib: u64) -> Lease {
        let base = crate::store::tests::lease(name, "/run/runc");
        let nonce = Nonce::new(&format!("{:02x}{}", name.len(), "0".repeat(30))).unwrap();
        let held = |uuid: &&str| LeasedDevice {
            uuid: DeviceId::new(uuid).unwrap(),
            nodes: Vec::new(),
            milli: MilliGpu(milli),
            memory_bytes: Some(Bytes(gib * GIB)),
            sharing: Sharing::Shared,
            simulated: false,
            dmem_region: Some(REGION.replace("01", uuid)),
            ..base.devices[0].clone()
        };
        Lease {
            id: nonce.lease_id(),
            nonce,
            state: LeaseState::Bound,
            container_id: ContainerId::new(name).unwrap(),
            owner: proc::describe(i32::try_from(std::process::id()).unwrap(), &self.paths).unwrap(),
            cgroup: Some("/sys/fs/cgroup/gpulease-test".into()),
            devices: gpus.iter().map(held).collect(),
            ..base
        }
    }

    fn put(&self, lease: &Lease) {
        self.store.prepare(&self.paths).unwrap();
        self.store.lock(CREATE_DEADLINE, &self.paths).unwrap().put(lease).unwrap();
    }

    fn record(&self, lease: &Lease) -> Lease {
        match self.store.entry(&lease.key().unwrap()).unwrap() {
            Some(Entry::Lease(lease)) => *lease,
            other => panic!("{other:?}"),
        }
    }

    fn resize(&self, name: &str, amounts: Amounts, setter: &Fake) -> Result<Resized, Failure> {
        resize(self.ctx(), &self.node, name, amounts, setter)
    }
}

type Meanwhile = fn(&Store, &Lease);

/// Records the limits that it is to set, and fails where it is to fail.
#[derive(Default)]
struct Fake {
    /// The ledger that it looks at when a daemon's limits are set.
    host: Option<(Store, Lease)>,
    /// A change of the ledger meanwhile.
    meanwhile: Option<Meanwhile>,
    /// How many locks of daemons were taken, and how often idle daemons were to be ended.
    held: Cell<usize>,
    idle: Cell<usize>,
    used: u64,
    /// The steps that fail, by number.
    fails: Vec<usize>,
    count: Cell<usize>,
    steps: RefCell<Vec<String>>,
}

impl Fake {
    fn failing(fails: &[usize]) -> Self {
        Self { fails: fails.to_vec(), ..Self::default() }
    }

    fn step(&self, what: String) -> Result<(), String> {
        self.count.set(self.count.get() + 1);
        if self.fails.contains(&self.count.get()) {
            return Err(format!("step {} failed", self.count.get()));
        }
        self.steps.borrow_mut().push(what);
        Ok(())
    }
}

impl LimitSetter for Fake {
    fn lock(&self, _: &MpsSeat) -> Result<Lock, String> {
        if let Some((store, _)) = &self.host {
            assert!(!is_locked(store), "the daemon's lock comes first");
        }
        self.held.set(self.held.get() + 1);
        let file = tempfile::NamedTempFile::new().unwrap();
        Ok(lock::acquire(file.path(), CREATE_DEADLINE, &Paths::default()).unwrap())
    }

    fn reap_daemons(&self) {
        self.idle.set(self.idle.get() + 1);
    }

    fn in_use(&self, _: &Path, _: &str) -> Result<Bytes, String> {
        Ok(Bytes(self.used))
    }

    fn dmem(&self, _: &Path, region: &str, from: Bytes, to: Bytes) -> Result<(), String> {
        if let Some((store, _)) = &self.host {
            assert!(is_locked(store), "without the lock, the cgroup may become another lease's");
        }
        self.step(format!("{region} {} {}", from.0 / GIB, to.0 / GIB))
    }

    fn mps(&self, seat: &MpsSeat, to: &LeasedDevice) -> Result<(), String> {
        if let Some((store, lease)) = &self.host {
            assert!(!is_locked(store), "other processes wait for the ledger");
            let Some(meanwhile) = self.meanwhile else {
                let Some(Entry::Lease(now)) = store.entry(&lease.key().unwrap()).unwrap() else {
                    panic!()
                };
                let (now, to) = (&now.devices[0], to);
                assert!(now.milli >= to.milli && now.memory_bytes >= to.memory_bytes);
                return self.step(format!("{} {}", seat.daemon, to.milli));
            };
            meanwhile(store, lease);
        }
        self.step(format!("{} {} {}", seat.daemon, to.milli, to.memory_bytes.unwrap().0 / GIB))
    }
}

fn is_locked(store: &Store) -> bool {
    store.lock(std::time::Duration::ZERO, &Paths::default()).is_err()
}

fn memory(gib: u64) -> Amounts {
    Amounts { memory: Some(Bytes(gib * GIB)), milli: None }
}

fn compute(milli: u32) -> Amounts {
    Amounts { memory: None, milli: Some(MilliGpu(milli)) }
}

/// By a daemon of its own.
fn with_daemon(lease: Lease) -> Lease {
    let seat = MpsSeat {
        daemon: lease.id.to_string(),
        uid: 0,
        pinned: false,
        pipe: Some("/run/x".into()),
        shm: None,
        adopted: false,
        process: None,
    };
    let mut lease = Lease { mps: Some(seat), ..lease };
    lease.isolation.effective = Isolation::Mps;
    lease.isolation.compute_enforcement = Enforcement::Advisory;
    let limits = injection::limits(&lease, &[], &[]);
    Lease { env: limits, ..lease }
}

#[test]
fn memory_grows_and_shrinks_by_the_kernels_limit() {
    let host = Host::new();
    let lease = host.lease("web", &["GPU-a", "GPU-b"], 250, 4);
    host.put(&lease);
    let setter = Fake::default();
    let resized = host.resize("web", memory(9), &setter).unwrap();
    assert!(resized.dmem && !resized.mps);
    assert_eq!(resized.before, lease);
    assert_eq!(host.record(&lease), resized.lease);
    assert_eq!(resized.lease.devices[1].memory_bytes, Some(Bytes(9 * GIB)));
    assert_eq!(resized.lease.devices[1].milli, MilliGpu(250));
    host.resize(lease.id.as_str(), memory(2), &setter).unwrap();
    let region = |uuid: &str| REGION.replace("01", uuid);
    let (a, b) = (region("GPU-a"), region("GPU-b"));
    let expected = [format!("{a} 4 9"), format!("{b} 4 9"), format!("{a} 9 2"), format!("{b} 9 2")];
    assert_eq!(*setter.steps.borrow(), expected);
    // The same amount again changes nothing.
    host.resize("web", memory(2), &setter).unwrap();
    assert_eq!(setter.count.get(), 4);
}

#[test]
fn a_daemon_of_its_own_gets_both_amounts() {
    let host = Host::new();
    let lease = with_daemon(host.lease("web", &["GPU-a"], 250, 4));
    host.put(&lease);
    let setter = Fake::default();
    let amounts = Amounts { milli: Some(MilliGpu(505)), memory: Some(Bytes(3 * GIB)) };
    let resized = host.resize("web", amounts, &setter).unwrap();
    assert!(resized.dmem && resized.mps);
    let daemon = format!("{} 505m 3", lease.id);
    assert_eq!(*setter.steps.borrow(), [format!("{} 4 3", REGION.replace("01", "GPU-a")), daemon]);
    let env = |name: &str| resized.lease.env[name].clone().unwrap();
    assert_eq!(env("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"), "50");
    assert_eq!(env("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"), "GPU-a=3072M");
    assert_eq!(resized.lease.env.len(), lease.env.len());
}

#[test]
fn amounts_that_are_held_or_used_are_refused() {
    let host = Host::new();
    let lease = host.lease("web", &["GPU-a"], 250, 4);
    host.put(&lease);
    host.put(&host.lease("others", &["GPU-a"], 500, 5));
    let setter = Fake { used: 3 * GIB, ..Fake::default() };
    let refused = |amounts| {
        let error = host.resize("web", amounts, &setter).unwrap_err();
        assert_eq!(host.record(&lease), lease);
        (error.code.to_string(), error.to_string())
    };
    let (code, text) = refused(memory(6));
    assert_eq!(code, "no-capacity");
    assert!(text.contains("of container others"), "{text}");
    assert_eq!(refused(memory(11)).0, "no-match");
    let (code, text) = refused(memory(2));
    assert_eq!(code, "resize-unsupported");
    assert!(text.contains("use 3 GiB of GPU 0, more than 2 GiB"), "{text}");
    assert_eq!(setter.count.get(), 0);
    host.resize("web", memory(5), &setter).unwrap();
}

#[test]
fn limits_that_cannot_change_are_refused_with_reasons() {
    let host = Host::new();
    let base = host.lease("web", &["GPU-a"], 250, 4);
    let no = |lease: &Lease, amounts, why: &str| {
        host.put(lease);
        let error = host.resize("web", amounts, &Fake::default()).unwrap_err();
        assert_eq!(error.code.as_str(), "resize-unsupported", "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint.is_some());
    };
    let effective = |isolation| {
        let mut lease = base.clone();
        lease.isolation.effective = isolation;
        lease
    };
    no(&effective(Isolation::TimeSlicing), compute(300), "nothing enforces a share of compute");
    no(&effective(Isolation::CuMask), compute(300), "compute units");
    let daemon = with_daemon(base.clone());
    let seat = |change: fn(&mut MpsSeat)| {
        let mut lease = daemon.clone();
        change(lease.mps.as_mut().unwrap());
        lease
    };
    no(&seat(|seat| seat.daemon = "GPU-a".into()), compute(300), "serves all leases");
    no(&seat(|seat| seat.adopted = true), compute(300), "not gpulease's");
    let mut bare = effective(Isolation::TimeSlicing);
    bare.devices[0].dmem_region = None;
    no(&bare, memory(5), "the kernel does not limit it");
    let mut bare = seat(|seat| seat.daemon = "GPU-a".into());
    bare.devices[0].dmem_region = None;
    no(&bare, memory(5), "when they started, and the kernel");
    no(&Lease { cgroup: None, ..base.clone() }, memory(5), "no cgroup of its own");
    let mut whole = base.clone();
    whole.devices[0].sharing = Sharing::Exclusive;
    no(&whole, memory(5), "whole devices");
    no(
        &Lease { state: LeaseState::Grace, grace_until_ms: Some(u64::MAX), ..base },
        memory(5),
        "run",
    );
    let unknown = host.resize("unknown", memory(5), &Fake::default()).unwrap_err();
    assert_eq!(unknown.code.as_str(), "unknown-lease");
}

/// Whichever step fails, record and limits are put back. If that fails too, the message has all errors
/// and the ledger the larger amount.
#[test]
fn each_failed_step_is_put_back() {
    let host = Host::new();
    let lease = with_daemon(host.lease("web", &["GPU-a", "GPU-b"], 250, 4));
    host.put(&lease);
    let amounts = |gib| Amounts { milli: Some(MilliGpu(100)), memory: Some(Bytes(gib * GIB)) };
    for gib in [2, 8] {
        let whole = Fake::default();
        host.resize("web", amounts(gib), &whole).unwrap();
        assert_eq!(whole.count.get(), 4);
        host.put(&lease);
        for fails in 1..=4 {
            let setter = Fake::failing(&[fails]);
            let error = host.resize("web", amounts(gib), &setter).unwrap_err();
            assert_eq!(error.code.as_str(), "isolation-failed");
            assert_eq!(error.to_string(), format!("step {fails} failed"));
            assert_eq!(host.record(&lease), lease, "{gib} {fails}");
            let limits = limits_after(&setter);
            assert!(limits.iter().all(|gib| *gib == 4), "{gib} {fails}: {:?}", setter.steps);
        }
    }
    // The second limit fails, and the first cannot be put back.
    let setter = Fake::failing(&[3, 4]);
    let error = host.resize("web", amounts(8), &setter).unwrap_err().to_string();
    assert_eq!(error, "step 3 failed; and to put it back: step 4 failed");
    assert_eq!(host.record(&lease).devices[0].memory_bytes, Some(Bytes(8 * GIB)));
}

/// The last limit of each region.
fn limits_after(setter: &Fake) -> Vec<u64> {
    let mut last = std::collections::BTreeMap::new();
    for step in setter.steps.borrow().iter().filter(|step| step.starts_with("drm/")) {
        let words: Vec<&str> = step.split(' ').collect();
        let before = last.insert(words[0].to_owned(), words[2].parse::<u64>().unwrap());
        assert!(before.is_none_or(|limit| limit.to_string() == words[1]), "{step}");
    }
    last.into_values().collect()
}

mod meanwhile;
