//! Going through the ledger: who lives, who is dead, and what is held.

use super::Ctx;
use super::liveness::{Holder, Judge, Unjudged};
use super::release;
use super::testimony::Testimony;
use crate::allocator::{Hold, HoldKind};
use crate::failure::Failure;
use crate::model::device::Node;
use crate::model::id::{LeaseId, LeaseKey, short_id};
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeaseState, LeasedDevice, Owner, Sharing};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text;
use crate::paths::Paths;
use crate::store::{Corrupt, Entry, Ledger, Witnesses};
use crate::sys::{PathError, cgroup};
use std::collections::BTreeMap;

/// The ledger after a sweep, or, after a [`survey`], as a sweep would leave it.
#[derive(Debug, Default)]
pub struct Swept {
    /// Leases of the living, of those who cannot be judged, and those in their grace.
    pub leases: Vec<Lease>,
    /// Whose holders cannot be judged from here, and why.
    pub unjudged: BTreeMap<LeaseId, Unjudged>,
    /// Unreadable records whose container may be alive.
    pub corrupt: Vec<Corrupt>,
    /// What else is known of their containers.
    pub witnesses: Witnesses,
    /// The dead, of whose leases nothing is left.
    pub dead: Vec<Lease>,
    /// Among those that were taken back, a grace of theirs left or not, were some with a place at an
    /// MPS daemon of ours.
    pub left_daemons: bool,
    /// The pid namespace that they were judged in.
    pub pid_namespace: Option<u64>,
}

/// Takes the leases of dead holders back, binds those whose container was started without telling
/// us, and moves the unreadable records of dead containers aside.
///
/// A container whose end is noticed here may have its devices back for a while, as if its
/// engine had released it: with a restart policy the engine is about to. Fails if the ledger
/// cannot be read or written.
pub(super) fn sweep(
    ledger: &Ledger<'_>,
    known: &Testimony,
    ctx: Ctx<'_>,
) -> Result<Swept, Failure> {
    judge(ledger.entries()?, ctx, &known.judge(ctx.paths), Some(ledger))
}

/// What a sweep would find now. Changes nothing and takes no lock, so the records need not be of
/// one moment: for display, not for a decision. Fails if the records cannot be read.
pub fn survey(ctx: Ctx<'_>) -> Result<Swept, Failure> {
    judge(ctx.store.entries()?, ctx, &Judge::look(ctx.paths), None)
}

/// Without a ledger, as it would be afterwards.
fn judge(
    entries: Vec<Entry>,
    ctx: Ctx<'_>,
    judge: &Judge<'_>,
    ledger: Option<&Ledger<'_>>,
) -> Result<Swept, Failure> {
    let (pid_namespace, witnesses) = (judge.here.pid_namespace, ctx.store.witnesses(&entries));
    let mut swept = Swept { pid_namespace, witnesses, ..Swept::default() };
    for entry in entries {
        match entry {
            Entry::Lease(lease) => match judge.holder(&lease) {
                Holder::Alive => swept.leases.push(*lease),
                Holder::Unjudged(why) => {
                    swept.unjudged.insert(lease.id.clone(), why);
                    swept.leases.push(*lease);
                }
                Holder::AliveAs(owner) => {
                    let bound = found_alive(owner, *lease, ctx);
                    ledger.map_or(Ok(()), |ledger| ledger.put(&bound))?;
                    swept.leases.push(bound);
                }
                Holder::Dead => {
                    let ours = lease.mps.as_ref().is_some_and(|seat| !seat.adopted);
                    swept.left_daemons |= ours;
                    // What is left of it may be a grace.
                    match take_back(&lease, ledger, ctx.paths)? {
                        Some(grace) => swept.leases.push(grace),
                        None => swept.dead.push(*lease),
                    }
                }
            },
            Entry::Corrupt(corrupt) => match judge.holder_of_corrupt(&corrupt, &swept.witnesses) {
                Holder::Dead => {
                    ledger.map_or(Ok(()), |ledger| ledger.set_aside(&corrupt.key))?;
                }
                _ => {
                    let is_later = corrupt.modified.is_some_and(|modified| modified > judge.now);
                    if let Some(ledger) = ledger.filter(|_| is_later) {
                        ledger.date_anew(&corrupt.key)?;
                    }
                    swept.corrupt.push(corrupt);
                }
            },
        }
    }
    Ok(swept)
}

fn take_back(
    lease: &Lease,
    ledger: Option<&Ledger<'_>>,
    paths: &Paths,
) -> Result<Option<Lease>, Failure> {
    let Some(ledger) = ledger else { return Ok(release::grace_of(lease, paths)) };
    if lease.state == LeaseState::Pending {
        ledger.remove_leftovers_of(lease);
    }
    release::let_go(ledger, lease.clone(), paths)
}

