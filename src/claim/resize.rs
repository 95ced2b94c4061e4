//! Giving a running container more or less of its devices.
//!
//! While limits change, the ledger has the larger of both amounts. Whenever this process ends, the
//! limits allow no more than is recorded, and no other lease is granted what is not given back yet.

use super::facts::with_ledger;
use super::liveness::{self, Holder};
use super::release::{find, still};
use super::sweep::{Swept, sweep};
use super::{CREATE_DEADLINE, Ctx, error};
use crate::allocator::{self, BusyDevices, Requester, Snapshot};
use crate::failure::Failure;
use crate::injection;
use crate::model::code::Code;
use crate::model::device::{Device, Node};
use crate::model::facilities::Facilities;
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeaseState, LeasedDevice, MpsSeat, Sharing};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::store::{Entry, Ledger};
use crate::sys::failpoint;
use crate::sys::lock::Lock;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// New amounts of each of a lease's devices. `None` is no change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub milli: Option<MilliGpu>,
    pub memory: Option<Bytes>,
}

/// Sets the limits of running containers. An error is a phrase without a full stop.
pub trait LimitSetter {
    /// Takes the lock of the daemon of this seat, so that no other process starts, limits or ends it
    /// meanwhile. Fails if it is not free in time.
    fn lock(&self, seat: &MpsSeat) -> Result<Lock, String>;

    /// Ends daemons without leases, some time later.
    fn reap_daemons(&self);

    /// How much of a region of device memory a cgroup's processes use. Fails if that cannot be read.
    fn in_use(&self, cgroup: &Path, region: &str) -> Result<Bytes, String>;

    /// Changes the kernel's limit of a region. Fails if it is not `from`, or does not become `to`.
    fn dmem(&self, cgroup: &Path, region: &str, from: Bytes, to: Bytes) -> Result<(), String>;

    /// Changes an MPS daemon's limits for clients that come from now on. Fails if the daemon does not
    /// take them.
    fn mps(&self, seat: &MpsSeat, to: &LeasedDevice) -> Result<(), String>;
}

/// A lease with new amounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resized {
    pub before: Lease,
    pub lease: Lease,
    /// The kernel's limit of device memory was changed, which holds at once.
    pub dmem: bool,
    /// The daemon's limits were changed, which hold for processes that start from now on.
    pub mps: bool,
}

/// Changes the amounts of the lease with this id or of this container, in the ledger and for the
/// container, or leaves both as they were. A unique beginning of an id is enough. The ledger is not
/// locked while a daemon is asked. Fails if there is no such lease, its limits cannot be changed while
/// it runs, other leases hold the amount, its processes use more, a limit cannot be set, or the lease
/// is released meanwhile.
pub fn resize(
    ctx: Ctx<'_>,
    node: &Node,
    name: &str,
    amounts: Amounts,
    setter: &dyn LimitSetter,
) -> Result<Resized, Failure> {
    ctx.store.prepare(ctx.paths)?;
    // A daemon's lock is taken before the ledger's, never after it. So the ledger is read once to
    // know the daemon, and again with both locks.
    let (meant, _, ledger) = look(ctx, name, setter)?;
    drop(ledger);
    let _daemon = match own_seat(&meant) {
        Some(seat) => Some(setter.lock(seat).map_err(error::limit)?),
        None => None,
    };
    let (before, mut swept, ledger) = look(ctx, meant.id.as_str(), setter)?;
    if before.nonce != meant.nonce {
        return Err(error::taken_back(&meant));
    }
    let limits = changeable(&before, amounts, ctx)?;
    let lease = with(&before, node, |held| LeasedDevice {
        milli: amounts.milli.unwrap_or(held.milli),
        memory_bytes: amounts.memory.or(held.memory_bytes),
        ..held
    });
    swept.leases.retain(|other| other.nonce != before.nonce);
    let snapshot = Snapshot {
        node,
        holds: swept.holds(None, node),
        prefer: BTreeSet::new(),
        cordoned: BTreeSet::new(),
        busy: BusyDevices::default(),
        facilities: Facilities::none("a share stays what it is"),
        requester: Requester::default(),
    };
    for leased in &lease.devices {
        let memory = leased.memory_bytes.unwrap_or_default();
        let device = leased.among(&node.devices).next().map_or(&leased.uuid, |now| &now.uuid);
        allocator::resized(&snapshot, device, leased.milli, memory).map_err(Failure::from)?;
    }
    let change = Change { ctx, node, before: &before, after: &lease, limits, setter };
    change.refuse_what_is_used()?;
    change.make(ledger)?;
    let (dmem, mps) = (change.limits.cgroup.is_some(), change.limits.seat.is_some());
    Ok(Resized { before, lease, dmem, mps })
}

