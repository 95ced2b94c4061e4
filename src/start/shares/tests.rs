use super::*;
use crate::model::isolation::Isolation;
use crate::model::lease::{MpsSeat, Owner};
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use crate::request::RequestSource;
use crate::request::Strategy;
use crate::store::Store;
use crate::sys::identity;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const REGION: &str = "drm/0000:01:00.0/vram";

/// A bound lease of half a GPU by MPS, with a limit of its memory.
fn lease() -> Lease {
    let mut lease = crate::store::tests::lease("web", "/run/runc");
    lease.state = LeaseState::Bound;
    lease.owner.pid_namespace = identity::pid_namespace(&Paths::default()).unwrap();
    lease.isolation.effective = Isolation::Mps;
    lease.isolation.compute_enforcement = Enforcement::Driver;
    lease.isolation.memory_enforcement = Enforcement::Kernel;
    lease.env.insert(variables::ENFORCEMENT.to_owned(), Some(lease.isolation.enforcement()));
    lease.devices[0].memory_bytes = Some(Bytes(4096));
    lease.devices[0].dmem_region = Some(REGION.to_owned());
    lease.mps = Some(MpsSeat {
        daemon: "GPU-1".to_owned(),
        uid: 0,
        pinned: true,
        pipe: None,
        shm: None,
        adopted: false,
        process: None,
    });
    lease
}

fn attached(adopted: bool) -> Attached {
    let shm = (!adopted).then(|| "/run/gpulease/mps/GPU-1/shm".to_owned());
    Attached { pipe: "/run/gpulease/mps/GPU-1/pipe".to_owned(), shm, adopted, process: daemon() }
}

fn daemon() -> Owner {
    Owner { pid: 7, start_time: 8, boot_id: "b".to_owned(), pid_namespace: 9 }
}

#[test]
fn a_seat_is_taken_as_it_was_planned() {
    let mut taken = lease();
    take_seat(&mut taken, attached(false));
    let seat = taken.mps.as_ref().unwrap();
    assert_eq!(seat.pipe.as_deref(), Some("/run/gpulease/mps/GPU-1/pipe"));
    assert_eq!(seat.shm.as_deref(), Some("/run/gpulease/mps/GPU-1/shm"));
    assert_eq!(seat.process, Some(daemon()));
    assert!(seat.pinned && !seat.adopted && may_leave_daemon(&taken));
    assert_eq!((&taken.isolation, &taken.env), (&lease().isolation, &lease().env));
}

#[test]
fn a_foreign_daemons_limits_are_recorded_as_advisory() {
    let mut taken = lease();
    take_seat(&mut taken, attached(true));
    let seat = taken.mps.as_ref().unwrap();
    assert!(seat.adopted && !seat.pinned && seat.shm.is_none());
    assert!(!may_leave_daemon(&taken), "it is never stopped");
    assert_eq!(taken.isolation.enforcement(), "compute=advisory,memory=kernel");
    assert!(taken.isolation.missing[0].starts_with(FOREIGN), "{:?}", taken.isolation.missing);
    let said = taken.env.get(variables::ENFORCEMENT).unwrap().as_deref();
    assert_eq!(said, Some("compute=advisory,memory=kernel"));
    // The reason is recorded for an advisory plan too.
    let mut advisory = lease();
    advisory.isolation.compute_enforcement = Enforcement::Advisory;
    take_seat(&mut advisory, attached(true));
    assert_eq!(advisory.isolation.missing, taken.isolation.missing);
}

#[test]
fn a_foreign_daemons_client_needs_the_hosts_shm() {
    let mut seat = lease().mps.unwrap();
    let facts = |mounts: &[(&str, &str, bool)]| Facts {
        mounts: mounts
            .iter()
            .map(|(destination, source, bind)| SpecMount {
                destination: (*destination).to_owned(),
                source: (*source).to_owned(),
                bind: *bind,
                ..SpecMount::default()
            })
            .collect(),
        ..Facts::default()
    };
    let own = ("/dev/shm", "shm", false);
    let hosts = ("/dev/shm/", "/dev/shm", true);
    assert!(permit_shm(&seat, &facts(&[own])).is_ok(), "a daemon of ours brings its own");
    seat.adopted = true;
    for mounts in [&[][..], &[own], &[hosts, own], &[("/dev/shm", "/srv/shm", true)]] {
        let failure = permit_shm(&seat, &facts(mounts)).unwrap_err();
        assert_eq!(failure.code, Code::IsolationFailed);
        assert!(failure.hint.unwrap().contains("--ipc=host"));
    }
    assert!(permit_shm(&seat, &facts(&[own, hosts])).is_ok());
}