/// The lease of a container that was started without telling us. Its cgroup counts only if it is
/// the one that was foretold: which one the container's caller was in, only the caller knew.
fn found_alive(owner: Owner, lease: Lease, ctx: Ctx<'_>) -> Lease {
    let foretold = lease.cgroup.clone();
    let bound = bound_to(owner.clone(), lease.clone(), ctx);
    // Where it cannot be seen, the one that was foretold stands.
    let Ok(bound) = bound else { return bound_in(foretold, owner, lease) };
    let cgroup = bound.cgroup.clone().filter(|dir| Some(dir) == foretold.as_ref());
    Lease { cgroup, ..bound }
}

/// The lease, now bound to the container's init.
pub(super) fn bound_to(owner: Owner, lease: Lease, ctx: Ctx<'_>) -> Result<Lease, PathError> {
    let place = ctx.paths.proc.join(owner.pid.to_string()).join("cgroup");
    let own_cgroup = cgroup::own_cgroup_of_container(owner.pid, ctx.paths)
        .map_err(PathError::new("find the container's cgroup by", &place))?;
    Ok(bound_in(own_cgroup.map(|dir| dir.display().to_string()), owner, lease))
}

fn bound_in(cgroup: Option<String>, owner: Owner, lease: Lease) -> Lease {
    Lease { state: LeaseState::Bound, cgroup, owner, precreate: None, ..lease }
}

impl Swept {
    /// What is held, as the allocator wants it. The grace of `key` itself does not count: those
    /// are its own devices.
    pub fn holds(&self, key: Option<&LeaseKey>, node: &Node) -> Vec<Hold> {
        let mut holds = Vec::new();
        for lease in &self.leases {
            let own = key.is_some() && lease.key().ok().as_ref() == key;
            if own && lease.state == LeaseState::Grace {
                continue;
            }
            let holder = self.described(lease);
            let grace = lease.state == LeaseState::Grace;
            let kind = |leased: &LeasedDevice| kind(lease, leased);
            holds.extend(holds_of(&lease.devices, node, &holder, grace, kind));
        }
        holds.extend(self.holds_of_corrupt(node));
        holds
    }

    /// Records that cannot be read still hold their devices: those that the bundles' records name,
    /// or, where that is not certain either, every device of the node, which one hold of each is
    /// enough for. Giving one away that is in use is worse than refusing a start.
    fn holds_of_corrupt(&self, node: &Node) -> Vec<Hold> {
        let mut holds = Vec::new();
        let mut unknown: Vec<&Corrupt> = Vec::new();
        for corrupt in &self.corrupt {
            let devices = self.witnesses.devices_of(&corrupt.key).unwrap_or_default();
            let holder = describe_corrupt(corrupt, 0);
            let before = holds.len();
            holds.extend(holds_of(devices, node, &holder, false, |_| HoldKind::default()));
            if holds.len() == before {
                unknown.push(corrupt);
            }
        }
        let Some((first, others)) = unknown.split_first() else { return holds };
        let holder = describe_corrupt(first, others.len());
        holds.extend(node.devices.iter().map(|device| Hold {
            device: device.uuid.clone(),
            milli: MilliGpu::WHOLE,
            memory: Bytes(u64::MAX),
            sharing: Sharing::Exclusive,
            holder: holder.clone(),
            grace: false,
            kind: HoldKind::default(),
        }));
        holds
    }

    /// [`describe`], and that its holder cannot be judged, if so.
    fn described(&self, lease: &Lease) -> String {
        let lease_of = describe(lease);
        match self.unjudged.get(&lease.id) {
            Some(why) => format!("{lease_of} ({why})"),
            None => lease_of,
        }
    }
}

/// How a lease makes its share of a device true.
fn kind(lease: &Lease, leased: &LeasedDevice) -> HoldKind {
    HoldKind {
        // Of a mixed set the lease says the weakest.
        isolation: Some(match leased.cu_mask {
            Some(_) => Isolation::CuMask,
            None => lease.isolation.effective,
        }),
        uid: lease.mps.as_ref().map(|seat| seat.uid),
        pinned: lease.mps.as_ref().is_some_and(|seat| seat.pinned),
        cus: leased.cu_mask.clone(),
    }
}

