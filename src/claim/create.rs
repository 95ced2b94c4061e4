//! From request to recorded lease.

use super::busy::Crowd;
use super::liveness::{Holder, Unjudged};
use super::sweep::{Swept, sweep};
use super::testimony::{Testimony, with_ledger};
use super::{CREATE_DEADLINE, ClaimError, Ground, place};
use crate::allocator::{self, Asker, Grant, Snapshot};
use crate::injection;
use crate::model::device::{Device, Node, Vendor};
use crate::model::facilities::{Facilities, MpsDaemons};
use crate::model::id::{DeviceId, LeaseId, LeaseKey, Nonce};
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeaseState, LeasedDevice, MpsSeat, Owner, RECORD_VERSION};
use crate::model::order;
use crate::request::{Request, Source};
use crate::store::{Entry, Ledger};
use crate::sys::{clock, failpoint, proc, random};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub struct Claimant<'a> {
    pub key: LeaseKey,
    /// The configuration file that rules the grant.
    pub config: &'a Path,
    /// The engine, as far as can be told.
    pub engine: &'a str,
    /// The low-level runtime that will run the container.
    pub runtime: &'a str,
    pub bundle: &'a str,
    /// Where its pid will be written.
    pub pid_file: Option<String>,
    /// The cgroup it will get, where that can be foretold.
    pub expected_cgroup: Option<String>,
    /// The container's environment, to see what has to be replaced.
    pub env: &'a [(String, String)],
    /// The starts whose hooks the bundle carries: a grant that Podman's `precreate` hook made for
    /// one of them is taken over.
    pub adopt: &'a [Nonce],
    /// The vendor, if its own runtime gives what is granted of its devices.
    pub chained: Option<Vendor>,
    /// Whether nothing but what it is given lets it at a device.
    pub confined: bool,
    /// The host's id of the user that its processes are, where that can be told.
    pub uid: Option<u32>,
    /// What shares can be made true with.
    pub facilities: Facilities,
    /// How long its devices wait for it after release.
    pub release_grace: Duration,
    /// Who computes on the node's GPUs.
    pub crowd: Crowd<'a>,
    /// Is set if the sweep took a lease back that had a place at an MPS daemon of ours, which nobody
    /// may need any more: whether the claim succeeds or not.
    pub idle_daemons: &'a Cell<bool>,
}

/// Sweeps, allocates and records a pending lease whose owner is this process. Fails if nothing can
/// be granted or recorded; nothing is left behind then.
pub fn create(
    ground: Ground<'_>,
    node: &Node,
    request: &Request,
    claimant: &Claimant<'_>,
) -> Result<Lease, ClaimError> {
    ground.store.prepare(ground.paths)?;
    for _ in 0..PLACES_MAX {
        if let Some(lease) = create_here(ground, node, request, claimant)? {
            return Ok(lease);
        }
        place::move_here(ground, claimant.config)?;
    }
    let config = claimant.config.display();
    Err(ClaimError::Stale(format!("`run_dir` in `{config}` is being changed")))
}

/// How often the lease directory may turn out not to be the one of the last grant.
const PLACES_MAX: u32 = 3;

/// `None` if this configuration file last granted in another lease directory, or never.
fn create_here(
    ground: Ground<'_>,
    node: &Node,
    request: &Request,
    claimant: &Claimant<'_>,
) -> Result<Option<Lease>, ClaimError> {
    with_ledger(
        ground,
        CREATE_DEADLINE,
        |_| true,
        |ledger, known| {
            failpoint::hit("create.locked");
            if !place::is_here(ground, claimant.config)? {
                return Ok(None);
            }
            let lease = create_locked(&ledger, known, ground, node, request, claimant)?;
            failpoint::hit("create.recorded");
            Ok(Some(lease))
        },
    )
}

