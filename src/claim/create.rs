//! From a request to a recorded lease.

use super::busy::BusyProcesses;
use super::facts::{KnownFacts, always, with_ledger};
use super::liveness::{Holder, Unjudged};
use super::sweep::{Swept, sweep};
use super::{CREATE_DEADLINE, Ctx, error, place};
use crate::allocator::{self, Grant, Requester, Snapshot};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::device::Node;
use crate::model::facilities::{Facilities, MpsDaemons};
use crate::model::id::{DeviceId, LeaseId, LeaseKey, Nonce};
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeaseState, LeasedDevice, MpsSeat, Owner, RECORD_VERSION};
use crate::model::order;
use crate::request::Request;
use crate::store::{Entry, Ledger};
use crate::sys::{clock, failpoint, proc, random};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// A container that is to have a lease, as the record will name it.
#[derive(Debug, Clone)]
pub struct NewHolder<'a> {
    pub key: LeaseKey,
    /// The engine, where it is known.
    pub engine: &'a str,
    /// The low-level runtime that will run the container.
    pub runtime: &'a str,
    pub bundle: &'a str,
    /// The file that its pid will be written to.
    pub pid_file: Option<String>,
    /// The cgroup that it will get, where that is known before its start.
    pub cgroup: Option<String>,
}

/// The variables of a lease's container, by name: `None` takes one out.
pub type Environment = BTreeMap<String, Option<String>>;

/// A request for a lease.
pub struct LeaseRequest<'a> {
    pub holder: NewHolder<'a>,
    /// The configuration file that the grant goes by.
    pub config: &'a Path,
    pub request: &'a Request,
    pub node: &'a Node,
    pub requester: Requester,
    pub facilities: Facilities,
    /// How long its devices wait for it after release.
    pub release_grace: Duration,
    /// The processes that compute on the node's GPUs.
    pub busy: BusyProcesses<'a>,
    /// The starts whose hooks are in the bundle. A lease that Podman's `precreate` hook recorded for
    /// one of them is taken over.
    pub adopt: &'a [Nonce],
    /// Composes the variables of a lease that is about to be recorded.
    pub env: &'a dyn Fn(&Lease) -> Environment,
}

/// The result of a claim.
#[derive(Debug)]
pub struct Created {
    pub lease: Result<Lease, Failure>,
    /// A lease with a seat at an MPS daemon of gpulease was taken back, so that a daemon may be left
    /// without leases. This can be so whether the claim succeeded or not.
    pub left_daemons: bool,
}

/// Sweeps, allocates and records a pending lease whose owner is this process. If nothing can be
/// granted or recorded, nothing is left behind.
pub fn create(ctx: Ctx<'_>, asked: &LeaseRequest<'_>) -> Created {
    let left_daemons = Cell::new(false);
    let lease = create_in_place(ctx, asked, &left_daemons);
    Created { lease, left_daemons: left_daemons.get() }
}

fn create_in_place(
    ctx: Ctx<'_>,
    asked: &LeaseRequest<'_>,
    left_daemons: &Cell<bool>,
) -> Result<Lease, Failure> {
    ctx.store.prepare(ctx.paths)?;
    for _ in 0..MOVES_MAX {
        if let Some(lease) = create_here(ctx, asked, left_daemons)? {
            return Ok(lease);
        }
        place::move_here(ctx, asked.config)?;
    }
    let config = asked.config.display();
    Err(error::stale(format!("`run_dir` in `{config}` is being changed")))
}

/// How often the lease directory may turn out not to be the one of the last grant.
const MOVES_MAX: u32 = 3;

/// The lease; `None` if this configuration file last granted in another lease directory, or never.
fn create_here(
    ctx: Ctx<'_>,
    asked: &LeaseRequest<'_>,
    left_daemons: &Cell<bool>,
) -> Result<Option<Lease>, Failure> {
    with_ledger(ctx, CREATE_DEADLINE, always, |ledger, known| {
        failpoint::hit("create.locked");
        if !place::is_here(ctx, asked.config)? {
            return Ok(None);
        }
        let mut lease = adopt(&ledger, known, ctx, asked)?;
        if lease.is_none() {
            let former = ledger.entry(&asked.holder.key)?;
            let swept = sweep(&ledger, known, ctx)?;
            left_daemons.set(left_daemons.get() || swept.left_daemons);
            let granted = grant(&swept, former, this_process(ctx)?, ctx, asked)?.lease;
            ledger.put(&granted)?;
            lease = Some(granted);
        }
        failpoint::hit("create.recorded");
        Ok(lease)
    })
}

