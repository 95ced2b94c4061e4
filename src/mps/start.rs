//! Starting a device's daemon by hand.

use super::attach::{DaemonSpec, LockedDaemon};
use super::daemon::{DaemonStatus, tools};
use super::devices::{device_named, foreign_daemon_of};
use super::directory::DaemonDir;
use super::fault;
use super::leases::{leases_of, refuse_unread, settled};
use super::processes::DeviceName;
use crate::config::MpsDaemon;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::lease::Lease;
use std::time::Instant;

/// A daemon that runs until an administrator stops it.
#[derive(Debug)]
pub struct KeptDaemon {
    pub device: Device,
    pub pid: Option<i32>,
    /// Its pipe directory.
    pub pipe: String,
}

/// Has a daemon for the device of this name, and keeps it without leases. Fails if the device can
/// have none, another owner's daemon serves it, or none can be started.
pub fn start(host: &Host, name: &str) -> Result<KeptDaemon, Failure> {
    host.require_root("to start an MPS daemon")?;
    let config = host.config()?;
    if config.mps.daemon == MpsDaemon::Lease {
        return Err(Failure::new(
            Code::BadRequest,
            "`mps.daemon` is `lease`: a daemon is started for each lease, and none for a device",
        ));
    }
    let device = gpu(host, name)?;
    let tools = tools(config, &host.paths)?;
    host.store().prepare(&host.paths)?;
    let dir = DaemonDir::new(&host.paths.run, device.uuid.as_str())?;
    let timeout = config.mps.start_timeout;
    let _lock = dir.lock(timeout, &host.paths)?;
    refuse_foreign(host, &device)?;
    let swept = settled(host)?;
    refuse_unread(&swept, &device.uuid)?;
    let leases = leases_of(&swept, dir.name());
    let is_pinned = |lease: &&Lease| lease.mps.as_ref().is_some_and(|seat| seat.pinned);
    let spec = DaemonSpec {
        daemon: dir.name().to_owned(),
        device: device.uuid.clone(),
        index: device.index,
        simulated: device.simulated,
        per_lease: false,
        pinned: leases.iter().any(is_pinned),
        uid: leases.iter().find_map(|lease| Some(lease.mps.as_ref()?.uid)).unwrap_or_default(),
    };
    let until = Instant::now() + timeout;
    let daemon = LockedDaemon {
        host,
        config,
        tools: &tools,
        dir: &dir,
        spec: &spec,
        others: &leases,
        until,
    };
    let attached = daemon.attach(daemon.limits(None))?;
    let mut journal = DaemonStatus::of(&dir, &host.paths)
        .journal
        .ok_or_else(|| fault("the daemon's journal is gone"))?;
    journal.kept = true;
    journal.write(&dir.journal())?;
    let pid = journal.process.as_ref().map(|owner| owner.pid);
    Ok(KeptDaemon { device, pid, pipe: attached.pipe })
}

/// The device of this name, if MPS can serve it.
fn gpu(host: &Host, name: &str) -> Result<Device, Failure> {
    let device = device_named(host, name)?;
    let what = match device.vendor {
        Vendor::Nvidia if device.instance().is_some() => {
            "a MIG instance, which is a share already".to_owned()
        }
        Vendor::Nvidia if device.is_in_mig_mode() => "in MIG mode".to_owned(),
        Vendor::Nvidia => return Ok(device),
        other => format!("{}'s, and MPS is NVIDIA's", other.name()),
    };
    Err(Failure::new(Code::BadRequest, format!("device {} is {what}", device.uuid)))
}

fn refuse_foreign(host: &Host, device: &Device) -> Result<(), Failure> {
    let Device { uuid, index, simulated, .. } = device;
    let name = DeviceName { uuid, index: *index, simulated: *simulated };
    let Some(foreign) = foreign_daemon_of(host, &name) else { return Ok(()) };
    // On a simulated device it may be the daemon of another lease directory.
    if *simulated && foreign.is_reachable(&host.paths).is_err() {
        return Ok(());
    }
    Err(fault(format!("another MPS daemon, process {}, serves {uuid}", foreign.pid))
        .hint("stop it first; containers use it as it is"))
}
