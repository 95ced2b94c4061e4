//! Which leases a daemon serves.

use super::daemon::{DaemonState, DaemonStatus};
use super::directory::DaemonDir;
use super::fault;
use super::limits::Share;
use crate::claim::sweep::{Swept, describe, survey};
use crate::claim::{CREATE_DEADLINE, Ctx};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::id::{DeviceId, short_id};
use crate::model::lease::{Lease, LeaseState};
use crate::paths::Paths;
use crate::store::Corrupt;
use crate::sys::proc::{self, Life};

/// The leases, all of one moment, for a decision. To be called with the daemon's lock held.
pub fn settled(host: &Host) -> Result<Swept, Failure> {
    // Without a lease directory there is no ledger to lock.
    let is_there = host.paths.run.exists();
    let _ledger = is_there.then(|| host.store().lock(CREATE_DEADLINE, &host.paths)).transpose()?;
    survey(Ctx::of(host))
}

/// The container of a record that cannot be read, if it may have a seat at a daemon of this device:
/// its bundle's record names the device, or there is none. Its share is not known.
pub fn unread(swept: &Swept, device: &str) -> Option<String> {
    let may_have = |corrupt: &&Corrupt| {
        let devices = swept.witnesses.devices_of(&corrupt.key);
        devices.is_none_or(|all| all.iter().any(|leased| leased.uuid.as_str() == device))
    };
    let corrupt = swept.corrupt.iter().find(may_have)?;
    let container = short_id(corrupt.key.container_id.as_str());
    Some(format!("container {container}, whose lease record cannot be read"))
}

/// Limits are not set without knowing all leases that they are for.
pub fn refuse_unread(swept: &Swept, device: &DeviceId) -> Result<(), Failure> {
    let Some(container) = unread(swept, device.as_str()) else { return Ok(()) };
    Err(fault(format!("the MPS daemon of {device} may serve {container}"))
        .hint("stop that container; `gpulease doctor` shows the record"))
}

/// The leases whose containers stop computing when this daemon ends. The servers of a daemon that is
/// gone may have outlived it, and still serve its leases.
pub fn users<'a>(
    swept: &'a Swept,
    dir: &DaemonDir,
    status: &DaemonStatus,
    paths: &Paths,
) -> Vec<&'a Lease> {
    let mut leases = leases_of(swept, dir.name());
    if matches!(status.state, DaemonState::Running(_)) {
        leases.retain(|lease| !is_cut_off(lease, paths));
    }
    leases
}

/// Whether the daemon that the lease was attached to is gone. Its container can start no computing
/// any more, and no other daemon can serve it: its mounts are of the daemon that is gone.
pub fn is_cut_off(lease: &Lease, paths: &Paths) -> bool {
    let process = lease.mps.as_ref().and_then(|seat| seat.process.as_ref());
    lease.state != LeaseState::Grace
        && process.is_some_and(|process| proc::life(process, paths) == Life::Gone)
}

/// The live leases whose daemon is gone.
pub fn cut_off<'a>(swept: &'a Swept, paths: &Paths) -> Vec<&'a Lease> {
    swept.leases.iter().filter(|lease| is_cut_off(lease, paths)).collect()
}

/// The live leases that have a seat at this daemon of gpulease. A lease in its grace has no
/// container.
pub fn leases_of<'a>(swept: &'a Swept, daemon: &str) -> Vec<&'a Lease> {
    let is_served = |lease: &&Lease| {
        let seat = lease.mps.as_ref();
        lease.state != LeaseState::Grace
            && seat.is_some_and(|seat| seat.daemon == daemon && !seat.adopted)
    };
    swept.leases.iter().filter(is_served).collect()
}

/// The leases in a message.
pub fn named(leases: &[&Lease]) -> String {
    leases.iter().map(|lease| describe(lease)).collect::<Vec<_>>().join(", ")
}

/// A lease's share of its one device.
pub fn share(lease: &Lease) -> Option<Share> {
    let device = lease.devices.first()?;
    let pinned = lease.mps.as_ref().is_some_and(|seat| seat.pinned);
    Some(Share { milli: device.milli, memory: device.memory_bytes, pinned })
}