#[test]
fn only_a_limit_of_compute_is_lost_with_the_daemon() {
    use crate::model::quantity::MilliGpu;
    let whole = Request::one(Strategy::BestFit, RequestSource::Annotations);
    let (half, some) = (Some(MilliGpu(500)), Some(Bytes(1)));
    let request = |enforcement, compute, memory| Request {
        enforcement,
        amount: Amount::Share { compute, memory },
        ..whole.clone()
    };
    assert!(insists_on_compute(&request(Enforce::Required, half, None)));
    assert!(insists_on_compute(&request(Enforce::Required, half, some)));
    assert!(!insists_on_compute(&request(Enforce::Required, None, some)));
    assert!(!insists_on_compute(&request(Enforce::Preferred, half, some)));
}

#[test]
fn the_paths_of_an_answer_are_checked() {
    let process = serde_json::to_string(&daemon()).unwrap();
    let parse = |text: &str| parse(text.replace("PROCESS", &process).as_bytes());
    let good = r#"{"pipe":"/p","shm":null,"adopted":true,"process":PROCESS,"new":1}"#;
    let good = parse(good).unwrap();
    assert_eq!((good.pipe.as_str(), good.shm, good.adopted), ("/p", None, true));
    for bad in [
        "",
        "{}",
        "null",
        r#"{"pipe":"p","shm":null,"adopted":false,"process":PROCESS}"#,
        r#"{"pipe":"/p\u0000","shm":null,"adopted":false,"process":PROCESS}"#,
        r#"{"pipe":"/p","shm":"","adopted":false,"process":PROCESS}"#,
        r#"{"pipe":"/p","shm":"/s","adopted":false,"process":PROCESS}{}"#,
        r#"{"pipe":"/p","shm":"/s","adopted":false}"#,
        r#"{"pipe":"/p","shm":"/s","adopted":false,"process":{"pid":1}}"#,
    ] {
        assert!(parse(bad).is_none(), "{bad}");
    }
}

/// A host with a cgroup, and a ledger.
struct Host {
    _dir: tempfile::TempDir,
    paths: Paths,
    store: Store,
    cgroup: std::path::PathBuf,
}

fn host() -> Host {
    let dir = tempfile::tempdir().unwrap();
    let paths =
        Paths { sys: dir.path().join("sys"), run: dir.path().join("run"), ..Paths::default() };
    let cgroup = paths.sys.join("fs/cgroup/docker/web");
    fs::create_dir_all(&cgroup).unwrap();
    fs::create_dir(&paths.run).unwrap();
    fs::set_permissions(&paths.run, fs::Permissions::from_mode(0o755)).unwrap();
    let root = paths.sys.join("fs/cgroup");
    fs::write(root.join("cgroup.subtree_control"), "dmem").unwrap();
    fs::write(root.join("docker/cgroup.subtree_control"), "dmem").unwrap();
    fs::write(cgroup.join("dmem.max"), "").unwrap();
    let store = Store::at(&paths.run);
    store.prepare(&Paths::default()).unwrap();
    Host { _dir: dir, paths, store, cgroup }
}

impl Host {
    fn ctx(&self) -> Ctx<'_> {
        Ctx { paths: &self.paths, store: &self.store }
    }

    fn lease(&self) -> Lease {
        let cgroup = Some(self.cgroup.display().to_string());
        // Without a daemon, its end starts no program.
        Lease { cgroup, mps: None, ..lease() }
    }

    fn put(&self, lease: &Lease) {
        let ledger = self.store.lock(Duration::from_secs(5), &Paths::default()).unwrap();
        ledger.put(lease).unwrap();
    }

    fn remove(&self, lease: &Lease) {
        let ledger = self.store.lock(Duration::from_secs(5), &Paths::default()).unwrap();
        ledger.remove(&lease.key().unwrap()).unwrap();
    }

    fn said(&self) -> String {
        fs::read_to_string(self.cgroup.join("dmem.max")).unwrap()
    }
}

#[test]
fn a_bound_container_is_limited_and_let_go() {
    let host = host();
    limit(host.ctx(), &host.lease()).unwrap();
    assert_eq!(host.said(), "drm/0000:01:00.0/vram 4096");
    end(host.ctx(), &host.lease(), Vec::new()).unwrap();
    assert!(host.said().starts_with("drm/0000:01:00.0/vram max"));
    // The same path from another pid namespace may be another cgroup.
    limit(host.ctx(), &host.lease()).unwrap();
    let mut other = host.lease();
    other.owner.pid_namespace += 1;
    end(host.ctx(), &other, Vec::new()).unwrap();
    assert_eq!(host.said(), "drm/0000:01:00.0/vram 4096");
    // The cgroup is gone.
    fs::remove_dir_all(&host.cgroup).unwrap();
    end(host.ctx(), &host.lease(), Vec::new()).unwrap();
}