/// What leased devices hold of the devices that the inventory has now. A device that is in the
/// inventory under another name is held all the same.
fn holds_of<'l>(
    leased: impl IntoIterator<Item = &'l LeasedDevice>,
    node: &Node,
    holder: &str,
    grace: bool,
    kind: impl Fn(&LeasedDevice) -> HoldKind,
) -> Vec<Hold> {
    let pairs = leased
        .into_iter()
        .flat_map(|leased| leased.among(&node.devices).map(move |device| (leased, device)));
    pairs
        .map(|(leased, device)| Hold {
            device: device.uuid.clone(),
            milli: leased.milli,
            memory: leased.memory_bytes.unwrap_or_default(),
            sharing: leased.sharing,
            holder: holder.to_owned(),
            grace,
            kind: kind(leased),
        })
        .collect()
}

/// `the unreadable lease record of container web (corrupt-lease)`, or of it and others.
fn describe_corrupt(corrupt: &Corrupt, others: usize) -> String {
    let container = short_id(corrupt.key.container_id.as_str());
    match others {
        0 => format!("the unreadable lease record of container {container} (corrupt-lease)"),
        _ => format!(
            "the unreadable lease records of container {container} and {others} more \
             (corrupt-lease)"
        ),
    }
}

/// A lease in a refusal: `lease l-5f1c09ab77de of container web (docker) since 2026-…`.
pub fn describe(lease: &Lease) -> String {
    format!(
        "lease {} of container {} ({}) since {}",
        lease.id,
        short_id(lease.container_id.as_str()),
        text::shown(&lease.engine),
        text::shown(&lease.created_at),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::busy::BusyProcesses;
    use crate::model::device::Vendor;
    use crate::model::fixtures::device;
    use crate::model::id::{ContainerId, Nonce};
    use crate::request::policy::Busy;
    use crate::store::tests::{lease, store};
    use crate::store::{BundleRecord, READS};
    use crate::sys::gpu_users::GpuUser;
    use std::fs;

    const CORRUPT: usize = 30;
    const BUNDLES: usize = 50;

    #[test]
    fn bundles_are_read_once_for_all_damaged_records() {
        let (dir, store, paths) = store();
        let key = |id: usize| {
            LeaseKey::new("/run/none", ContainerId::new(&format!("c{id}")).unwrap()).unwrap()
        };
        for id in 0..BUNDLES {
            let record = BundleRecord {
                nonce: Nonce::new(&"ab".repeat(16)).unwrap(),
                key: key(id),
                bundle: format!("/b/{id}"),
                devices: lease("web", "/run/none").devices,
                cgroup: None,
                pid_namespace: None,
                undo: serde_json::from_str("{}").unwrap(),
                earlier: None,
            };
            store.put_bundle(&record).unwrap();
        }
        for id in 0..CORRUPT {
            let file = format!("{}.json", key(id).file_stem());
            fs::write(dir.path().join("gpulease/leases").join(file), "{").unwrap();
        }
        let mut devices = ["GPU-1", "GPU-2"].map(|uuid| device(uuid, Vendor::Nvidia));
        devices[1].pci.bus = 2;
        let node = Node { devices: devices.to_vec(), ..Node::default() };
        let user = GpuUser {
            pid: 1,
            name: None,
            devices: [(node.devices[0].uuid.clone(), None)].into(),
            cgroup: Some("/x".into()),
            ancestors: vec![1],
        };
        let ctx = Ctx { paths: &paths, store: &store };
        let read = |what: &dyn Fn() -> Swept| {
            READS.set(0);
            let swept = what();
            assert_eq!(swept.corrupt.len(), CORRUPT);
            let holds = swept.holds(None, &node);
            let busy = BusyProcesses { users: std::slice::from_ref(&user), policy: Busy::Avoid };
            assert_eq!(swept.busy_devices(busy, ctx).on.len(), 1);
            assert!(holds.iter().all(|hold| hold.device.as_str() == "GPU-1"));
            assert_eq!((holds.len(), READS.get()), (CORRUPT, BUNDLES));
        };
        read(&|| {
            sweep(
                &store.lock(std::time::Duration::ZERO, &paths).unwrap(),
                &Testimony::default(),
                ctx,
            )
            .unwrap()
        });
        read(&|| survey(ctx).unwrap());

        // Where nothing is known of them, one hold of each device does for all.
        fs::remove_dir_all(dir.path().join("gpulease/bundles")).unwrap();
        let holds = survey(ctx).unwrap().holds(None, &node);
        let held: Vec<&str> = holds.iter().map(|hold| hold.device.as_str()).collect();
        assert_eq!(held, ["GPU-1", "GPU-2"]);
        assert!(holds[0].holder.contains(" of container c0 and 29 more"), "{}", holds[0].holder);
    }
}
