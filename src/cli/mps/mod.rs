//! `gpulease mps`: the daemons that make shares of NVIDIA's GPUs true.
//!
//! A daemon's lock is held while anything is done with it. The ledger's is taken after it, for as long
//! as the leases are looked at and no longer: without it a record that is just being replaced by one of
//! another name could be missed. A lease is recorded before it is attached, so that whoever ends daemons
//! without leases sees it.

mod args;
mod attach;
mod reap;
mod start;
mod status;
mod stop;

pub(super) use args::{MPS_AFTER, MpsAction};
pub(super) use status::{Seat, seats};

use super::output::{Answer, Output};
use crate::claim::CREATE_DEADLINE;
use crate::claim::look::survey;
use crate::claim::sweep::{Swept, describe};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::id::DeviceId;
use crate::model::id::short_id;
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::mps::daemon::{DaemonState, DaemonStatus};
use crate::mps::directory::DaemonDir;
use crate::mps::fault;
use crate::mps::limits::Share;
use crate::mps::processes::{DeviceName, ForeignDaemon, controls};
use crate::paths::Paths;
use crate::store::Corrupt;
use crate::sys::proc::{self, Life};

pub(super) fn run(host: Host, action: &MpsAction, output: &Output) -> Result<Answer, Failure> {
    match action {
        MpsAction::Status { wide } => status::status(&host, *wide, output),
        MpsAction::Start { device } => start::start(&host, device),
        MpsAction::Stop { device, force, .. } => stop::stop(&host, device.as_deref(), *force),
        MpsAction::Attach { key, nonce } => attach::attach(&host, key, nonce),
        MpsAction::Reap { now, device, run_dir } => {
            let host = match run_dir {
                Some(run_dir) => host.with_run_dir(run_dir),
                None => host,
            };
            match device {
                Some(device) => reap::of_device(&host, device),
                None => reap::reap(&host, *now),
            }
        }
    }
}

/// The leases, all of one moment: for who decides by them. With the daemon's lock held.
fn settled(host: &Host) -> Result<Swept, Failure> {
    // Where nothing was ever leased there is nothing to lock.
    let is_there = host.paths.run.exists();
    let _ledger = is_there.then(|| host.store().lock(CREATE_DEADLINE, &host.paths)).transpose()?;
    survey(host)
}

/// The container of a record that cannot be read, if that may have a place at a daemon of this device:
/// its bundle's record names the device, or there is none. What it was promised nobody knows.
fn unread(swept: &Swept, device: &str) -> Option<String> {
    let may_have = |corrupt: &&Corrupt| {
        let devices = swept.witnesses.devices_of(&corrupt.key);
        devices.is_none_or(|all| all.iter().any(|leased| leased.uuid.as_str() == device))
    };
    let corrupt = swept.corrupt.iter().find(may_have)?;
    let container = short_id(corrupt.key.container_id.as_str());
    Some(format!("container {container}, whose lease record cannot be read"))
}

/// ClientLimits are not set without knowing of all whom they are for.
fn refuse_unread(swept: &Swept, device: &DeviceId) -> Result<(), Failure> {
    let Some(container) = unread(swept, device.as_str()) else { return Ok(()) };
    Err(fault(format!("the MPS daemon of {device} may serve {container}"))
        .hint("stop that container; `gpulease doctor` shows the record"))
}

/// Whose computing ends with a daemon. The servers of one that is gone may have outlived it, and
/// serve its leases still.
fn users<'a>(
    swept: &'a Swept,
    place: &DaemonDir,
    seen: &DaemonStatus,
    paths: &Paths,
) -> Vec<&'a Lease> {
    let mut leases = leases_of(swept, place.name());
    if matches!(seen.state, DaemonState::Running(_)) {
        leases.retain(|lease| !is_cut_off(lease, paths));
    }
    leases
}

/// Whether the daemon that the lease was attached to is gone. What its container computes by ends
/// sooner or later, and no other daemon can serve it: what is mounted in it is of that one.
pub(super) fn is_cut_off(lease: &Lease, paths: &Paths) -> bool {
    let process = lease.mps.as_ref().and_then(|seat| seat.process.as_ref());
    lease.state != LeaseState::Grace
        && process.is_some_and(|process| proc::life(process, paths) == Life::Gone)
}

/// The live leases whose daemon is gone.
pub(super) fn cut_off<'a>(swept: &'a Swept, paths: &Paths) -> Vec<&'a Lease> {
    swept.leases.iter().filter(|lease| is_cut_off(lease, paths)).collect()
}

/// The live leases that were given a place at this daemon of ours. One in its grace has no container.
fn leases_of<'a>(swept: &'a Swept, daemon: &str) -> Vec<&'a Lease> {
    let is_served = |lease: &&Lease| {
        let seat = lease.mps.as_ref();
        lease.state != LeaseState::Grace
            && seat.is_some_and(|seat| seat.daemon == daemon && !seat.adopted)
    };
    swept.leases.iter().filter(is_served).collect()
}

/// By name, for messages.
fn named(leases: &[&Lease]) -> String {
    leases.iter().map(|lease| describe(lease)).collect::<Vec<_>>().join(", ")
}

/// What a lease has of its one device.
fn share(lease: &Lease) -> Option<Share> {
    let device = lease.devices.first()?;
    let pinned = lease.mps.as_ref().is_some_and(|seat| seat.pinned);
    Some(Share { milli: device.milli, memory: device.memory_bytes, pinned })
}

/// The daemons that somebody else runs as root.
fn foreign(host: &Host) -> Vec<ForeignDaemon> {
    let mps = host.paths.run.join("mps");
    controls(&host.paths).into_iter().filter(|control| !control.pipe.starts_with(&mps)).collect()
}

/// One among them that serves this device.
fn foreign_of(host: &Host, device: &DeviceName<'_>) -> Option<ForeignDaemon> {
    let found: Vec<ForeignDaemon> = foreign(host);
    if found.is_empty() {
        return None;
    }
    // Only to know what a number means: without an inventory, none does.
    let gpus = host.config().and_then(|config| host.inventory_now(config)).map_or(0, |inventory| {
        let is_gpu = |d: &&Device| d.vendor == Vendor::Nvidia && d.instance().is_none();
        inventory.node.devices.iter().filter(is_gpu).count()
    });
    found.into_iter().find(|control| control.serves(device, gpus))
}

/// The device that an argument names: by its index, its UUID, or the beginning of one.
fn device_named(host: &Host, name: &str) -> Result<Device, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let devices = &inventory.node.devices;
    let index = name.parse::<u32>().ok();
    let place = index.map_or_else(|| name.to_owned(), |index| index.to_string());
    let is_it = |d: &&Device| d.uuid.as_str() == name || d.place().to_string() == place;
    let begins = |d: &&Device| index.is_none() && d.uuid.as_str().starts_with(name);
    let found: Vec<&Device> = match devices.iter().find(is_it) {
        Some(device) => vec![device],
        None => devices.iter().filter(begins).collect(),
    };
    match found.as_slice() {
        [device] => Ok((*device).clone()),
        [] => Err(Failure::new(Code::BadRequest, format!("there is no device `{}`", shown(name)))
            .hint("`gpulease devices` lists them")),
        _ => Err(Failure::new(
            Code::BadRequest,
            format!("`{}` is the beginning of several devices' UUIDs", shown(name)),
        )
        .hint("give more of it")),
    }
}