fn create_locked(
    ledger: &Ledger<'_>,
    known: &Testimony,
    ground: Ground<'_>,
    node: &Node,
    request: &Request,
    claimant: &Claimant<'_>,
) -> Result<Lease, ClaimError> {
    if let Some(lease) = adopt(ledger, known, ground, node, claimant)? {
        return Ok(lease);
    }
    let prefer = former_devices(ledger, &claimant.key)?;
    let swept = sweep(ledger, known, ground)?;
    claimant.idle_daemons.set(claimant.idle_daemons.get() || swept.left_daemons);
    refuse_if_alive(&swept, &claimant.key)?;
    let snapshot = Snapshot {
        node,
        holds: swept.holds(Some(&claimant.key), node),
        prefer,
        cordoned: BTreeSet::new(),
        outsiders: swept.outsiders(claimant.crowd, ground),
        facilities: claimant.facilities.clone(),
        asker: Asker { uid: claimant.uid, confined: claimant.confined },
    };
    let grant = allocator::allocate(&snapshot, request)
        .map_err(|refusal| ClaimError::Refused(Box::new(refusal)))?;
    let lease = record(ground, node, request, claimant, &grant)?;
    ledger.put(&lease)?;
    Ok(lease)
}

/// Takes over what `precreate` was granted for this very start: as it was granted, under the key
/// and in the name of this process. That the container is the one that was meant is known by the
/// nonce, which was in no other bundle. Whether its podman still lives does not matter: we do.
fn adopt(
    ledger: &Ledger<'_>,
    known: &Testimony,
    ground: Ground<'_>,
    node: &Node,
    claimant: &Claimant<'_>,
) -> Result<Option<Lease>, ClaimError> {
    if claimant.adopt.is_empty() {
        return Ok(None);
    }
    let owner = this_process(ground)?;
    let granted = ledger.entries()?.into_iter().find_map(|entry| match entry {
        Entry::Lease(lease) if is_for(&lease, claimant, &owner) => Some(*lease),
        _ => None,
    });
    let Some(granted) = granted else { return Ok(None) };
    if granted.devices.iter().any(|device| node.device(&device.uuid).is_none()) {
        return Err(ClaimError::Stale(format!(
            "lease {} has a device that the inventory does not have any more",
            granted.id
        )));
    }
    let former = granted.key().ok().filter(|key| *key != claimant.key);
    let lease = Lease {
        runtime_root: claimant.key.runtime_root.clone(),
        engine: claimant.engine.to_owned(),
        runtime: claimant.runtime.to_owned(),
        bundle: claimant.bundle.to_owned(),
        pid_file: claimant.pid_file.clone(),
        cgroup: claimant.expected_cgroup.clone(),
        owner,
        precreate: None,
        ..granted
    };
    if former.is_some() {
        // Another root than the hook could know of. What somebody has there is not overwritten.
        refuse_if_in_the_way(ledger.entry(&claimant.key)?, known, ground)?;
    }
    ledger.put(&lease)?;
    if let Some(former) = former {
        ledger.remove(&former)?;
    }
    Ok(Some(lease))
}

fn refuse_if_in_the_way(
    entry: Option<Entry>,
    known: &Testimony,
    ground: Ground<'_>,
) -> Result<(), ClaimError> {
    match entry {
        None => Ok(()),
        Some(Entry::Lease(other)) => {
            let holder = known.holder(&other, ground.paths);
            let is_free = other.state == LeaseState::Grace || holder == Holder::Dead;
            if is_free { Ok(()) } else { Err(already_leased(&other, holder.unjudged())) }
        }
        Some(Entry::Corrupt(corrupt)) => Err(ClaimError::corrupt(&corrupt)),
    }
}

fn already_leased(lease: &Lease, unjudged: Option<&Unjudged>) -> ClaimError {
    let alive = || format!("its process {} or another in its cgroup is alive", lease.owner.pid);
    ClaimError::AlreadyLeased {
        container: lease.container_id.to_string(),
        lease: lease.id.to_string(),
        state: unjudged.map_or_else(alive, |why| format!("its holder {why}")),
    }
}

fn is_for(lease: &Lease, claimant: &Claimant<'_>, owner: &Owner) -> bool {
    lease.precreate.is_some()
        && lease.state == LeaseState::Pending
        && lease.owner.boot_id == owner.boot_id
        && lease.container_id == claimant.key.container_id
        && claimant.adopt.contains(&lease.nonce)
}

fn this_process(ground: Ground<'_>) -> Result<Owner, ClaimError> {
    let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    Ok(proc::describe(pid, ground.paths)?)
}

