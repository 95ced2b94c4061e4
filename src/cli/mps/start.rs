//! `gpulease mps start`: a daemon by hand.

use super::attach::{Order, Work};
use super::{device_named, foreign_of, leases_of, refuse_unread, settled};
use crate::cli::output::Answer;
use crate::config::MpsDaemon;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::lease::Lease;
use crate::mps::daemon;
use crate::mps::daemon::tools;
use crate::mps::directory::DaemonDir;
use crate::mps::processes::DeviceName;
use serde_json::json;
use std::time::Instant;

pub(super) fn start(host: &Host, name: &str) -> Result<Answer, Failure> {
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
    let place = DaemonDir::new(&host.paths.run, device.uuid.as_str())?;
    let timeout = config.mps.start_timeout;
    let _lock = place.lock(timeout, &host.paths)?;
    refuse_foreign(host, &device)?;
    let swept = settled(host)?;
    refuse_unread(&swept, &device.uuid)?;
    let leases = leases_of(&swept, place.name());
    let is_pinned = |lease: &&Lease| lease.mps.as_ref().is_some_and(|seat| seat.pinned);
    let order = Order {
        daemon: place.name().to_owned(),
        device: device.uuid.clone(),
        index: device.index,
        simulated: device.simulated,
        per_lease: false,
        // That the mode could not be set is worth knowing, where a person has asked.
        pinned: leases.iter().any(is_pinned),
        uid: leases.iter().find_map(|lease| Some(lease.mps.as_ref()?.uid)).unwrap_or_default(),
    };
    let until = Instant::now() + timeout;
    let work =
        Work { host, config, tools: &tools, place: &place, order: &order, others: &leases, until };
    let attached = work.attach(work.limits(None))?;
    let mut journal = daemon::look(&place, &host.paths)
        .journal
        .ok_or_else(|| Failure::new(Code::IsolationFailed, "the daemon's journal is gone"))?;
    journal.kept = true;
    journal.write(&place.journal())?;
    let pid = journal.process.as_ref().map(|owner| owner.pid);
    let text = format!(
        "the MPS daemon of {} runs (process {}) until `gpulease mps stop {}`\n",
        device.uuid,
        pid.unwrap_or_default(),
        device.index
    );
    let json = json!({ "device": device.uuid, "pid": pid, "pipe": attached.pipe, "kept": true });
    Ok(Answer::new(text, json))
}

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
    let target = DeviceName { uuid, index: *index, simulated: *simulated };
    let Some(control) = foreign_of(host, &target) else { return Ok(()) };
    // Of a device that does not exist it may well be the one of another lease directory.
    if *simulated && control.is_reachable(&host.paths).is_err() {
        return Ok(());
    }
    Err(Failure::new(
        Code::IsolationFailed,
        format!("another MPS daemon, process {}, serves {uuid}", control.pid),
    )
    .hint("stop it first; containers use it as it is"))
}
