//! Processes that compute on the node's GPUs without a lease. The servers of gpulease's MPS daemons
//! are none of them: they compute for leases.

use super::Ctx;
use super::sweep::Swept;
use crate::allocator::{BusyDevices, BusyProcess};
use crate::model::id::DeviceId;
use crate::model::lease::{Lease, LeaseState, Owner};
use crate::request::policy::Busy;
use crate::store::mps_journal;
use crate::store::{Corrupt, Witness};
use crate::sys::gpu_users::GpuUser;
use crate::sys::namespaces::Here;
use crate::sys::proc::{self, Life};
use std::collections::BTreeMap;
use std::path::Path;

/// Processes on the node's GPUs, and the administrator's policy for those without a lease. Found
/// before the ledger is locked, because reading procfs takes time.
#[derive(Debug, Clone, Copy)]
pub struct BusyProcesses<'a> {
    pub users: &'a [GpuUser],
    pub policy: Busy,
}

impl Swept {
    /// The processes that belong to no lease, by the devices that they are on.
    pub fn busy_devices(&self, busy: BusyProcesses<'_>, ctx: Ctx<'_>) -> BusyDevices {
        let mut on: BTreeMap<DeviceId, Vec<BusyProcess>> = BTreeMap::new();
        if busy.policy == Busy::Ignore {
            return BusyDevices::default();
        }
        let daemons = Daemons::look(busy.users, ctx);
        let has_no_lease = |user: &&GpuUser| !self.has(user) && !daemons.have(user);
        for user in busy.users.iter().filter(has_no_lease) {
            for device in user.devices.keys() {
                let process = BusyProcess { pid: user.pid, name: user.name.clone() };
                on.entry(device.clone()).or_default().push(process);
            }
        }
        BusyDevices { on, refuse: busy.policy == Busy::Refuse }
    }

    /// The lease that a process belongs to.
    pub fn lease_of(&self, user: &GpuUser) -> Option<&Lease> {
        self.leases.iter().find(|lease| is_inside(user, lease, self.pid_namespace))
    }

    fn has(&self, user: &GpuUser) -> bool {
        // For a lease that cannot be read, the bundle's record says which cgroup it has.
        let is_inside = |witness: &Witness| is_in(user, witness.cgroup.as_deref());
        let unreadable = |c: &Corrupt| self.witnesses.of(&c.key).iter().any(is_inside);
        self.lease_of(user).is_some() || self.corrupt.iter().any(unreadable)
    }
}

/// The MPS daemons of gpulease that run.
#[derive(Debug)]
pub struct Daemons(Vec<i32>);

impl Daemons {
    /// Looks for them, if there are processes that could belong to one.
    pub fn look(users: &[GpuUser], ctx: Ctx<'_>) -> Self {
        if users.is_empty() {
            return Self(Vec::new());
        }
        let known = mps_journal::processes(&ctx.paths.run).into_iter();
        // The pid of a daemon that is gone may be another process's by now.
        let here = Here::look(ctx.paths);
        let runs = |owner: &Owner| {
            here.pid_namespace == Some(owner.pid_namespace)
                && proc::life_here(owner, &here, ctx.paths) == Life::Alive
        };
        Self(known.filter(runs).map(|owner| owner.pid).collect())
    }

    /// Whether a process is one of them, or a server of one.
    pub fn have(&self, user: &GpuUser) -> bool {
        self.0.iter().any(|pid| user.ancestors.contains(pid))
    }
}

/// Whether a process is in the lease's container: in its cgroup or below it, or the lease's owner or
/// a descendant of it, for a container may share its caller's cgroup. A lease in its grace has no
/// container. A podman that holds a lease for its `precreate` hook has other containers as
/// descendants. A pid of another pid namespace than `ours` means another process.
fn is_inside(user: &GpuUser, lease: &Lease, ours: Option<u64>) -> bool {
    let owner = &lease.owner;
    let descends = lease.precreate.is_none()
        && ours == Some(owner.pid_namespace)
        && user.ancestors.contains(&owner.pid);
    lease.state != LeaseState::Grace && (descends || is_in(user, lease.cgroup.as_deref()))
}

