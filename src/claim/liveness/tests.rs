use super::*;
use crate::store::tests::lease as new_lease;
use crate::store::{BundleRecord, Entry, Store};
use crate::sys::identity;
use std::fs;
use std::os::unix::fs::symlink;

const BOOT: &str = "boot";
const HOST: u64 = 4_026_531_836;
const ENGINE: u64 = 4_026_532_700;

/// A procfs and cgroups that are made up, as a process in this pid namespace sees them.
fn seen_from(namespace: u64) -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let paths =
        Paths { proc: path("proc"), sys: path("sys"), run: path("run"), ..Paths::default() };
    let own = paths.proc.join("self");
    fs::create_dir_all(own.join("ns")).unwrap();
    symlink(format!("pid:[{namespace}]"), own.join("ns/pid")).unwrap();
    symlink("cgroup:[4026531835]", own.join("ns/cgroup")).unwrap();
    let top = paths.sys.join("fs/cgroup");
    fs::create_dir_all(&top).unwrap();
    fs::write(top.join("cgroup.controllers"), "").unwrap();
    let mounted = format!("30 20 0:26 / {} rw - cgroup2 cgroup rw\n", top.display());
    fs::write(own.join("mountinfo"), mounted).unwrap();
    let boot = paths.proc.join("sys/kernel/random");
    fs::create_dir_all(&boot).unwrap();
    fs::write(boot.join("boot_id"), BOOT).unwrap();
    assert_eq!(identity::pid_namespace(&paths).unwrap(), namespace);
    (dir, paths)
}

fn lease_of(namespace: u64, state: LeaseState, paths: &Paths) -> Lease {
    let mut lease = new_lease("web", "/nowhere");
    lease.owner = Owner { pid: 7, start_time: 500, boot_id: BOOT.into(), pid_namespace: namespace };
    lease.cgroup = Some(paths.sys.join("fs/cgroup/docker/web").display().to_string());
    Lease { state, ..lease }
}

fn all_states(namespace: u64, paths: &Paths) -> [Lease; 3] {
    let pending = lease_of(namespace, LeaseState::Pending, paths);
    let precreate = Some(PrecreateHolder { until_ms: 0, since: 1 });
    let bound = lease_of(namespace, LeaseState::Bound, paths);
    [Lease { precreate, ..pending.clone() }, pending, bound]
}

/// Where another runtime's state lies is not looked at.
struct Mute;

impl ContainerFacts for Mute {
    fn of_lease(&self, lease: &Lease) -> Evidence {
        panic!("asked for {lease:?}")
    }

    fn of_corrupt(&self, record: &Corrupt) -> bool {
        panic!("asked for {record:?}")
    }
}

fn at_end(lease: &Lease, paths: &Paths) -> Holder {
    Judge::by(&Mute, paths).holder_at_end(lease)
}

#[test]
fn the_host_judges_an_engine_that_is_gone() {
    let (_dir, paths) = seen_from(HOST);
    for lease in all_states(ENGINE, &paths) {
        assert_eq!(holder(&lease, &paths), Holder::Dead);
        assert_eq!(at_end(&lease, &paths), Holder::Dead);
    }
    // A cgroup that may be the holder's has a process: the engine recorded a path below its own.
    let cgroup = paths.sys.join("fs/cgroup/outer/docker/web");
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(cgroup.join("cgroup.procs"), "9\n").unwrap();
    for lease in all_states(ENGINE, &paths) {
        let judged = Holder::Unjudged(Unjudged::Cgroup(cgroup.clone()));
        assert_eq!(holder(&lease, &paths), judged);
    }
    let unseen =
        Lease { cgroup: Some("/other/web".into()), ..lease_of(ENGINE, LeaseState::Bound, &paths) };
    let judged = Holder::Unjudged(Unjudged::NoCgroup("/other/web".into()));
    assert_eq!(holder(&unseen, &paths), judged);
}

#[test]
fn the_host_does_not_judge_an_engine_that_runs() {
    let (_dir, paths) = seen_from(HOST);
    let process = paths.proc.join("90");
    fs::create_dir_all(process.join("ns")).unwrap();
    symlink(format!("pid:[{ENGINE}]"), process.join("ns/pid")).unwrap();
    fs::write(process.join("stat"), format!("90 (dockerd) S {}400 0\n", "0 ".repeat(18))).unwrap();
    for lease in all_states(ENGINE, &paths) {
        assert_eq!(holder(&lease, &paths), Holder::Unjudged(Unjudged::InUse));
        assert_eq!(at_end(&lease, &paths), Holder::Unjudged(Unjudged::InUse));
    }
}

#[test]
fn an_engine_judges_what_is_its_own_alone() {
    let (_dir, paths) = seen_from(ENGINE);
    for lease in all_states(HOST, &paths) {
        assert_eq!(holder(&lease, &paths), Holder::Unjudged(Unjudged::Elsewhere));
        assert_eq!(at_end(&lease, &paths), Holder::Unjudged(Unjudged::Elsewhere));
        let last_boot = Owner { boot_id: "other".into(), ..lease.owner.clone() };
        assert_eq!(holder(&Lease { owner: last_boot, ..lease }, &paths), Holder::Dead);
    }
    // No process has this number.
    let mut own = lease_of(ENGINE, LeaseState::Bound, &paths);
    own.owner.pid = i32::MAX;
    assert_eq!(holder(&own, &paths), Holder::Dead);
}

#[test]
fn a_grace_ends_wherever_that_is_looked_at() {
    let (_dir, paths) = seen_from(ENGINE);
    let grace = lease_of(HOST, LeaseState::Grace, &paths);
    let over = Lease { grace_until_ms: Some(0), ..grace.clone() };
    let left = Lease { grace_until_ms: Some(u64::MAX), ..grace };
    assert_eq!(holder(&over, &paths), Holder::Dead);
    assert_eq!(holder(&left, &paths), Holder::Alive);
    let words = |lease: &Lease| LeaseStanding::of(lease, &holder(lease, &paths)).as_str();
    assert_eq!((words(&over), words(&left)), ("over", "grace"));
    assert_eq!(words(&lease_of(HOST, LeaseState::Bound, &paths)), "unjudged");
}

#[test]
fn a_damaged_record_is_judged_where_it_was_made() {
    for (from, made, is_dead) in [
        (HOST, Some(HOST), true),
        (HOST, Some(ENGINE), true),
        (HOST, None, true),
        (ENGINE, Some(ENGINE), true),
        (ENGINE, Some(HOST), false),
        (ENGINE, None, false),
    ] {
        let (_dir, paths) = seen_from(from);
        let store = Store::at(&paths.run);
        fs::create_dir_all(paths.run.join("bundles")).unwrap();
        let lease = lease_of(HOST, LeaseState::Bound, &paths);
        let record = serde_json::json!({
            "nonce": lease.nonce, "key": lease.key().unwrap(), "bundle": "/b", "devices": [],
            "pid_namespace": made, "undo": crate::injection::Undo::default(),
        });
        let record: BundleRecord = serde_json::from_value(record).unwrap();
        store.put_bundle(&record).unwrap();
        let corrupt = Corrupt {
            key: lease.key().unwrap(),
            path: "/x".into(),
            why: "damage".into(),
            modified: Some(SystemTime::UNIX_EPOCH),
        };
        let witnesses = store.witnesses([&Entry::Corrupt(corrupt.clone())]);
        let judged = Judge::look(&paths).holder_of_corrupt(&corrupt, &witnesses);
        assert_eq!(judged == Holder::Dead, is_dead, "{made:?} from {from}: {judged:?}");
    }
}
