//! Going through the ledger: which holders live, which are dead, and what is held.

use super::Ctx;
use super::facts::KnownFacts;
use super::liveness::{Holder, Judge, Unjudged};
use super::release;
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
    /// The leases that are held: their holders live or cannot be judged, or they are in their grace.
    pub leases: Vec<Lease>,
    /// The leases whose holders cannot be judged from here, and why.
    pub unjudged: BTreeMap<LeaseId, Unjudged>,
    /// Unreadable records whose container may be alive.
    pub corrupt: Vec<Corrupt>,
    /// The records of their containers' bundles.
    pub witnesses: Witnesses,
    /// The leases of dead holders that have no grace left.
    pub dead: Vec<Lease>,
    /// A lease with a seat at an MPS daemon of gpulease was taken back, with or without a grace.
    pub left_daemons: bool,
    /// The pid namespace that the holders were judged in.
    pub pid_namespace: Option<u64>,
}

/// Takes back the leases of dead holders, binds those whose container was started without its hook,
/// and moves the unreadable records of dead containers aside.
///
/// A container whose end is found here gets a grace, as if its engine had released its lease: with a
/// restart policy, the engine is about to start it again. Fails if the ledger cannot be read or
/// written.
pub(super) fn sweep(
    ledger: &Ledger<'_>,
    known: &KnownFacts,
    ctx: Ctx<'_>,
) -> Result<Swept, Failure> {
    judge(ledger.entries()?, ctx, &known.judge(ctx.paths), Some(ledger))
}

/// The ledger as a sweep would leave it now. Changes nothing and takes no lock, so the records need
/// not be of one moment: for display, not for a decision. Fails if the records cannot be read.
pub fn survey(ctx: Ctx<'_>) -> Result<Swept, Failure> {
    judge(ctx.store.entries()?, ctx, &Judge::look(ctx.paths), None)
}

/// Without a ledger, nothing is changed.
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

/// The lease of a container that was started without its hook. Its cgroup counts only if it is the one
/// that was expected: otherwise it may be the cgroup of the container's caller.
fn found_alive(owner: Owner, lease: Lease, ctx: Ctx<'_>) -> Lease {
    let expected = lease.cgroup.clone();
    let bound = bound_to(owner.clone(), lease.clone(), ctx);
    // Where its cgroup cannot be read, the expected one stays.
    let Ok(bound) = bound else { return bound_in(expected, owner, lease) };
    let cgroup = bound.cgroup.clone().filter(|dir| Some(dir) == expected.as_ref());
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
    /// The holds, for the allocator. The grace of `key` itself does not count: its devices are that
    /// container's own.
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

    /// Records that cannot be read still hold their devices: those that the bundles' records name. If
    /// that is not certain, they hold every device of the node, by one hold each. To grant a device
    /// that is in use is worse than to refuse a start.
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

    /// [`describe`], and why its holder cannot be judged, if so.
    fn described(&self, lease: &Lease) -> String {
        let lease_of = describe(lease);
        match self.unjudged.get(&lease.id) {
            Some(why) => format!("{lease_of} ({why})"),
            None => lease_of,
        }
    }
}

/// How a lease's share of a device is enforced.
fn kind(lease: &Lease, leased: &LeasedDevice) -> HoldKind {
    HoldKind {
        // A lease of different devices has the weakest isolation of them.
        isolation: Some(match leased.cu_mask {
            Some(_) => Isolation::CuMask,
            None => lease.isolation.effective,
        }),
        uid: lease.mps.as_ref().map(|seat| seat.uid),
        pinned: lease.mps.as_ref().is_some_and(|seat| seat.pinned),
        cus: leased.cu_mask.clone(),
    }
}

/// The holds of leased devices on those that the inventory has now. A device that is in the inventory
/// under another name is held all the same.
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
                &KnownFacts::default(),
                ctx,
            )
            .unwrap()
        });
        read(&|| survey(ctx).unwrap());

        // Without the bundles' records, one hold of each device is enough for all.
        fs::remove_dir_all(dir.path().join("gpulease/bundles")).unwrap();
        let holds = survey(ctx).unwrap().holds(None, &node);
        let held: Vec<&str> = holds.iter().map(|hold| hold.device.as_str()).collect();
        assert_eq!(held, ["GPU-1", "GPU-2"]);
        assert!(holds[0].holder.contains(" of container c0 and 29 more"), "{}", holds[0].holder);
    }
}