/// The devices that this container held a moment ago, which it may have back.
fn former_devices(ledger: &Ledger<'_>, key: &LeaseKey) -> Result<BTreeSet<DeviceId>, ClaimError> {
    Ok(match ledger.entry(key)? {
        Some(Entry::Lease(lease)) => order::set(lease.devices.into_iter().map(|d| d.uuid)),
        Some(Entry::Corrupt(_)) | None => BTreeSet::new(),
    })
}

/// Engines do not create a container that runs. If one seems to, its lease is not touched.
fn refuse_if_alive(swept: &Swept, key: &LeaseKey) -> Result<(), ClaimError> {
    if let Some(corrupt) = swept.corrupt.iter().find(|corrupt| corrupt.key == *key) {
        return Err(ClaimError::corrupt(corrupt));
    }
    let own = swept.leases.iter().find(|lease| lease.key().ok().as_ref() == Some(key));
    match own {
        Some(lease) if lease.state != LeaseState::Grace => {
            Err(already_leased(lease, swept.unjudged.get(&lease.id)))
        }
        _ => Ok(()),
    }
}

fn record(
    ground: Ground<'_>,
    node: &Node,
    request: &Request,
    claimant: &Claimant<'_>,
    grant: &Grant,
) -> Result<Lease, ClaimError> {
    let nonce = random::nonce().map_err(ClaimError::Random)?;
    let id = nonce.lease_id();
    let devices: Vec<&Device> =
        grant.devices.iter().filter_map(|granted| node.device(&granted.uuid)).collect();
    // Devices that the engine injected are leased as they stand: so is their environment.
    let env = if request.source == Source::Injected {
        BTreeMap::new()
    } else {
        env(request, claimant, &devices)
    };
    let mut lease = Lease {
        v: RECORD_VERSION,
        mps: seat(grant, claimant, &id),
        id,
        nonce,
        state: LeaseState::Pending,
        container_id: claimant.key.container_id.clone(),
        runtime_root: claimant.key.runtime_root.clone(),
        engine: claimant.engine.to_owned(),
        runtime: claimant.runtime.to_owned(),
        bundle: claimant.bundle.to_owned(),
        pid_file: claimant.pid_file.clone(),
        created_at: clock::now_rfc3339(),
        owner: this_process(ground)?,
        precreate: None,
        cgroup: claimant.expected_cgroup.clone(),
        devices: grant.devices.iter().filter_map(|granted| leased(granted, node)).collect(),
        isolation: grant.isolation.clone(),
        env,
        priority: request.priority,
        workload: request.workload.clone(),
        release_grace_ms: clock::millis(claimant.release_grace),
        grace_until_ms: None,
    };
    if request.source != Source::Injected {
        let limits = injection::limits(&lease, &devices, claimant.env);
        lease.env.extend(limits);
    }
    Ok(lease)
}

/// The place at the MPS daemon that the lease will be attached to. The allocator plans with MPS only
/// where the user is known.
fn seat(grant: &Grant, claimant: &Claimant<'_>, id: &LeaseId) -> Option<MpsSeat> {
    if grant.isolation.effective != Isolation::Mps {
        return None;
    }
    let daemon = match claimant.facilities.mps.as_ref().ok()?.daemons {
        MpsDaemons::PerDevice => grant.devices.first()?.uuid.to_string(),
        MpsDaemons::PerLease => id.to_string(),
    };
    let (uid, pinned) = (claimant.uid?, grant.pinned);
    Some(MpsSeat { daemon, uid, pinned, pipe: None, shm: None, adopted: false, process: None })
}

/// Where a vendor's runtime gives all that is granted, it goes by variables of its own.
fn env(
    request: &Request,
    claimant: &Claimant<'_>,
    devices: &[&Device],
) -> BTreeMap<String, Option<String>> {
    let capabilities = request.capabilities.as_deref();
    match claimant.chained {
        Some(vendor) if devices.iter().all(|device| device.vendor == vendor) => {
            injection::chained(vendor, devices, capabilities, claimant.env)
        }
        _ => injection::visibility(devices, capabilities, claimant.env),
    }
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