#[test]
fn the_limit_of_another_lease_in_the_cgroup_stays() {
    let host = host();
    limit(host.ctx(), &host.lease()).unwrap();
    let nonce = Nonce::new(&"cd".repeat(16)).unwrap();
    let next = Lease { nonce, ..host.lease() };
    let of = |name: &str| ContainerId::new(name).unwrap();
    let elsewhere = Some("/sys/fs/cgroup/x".to_owned());
    let (pending, container_id) = (LeaseState::Pending, of("other"));
    for other in [
        // The container's next start, in any cgroup; another container in this cgroup, or in an
        // unknown one.
        Lease { state: pending, cgroup: elsewhere.clone(), ..next.clone() },
        Lease { container_id: container_id.clone(), ..next.clone() },
        Lease { container_id: container_id.clone(), state: pending, cgroup: None, ..next.clone() },
    ] {
        host.put(&other);
        end(host.ctx(), &host.lease(), Vec::new()).unwrap();
        assert_eq!(host.said(), "drm/0000:01:00.0/vram 4096", "{other:?}");
        host.remove(&other);
    }
    // An unreadable record of the container may be of its next start.
    host.put(&next);
    let record = host.paths.run.join(format!("leases/{}.json", next.key().unwrap().file_stem()));
    fs::write(&record, "{").unwrap();
    end(host.ctx(), &host.lease(), Vec::new()).unwrap();
    assert_eq!(host.said(), "drm/0000:01:00.0/vram 4096");
    fs::remove_file(&record).unwrap();
    // A container in another cgroup does not count.
    host.put(&Lease { container_id, cgroup: elsewhere, ..next });
    end(host.ctx(), &host.lease(), Vec::new()).unwrap();
    assert!(host.said().starts_with("drm/0000:01:00.0/vram max"));
}

#[test]
fn nothing_is_lifted_while_the_ledger_is_locked() {
    let host = host();
    limit(host.ctx(), &host.lease()).unwrap();
    let ledger = host.store.lock(Duration::from_secs(5), &Paths::default()).unwrap();
    let failure = end(host.ctx(), &host.lease(), Vec::new()).unwrap_err();
    assert_eq!(failure.code, Code::LockTimeout);
    assert_eq!(host.said(), "drm/0000:01:00.0/vram 4096");
    drop(ledger);
}

#[test]
fn a_container_that_cannot_be_limited_does_not_start() {
    let host = host();
    let lease = host.lease();
    for unbound in [
        Lease { cgroup: None, ..lease.clone() },
        Lease { state: LeaseState::Pending, ..lease.clone() },
    ] {
        let failure = limit(host.ctx(), &unbound).unwrap_err();
        assert_eq!(failure.code, Code::IsolationFailed);
        assert!(failure.message.contains("no cgroup of its own"), "{}", failure.message);
    }
    fs::remove_file(host.cgroup.join("dmem.max")).unwrap();
    let failure = limit(host.ctx(), &lease).unwrap_err();
    assert_eq!(failure.code, Code::IsolationFailed);
    assert!(failure.message.contains("docker/web/dmem.max"), "{}", failure.message);
    // A lease without a region needs no cgroup.
    let mut none = Lease { cgroup: None, ..lease };
    none.devices[0].dmem_region = None;
    limit(host.ctx(), &none).unwrap();
}

#[test]
fn limits_to_take_back_are_found_before_a_release() {
    let host = host();
    let (lease, key) = (host.lease(), host.lease().key().unwrap());
    let put = |lease: &Lease| host.put(lease);
    let held = |nonce: &Nonce| held(host.ctx(), &key, nonce).is_some();
    assert!(!held(&lease.nonce));
    put(&lease);
    assert!(held(&lease.nonce));
    assert!(!held(&Nonce::new(&"cd".repeat(16)).unwrap()), "of a later start");
    put(&Lease { state: LeaseState::Grace, ..lease.clone() });
    assert!(!held(&lease.nonce), "its poststop hook has been");
    let mut plain = lease.clone();
    plain.devices[0].dmem_region = None;
    put(&plain);
    assert!(!held(&lease.nonce));
}