/// The lease of this name, the ledger after a sweep, and its lock.
fn look<'a>(
    ctx: Ctx<'a>,
    name: &str,
    setter: &dyn LimitSetter,
) -> Result<(Lease, Swept, Ledger<'a>), Failure> {
    // All questions are answered before the round whose lock is kept.
    let never = |_: &_| false;
    with_ledger(ctx, CREATE_DEADLINE, never, |ledger, known| {
        let swept = sweep(&ledger, known, ctx)?;
        if swept.left_daemons {
            setter.reap_daemons();
        }
        match find(ledger.entries()?, name)? {
            Entry::Lease(lease) => Ok((*lease, swept, ledger)),
            Entry::Corrupt(corrupt) => Err(error::corrupt(&corrupt)),
        }
    })
}

/// Its seat at a daemon that serves it alone.
fn own_seat(lease: &Lease) -> Option<&MpsSeat> {
    let own = |seat: &&MpsSeat| seat.daemon == lease.id.as_str() && !seat.adopted;
    lease.mps.as_ref().filter(own).filter(|seat| seat.pipe.is_some())
}

/// The limits that can be changed while a container runs.
struct Changeable {
    /// The cgroup whose `dmem.max` limits the memory.
    cgroup: Option<PathBuf>,
    /// The daemon that serves this lease alone.
    seat: Option<MpsSeat>,
}

fn keeps_its_size(lease: &Lease, why: &str, hint: &str) -> Failure {
    let message = format!("lease {} keeps its size: {why}", lease.id);
    Failure::new(Code::ResizeUnsupported, message).hint(hint)
}

/// The limits that the amounts are changed by. Fails with the reason if there are none.
fn changeable(lease: &Lease, amounts: Amounts, ctx: Ctx<'_>) -> Result<Changeable, Failure> {
    const ANEW: &str = "stop the container and start it anew with other amounts";
    let no = |why: &str| Err(keeps_its_size(lease, why, ANEW));
    match liveness::holder(lease, ctx.paths) {
        Holder::Unjudged(why) => return no(&format!("its holder {why}")),
        Holder::Alive | Holder::AliveAs(_) if lease.state == LeaseState::Bound => {}
        _ => return no("its container does not run"),
    }
    if lease.devices.iter().any(|held| held.sharing == Sharing::Exclusive) {
        return no("it holds whole devices, not shares");
    }
    let has_dmem = lease.devices.iter().all(|held| held.dmem_region.is_some());
    let cgroup = lease.cgroup.as_ref().filter(|_| has_dmem && amounts.memory.is_some());
    let limits = Changeable { cgroup: cgroup.map(PathBuf::from), seat: own_seat(lease).cloned() };
    if limits.seat.is_some() {
        return Ok(limits);
    }
    if amounts.milli.is_some() {
        return no(match lease.isolation.effective {
            Isolation::Mps if lease.mps.as_ref().is_some_and(|seat| seat.adopted) => {
                "its MPS daemon is not gpulease's"
            }
            Isolation::Mps => {
                "its MPS daemon serves all leases of the device, and its processes were given their \
                 share of compute when they started"
            }
            Isolation::CuMask => "its processes were given their compute units when they started",
            _ => "nothing enforces a share of compute",
        });
    }
    match (&limits.cgroup, lease.isolation.effective) {
        (Some(_), _) => Ok(limits),
        (None, _) if has_dmem => no("its container has no cgroup of its own"),
        (None, Isolation::Mps) => no(
            "its processes were given their limit of memory when they started, and the kernel does \
                not limit it",
        ),
        (None, _) => no("nothing enforces a share of memory: the kernel does not limit it"),
    }
}

/// The lease with other amounts, and with the variables that `exec` gives to new processes.
fn with(lease: &Lease, node: &Node, amounts: impl Fn(LeasedDevice) -> LeasedDevice) -> Lease {
    let devices: Vec<LeasedDevice> = lease.devices.iter().cloned().map(amounts).collect();
    let mut lease = Lease { devices, ..lease.clone() };
    let devices: Vec<&Device> =
        lease.devices.iter().filter_map(|held| node.device(&held.uuid)).collect();
    for (name, value) in injection::limits(&lease, &devices, &[]) {
        // A variable that was not set stays so, as for devices that the engine gave.
        if let (Some(value), Some(Some(told))) = (value, lease.env.get_mut(&name)) {
            *told = value;
        }
    }
    lease
}

/// A change that is being made.
struct Change<'a> {
    ctx: Ctx<'a>,
    node: &'a Node,
    before: &'a Lease,
    after: &'a Lease,
    limits: Changeable,
    setter: &'a dyn LimitSetter,
}