fn is_in(user: &GpuUser, cgroup: Option<&str>) -> bool {
    let theirs = user.cgroup.as_deref();
    theirs.zip(cgroup).is_some_and(|(theirs, cgroup)| theirs.starts_with(Path::new(cgroup)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::{PciAddress, Vendor};
    use crate::model::id::{ContainerId, Nonce};
    use crate::model::isolation::{Enforcement, Isolation, IsolationRecord};
    use crate::model::lease::{LeasedDevice, Owner, PrecreateHolder, RECORD_VERSION, Sharing};
    use crate::model::quantity::MilliGpu;
    use crate::paths::Paths;
    use crate::store::Store;

    const CGROUP: &str = "/sys/fs/cgroup/docker/abc";

    fn lease(cgroup: Option<&str>) -> Lease {
        let nonce = Nonce::new(&"ab".repeat(16)).unwrap();
        Lease {
            v: RECORD_VERSION,
            id: nonce.lease_id(),
            nonce,
            state: LeaseState::Bound,
            container_id: ContainerId::new("web").unwrap(),
            runtime_root: "/run/runc".into(),
            engine: "docker".into(),
            runtime: "/usr/bin/runc".into(),
            bundle: "/b".into(),
            pid_file: None,
            created_at: "2026-01-01T00:00:00Z".into(),
            owner: Owner { pid: 500, start_time: 1, boot_id: "b".into(), pid_namespace: 1 },
            precreate: None,
            cgroup: cgroup.map(str::to_owned),
            devices: vec![LeasedDevice {
                uuid: id("GPU-a"),
                index: 0,
                vendor: Vendor::Nvidia,
                model: "M".into(),
                pci: PciAddress::parse("01:00.0").unwrap(),
                nodes: Vec::new(),
                milli: MilliGpu::WHOLE,
                memory_bytes: None,
                sharing: Sharing::Exclusive,
                simulated: false,
                mig: None,
                cu_mask: None,
                dmem_region: None,
            }],
            isolation: IsolationRecord {
                requested: Isolation::None,
                requested_as: None,
                effective: Isolation::None,
                compute_enforcement: Enforcement::None,
                memory_enforcement: Enforcement::None,
                missing: Vec::new(),
            },
            mps: None,
            env: BTreeMap::new(),
            priority: 5,
            workload: None,
            release_grace_ms: 0,
            grace_until_ms: None,
        }
    }

    fn id(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    fn user(pid: i32, cgroup: Option<&str>, ancestors: &[i32]) -> GpuUser {
        GpuUser {
            pid,
            name: Some("python3".into()),
            devices: [(id("GPU-a"), None), (id("GPU-b"), None)].into_iter().collect(),
            cgroup: cgroup.map(Into::into),
            ancestors: [&[pid][..], ancestors].concat(),
        }
    }

    /// The pids of the processes without a lease.
    fn busy_pids(lease: Lease, users: &[GpuUser], policy: Busy) -> Vec<i32> {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { run: dir.path().to_owned(), ..Paths::default() };
        let store = Store::at(dir.path());
        let swept = Swept { leases: vec![lease], pid_namespace: Some(1), ..Swept::default() };
        let ctx = Ctx { paths: &paths, store: &store };
        let busy = swept.busy_devices(BusyProcesses { users, policy }, ctx);
        assert_eq!(busy.refuse, policy == Busy::Refuse);
        assert_eq!(busy.on.get(&id("GPU-a")), busy.on.get(&id("GPU-b")));
        let there = busy.on.into_values().next().unwrap_or_default();
        there.into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn a_process_belongs_to_the_lease_that_it_is_below() {
        let users = [
            user(1000, Some("/sys/fs/cgroup/docker/abc"), &[1]),
            user(1001, Some("/sys/fs/cgroup/docker/abc/nested/x"), &[1]),
            user(1002, Some("/sys/fs/cgroup/docker/abcdef"), &[1]),
            user(1003, Some("/sys/fs/cgroup/user.slice"), &[80, 1]),
            user(1004, None, &[80, 500, 1]),
            user(500, None, &[1]),
            user(1005, None, &[1]),
        ];
        assert_eq!(busy_pids(lease(Some(CGROUP)), &users, Busy::Avoid), [1002, 1003, 1005]);
        let shared = busy_pids(lease(None), &users, Busy::Refuse);
        assert_eq!(shared, [1000, 1001, 1002, 1003, 1005]);
        assert!(busy_pids(lease(None), &users, Busy::Ignore).is_empty());
    }

    #[test]
    fn an_owner_elsewhere_is_no_ancestor_here() {
        let users = [user(1004, None, &[80, 500, 1]), user(1000, Some(CGROUP), &[1])];
        let mut elsewhere = lease(Some(CGROUP));
        assert!(busy_pids(elsewhere.clone(), &users, Busy::Avoid).is_empty());
        elsewhere.owner.pid_namespace = 2;
        assert_eq!(busy_pids(elsewhere, &users, Busy::Avoid), [1004]);
    }

    #[test]
    fn servers_of_our_mps_daemons_are_not_busy() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { run: dir.path().to_owned(), ..Paths::default() };
        let store = Store::at(dir.path());
        let own = i32::try_from(std::process::id()).unwrap();
        let server = user(100_000_000, None, &[own, 1]);
        let busy_devices = || {
            let ctx = Ctx { paths: &paths, store: &store };
            let busy = BusyProcesses { users: std::slice::from_ref(&server), policy: Busy::Avoid };
            Swept::default().busy_devices(busy, ctx).on.len()
        };
        assert_eq!(busy_devices(), 2);
        let mut daemon = proc::describe(own, &paths).unwrap();
        let place = dir.path().join("mps/GPU-a");
        std::fs::create_dir_all(&place).unwrap();
        let write = |daemon: &Owner| {
            let text = serde_json::json!({ "process": daemon }).to_string();
            std::fs::write(place.join("journal.json"), text).unwrap();
        };
        write(&daemon);
        assert_eq!(busy_devices(), 0);
        // Another process that has its number.
        daemon.start_time += 1;
        write(&daemon);
        assert_eq!(busy_devices(), 2);
    }

    #[test]
    fn a_lease_without_a_container_covers_no_process() {
        let users = [user(1000, Some(CGROUP), &[500, 1])];
        let ended = Lease { state: LeaseState::Grace, ..lease(Some(CGROUP)) };
        assert_eq!(busy_pids(ended, &users, Busy::Avoid), [1000]);
        let handed = |cgroup| Lease {
            state: LeaseState::Pending,
            precreate: Some(PrecreateHolder { until_ms: 1, since: 1 }),
            ..lease(cgroup)
        };
        assert_eq!(
            busy_pids(handed(None), &users, Busy::Avoid),
            [1000],
            "a descendant of the podman"
        );
        assert!(busy_pids(handed(Some(CGROUP)), &users, Busy::Avoid).is_empty());
    }
}