/// A grant, and the lease that records it.
pub struct Foreseen {
    pub grant: Grant,
    pub lease: Lease,
}

/// The grant that [`create`] would make now, by a look without the lock. Changes nothing.
#[cfg(feature = "cli")]
pub fn foresee(ctx: Ctx<'_>, asked: &LeaseRequest<'_>) -> Result<Foreseen, Failure> {
    place::check(ctx, asked.config)?;
    let former = ctx.store.entry(&asked.holder.key)?;
    grant(&super::sweep::survey(ctx)?, former, this_process(ctx)?, ctx, asked)
}

/// The grant that [`create`] would make if nothing were leased. The lease belongs to no process: the
/// node may be another one than this host.
#[cfg(feature = "cli")]
pub fn foresee_idle(ctx: Ctx<'_>, asked: &LeaseRequest<'_>) -> Result<Foreseen, Failure> {
    let owner = Owner { pid: 0, start_time: 0, boot_id: String::new(), pid_namespace: 0 };
    grant(&Swept::default(), None, owner, ctx, asked)
}

/// Decides by the leases that are held. `former` is the container's own record.
fn grant(
    swept: &Swept,
    former: Option<Entry>,
    owner: Owner,
    ctx: Ctx<'_>,
    asked: &LeaseRequest<'_>,
) -> Result<Foreseen, Failure> {
    let key = &asked.holder.key;
    refuse_if_alive(swept, key)?;
    let snapshot = Snapshot {
        node: asked.node,
        holds: swept.holds(Some(key), asked.node),
        prefer: devices_of(former),
        cordoned: BTreeSet::new(),
        busy: swept.busy_devices(asked.busy, ctx),
        facilities: asked.facilities.clone(),
        requester: asked.requester,
    };
    let grant = allocator::grant(&snapshot, asked.request).map_err(Failure::from)?;
    let lease = record(owner, asked, &grant)?;
    Ok(Foreseen { grant, lease })
}

/// Takes over the lease that Podman's `precreate` hook recorded for this very start, with the same
/// devices, under this container's key and for this process. The nonce shows that it is of this
/// start, because it was put into no other bundle. Its podman may be gone: this process lives.
fn adopt(
    ledger: &Ledger<'_>,
    known: &KnownFacts,
    ctx: Ctx<'_>,
    asked: &LeaseRequest<'_>,
) -> Result<Option<Lease>, Failure> {
    let LeaseRequest { holder, node, .. } = asked;
    if asked.adopt.is_empty() {
        return Ok(None);
    }
    let owner = this_process(ctx)?;
    let granted = ledger.entries()?.into_iter().find_map(|entry| match entry {
        Entry::Lease(lease) if is_for(&lease, asked, &owner) => Some(*lease),
        _ => None,
    });
    let Some(granted) = granted else { return Ok(None) };
    if granted.devices.iter().any(|device| node.device(&device.uuid).is_none()) {
        return Err(error::stale(format!(
            "lease {} has a device that the inventory does not have any more",
            granted.id
        )));
    }
    let former = granted.key().ok().filter(|key| *key != holder.key);
    let lease = Lease {
        runtime_root: holder.key.runtime_root.clone(),
        engine: holder.engine.to_owned(),
        runtime: holder.runtime.to_owned(),
        bundle: holder.bundle.to_owned(),
        pid_file: holder.pid_file.clone(),
        cgroup: holder.cgroup.clone(),
        owner,
        precreate: None,
        ..granted
    };
    if former.is_some() {
        // The hook could not know the runtime's root. Another lease under the key stays.
        refuse_if_in_the_way(ledger.entry(&holder.key)?, known, ctx)?;
    }
    ledger.put(&lease)?;
    if let Some(former) = former {
        ledger.remove(&former)?;
    }
    Ok(Some(lease))
}

fn refuse_if_in_the_way(
    entry: Option<Entry>,
    known: &KnownFacts,
    ctx: Ctx<'_>,
) -> Result<(), Failure> {
    match entry {
        None => Ok(()),
        Some(Entry::Lease(other)) => {
            let holder = known.judge(ctx.paths).holder(&other);
            let is_free = other.state == LeaseState::Grace || holder == Holder::Dead;
            if is_free { Ok(()) } else { Err(already_leased(&other, holder.unjudged())) }
        }
        Some(Entry::Corrupt(corrupt)) => Err(error::corrupt(&corrupt)),
    }
}