impl Change<'_> {
    /// Refuses less memory than the container's processes use.
    fn refuse_what_is_used(&self) -> Result<(), Failure> {
        let Some(cgroup) = &self.limits.cgroup else { return Ok(()) };
        for held in &self.after.devices {
            let (Some(region), Some(limit)) = (&held.dmem_region, held.memory_bytes) else {
                continue;
            };
            let used = self.setter.in_use(cgroup, region).map_err(error::limit)?;
            if used > limit {
                let place = held.place();
                let why = format!("its processes use {used} of GPU {place}, more than {limit}");
                let hint = "let them free memory first, or ask for more";
                return Err(keeps_its_size(self.before, &why, hint));
            }
        }
        Ok(())
    }

    /// Changes the ledger and the kernel's limits, then the daemon's limits without the ledger's lock,
    /// and then the ledger again. If one of them fails, all of it is put back.
    fn make(&self, ledger: Ledger<'_>) -> Result<(), Failure> {
        let others = &self.after.devices;
        let larger = with(self.before, self.node, |held| {
            let other = others.iter().find(|other| other.uuid == held.uuid).unwrap_or(&held);
            LeasedDevice {
                milli: held.milli.max(other.milli),
                memory_bytes: held.memory_bytes.max(other.memory_bytes),
                ..held
            }
        });
        if larger != *self.before {
            ledger.put(&larger)?;
        }
        let mut limited = 0;
        if let Err(error) = self.limit_memory(&mut limited) {
            return Err(self.put_back(&ledger, error::limit(error), limited, Vec::new()));
        }
        let Some(seat) = &self.limits.seat else {
            let put = ledger.put(self.after);
            return put.map_err(|error| self.put_back(&ledger, error, limited, Vec::new()));
        };
        drop(ledger);
        failpoint::hit("resize.unlocked");
        let mut tried = 0;
        let done = self.limit_clients(seat, &mut tried).map_err(error::limit);
        match done.and_then(|()| self.relocked()?.put(self.after)) {
            Err(error) => Err(self.undo(seat, error, limited, tried)),
            Ok(()) => Ok(()),
        }
    }

    /// Locks the ledger again. Fails if the lease is not in it any more: then its cgroup may be
    /// another lease's.
    fn relocked(&self) -> Result<Ledger<'_>, Failure> {
        let ledger = self.ctx.store.lock(CREATE_DEADLINE, self.ctx.paths)?;
        still(&ledger, self.before, LeaseState::Bound)?;
        Ok(ledger)
    }

    fn pairs(&self) -> Vec<(&LeasedDevice, &LeasedDevice)> {
        self.before.devices.iter().zip(&self.after.devices).collect()
    }

    /// Sets the kernel's limits, and counts those that were set.
    fn limit_memory(&self, limited: &mut usize) -> Result<(), String> {
        for (from, to) in self.pairs() {
            self.dmem(from, to)?;
            *limited += 1;
        }
        Ok(())
    }

    fn dmem(&self, from: &LeasedDevice, to: &LeasedDevice) -> Result<(), String> {
        match (&self.limits.cgroup, &to.dmem_region, from.memory_bytes, to.memory_bytes) {
            (Some(cgroup), Some(region), Some(from), Some(to)) if from != to => {
                self.setter.dmem(cgroup, region, from, to)
            }
            _ => Ok(()),
        }
    }

    /// Sets the daemon's limits, and counts the attempts.
    fn limit_clients(&self, seat: &MpsSeat, tried: &mut usize) -> Result<(), String> {
        for (_, to) in self.pairs() {
            *tried += 1;
            self.setter.mps(seat, to)?;
        }
        Ok(())
    }

    /// Puts back the daemon's limits, and with the ledger's lock the kernel's limits and the ledger. A
    /// lease that is gone needs nothing put back.
    fn undo(&self, seat: &MpsSeat, error: Failure, limited: usize, tried: usize) -> Failure {
        if error.code == Code::StaleHook {
            return error;
        }
        let back = self.pairs().into_iter().take(tried);
        let faults = back.filter_map(|(from, _)| self.setter.mps(seat, from).err()).collect();
        match self.relocked() {
            Ok(ledger) => self.put_back(&ledger, error, limited, faults),
            // The kernel's limits and the ledger stay as they are: the ledger has no smaller amount.
            Err(other) => {
                error::limit(joined(error.message, faults.into_iter().chain([other.message])))
            }
        }
    }

    /// Puts the kernel's limits and the ledger back. The failure names all that went wrong.
    fn put_back(
        &self,
        ledger: &Ledger<'_>,
        error: Failure,
        limited: usize,
        mut faults: Vec<String>,
    ) -> Failure {
        let pairs = self.pairs().into_iter().take(limited);
        faults.extend(pairs.filter_map(|(from, to)| self.dmem(to, from).err()));
        // If a limit stays larger than it was, the ledger keeps the larger amount.
        if faults.is_empty()
            && let Err(error) = ledger.put(self.before)
        {
            faults.push(error.message);
        }
        if faults.is_empty() {
            return error;
        }
        error::limit(joined(error.message, faults))
    }
}

fn joined(error: String, others: impl IntoIterator<Item = String>) -> String {
    others.into_iter().fold(error, |text, other| format!("{text}; and to put it back: {other}"))
}

#[cfg(test)]
mod tests;