fn already_leased(lease: &Lease, unjudged: Option<&Unjudged>) -> Failure {
    let alive = || format!("its process {} or another in its cgroup is alive", lease.owner.pid);
    let state = unjudged.map_or_else(alive, |why| format!("its holder {why}"));
    let message =
        format!("container {} already holds lease {}, and {state}", lease.container_id, lease.id);
    Failure::new(Code::AlreadyLeased, message).hint("delete the container first")
}

fn is_for(lease: &Lease, asked: &LeaseRequest<'_>, owner: &Owner) -> bool {
    lease.precreate.is_some()
        && lease.state == LeaseState::Pending
        && lease.owner.boot_id == owner.boot_id
        && lease.container_id == asked.holder.key.container_id
        && asked.adopt.contains(&lease.nonce)
}

fn this_process(ctx: Ctx<'_>) -> Result<Owner, Failure> {
    let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    Ok(proc::describe(pid, ctx.paths)?)
}

/// The devices of the container's last lease, which it may have again.
fn devices_of(former: Option<Entry>) -> BTreeSet<DeviceId> {
    match former {
        Some(Entry::Lease(lease)) => order::set(lease.devices.into_iter().map(|d| d.uuid)),
        Some(Entry::Corrupt(_)) | None => BTreeSet::new(),
    }
}

/// An engine does not create a container that runs. If it seems to, the lease stays.
fn refuse_if_alive(swept: &Swept, key: &LeaseKey) -> Result<(), Failure> {
    if let Some(corrupt) = swept.corrupt.iter().find(|corrupt| corrupt.key == *key) {
        return Err(error::corrupt(corrupt));
    }
    let own = swept.leases.iter().find(|lease| lease.key().ok().as_ref() == Some(key));
    match own {
        Some(lease) if lease.state != LeaseState::Grace => {
            Err(already_leased(lease, swept.unjudged.get(&lease.id)))
        }
        _ => Ok(()),
    }
}

fn record(owner: Owner, asked: &LeaseRequest<'_>, grant: &Grant) -> Result<Lease, Failure> {
    let LeaseRequest { holder, request, node, .. } = asked;
    let nonce = random::nonce().map_err(|error| {
        let message = format!("the kernel gives no random numbers: {error}");
        Failure::new(Code::StateUnavailable, message)
    })?;
    let id = nonce.lease_id();
    let mut lease = Lease {
        v: RECORD_VERSION,
        mps: seat(grant, asked, &id),
        id,
        nonce,
        state: LeaseState::Pending,
        container_id: holder.key.container_id.clone(),
        runtime_root: holder.key.runtime_root.clone(),
        engine: holder.engine.to_owned(),
        runtime: holder.runtime.to_owned(),
        bundle: holder.bundle.to_owned(),
        pid_file: holder.pid_file.clone(),
        created_at: clock::now_rfc3339(),
        owner,
        precreate: None,
        cgroup: holder.cgroup.clone(),
        devices: grant.devices.iter().filter_map(|granted| leased(granted, node)).collect(),
        isolation: grant.isolation.clone(),
        env: Environment::new(),
        priority: request.priority,
        workload: request.workload.clone(),
        release_grace_ms: clock::millis(asked.release_grace),
        grace_until_ms: None,
    };
    lease.env = (asked.env)(&lease);
    Ok(lease)
}

/// The seat at the MPS daemon that the lease will be attached to. The allocator plans with MPS only
/// where the user is known.
fn seat(grant: &Grant, asked: &LeaseRequest<'_>, id: &LeaseId) -> Option<MpsSeat> {
    if grant.isolation.effective != Isolation::Mps {
        return None;
    }
    let daemon = match asked.facilities.mps.as_ref().ok()?.daemons {
        MpsDaemons::PerDevice => grant.devices.first()?.uuid.to_string(),
        MpsDaemons::PerLease => id.to_string(),
    };
    let (uid, pinned) = (asked.requester.uid?, grant.pinned);
    Some(MpsSeat { daemon, uid, pinned, pipe: None, shm: None, adopted: false, process: None })
}

fn leased(granted: &allocator::GrantedDevice, node: &Node) -> Option<LeasedDevice> {
    let device = node.device(&granted.uuid)?;
    Some(LeasedDevice {
        uuid: device.uuid.clone(),
        index: device.index,
        vendor: device.vendor,
        model: device.model.clone(),
        pci: device.pci,
        nodes: device.nodes.iter().map(|node| node.path.clone()).collect(),
        milli: granted.milli,
        memory_bytes: granted.memory,
        sharing: granted.sharing,
        simulated: device.simulated,
        mig: device.instance().cloned(),
        cu_mask: granted.cu_mask.clone(),
        dmem_region: granted.dmem_region.clone(),
    })
}
