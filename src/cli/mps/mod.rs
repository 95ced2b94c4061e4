//! `gpulease mps`: the daemons that make shares of NVIDIA's GPUs true, for people.

mod args;

pub(super) use args::{MPS_AFTER, MpsAction};

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Node};
use crate::model::text::shown;
use crate::mps::attach::attach;
use crate::mps::reap::{Reaped, reap, reap_device};
use crate::mps::start::start;
use crate::mps::status::survey;
use crate::mps::stop::stop;
use crate::view::mps::{DaemonRow, MpsReaped, MpsStarted, MpsStatus, MpsStopped};
use std::path::Path;

pub(super) fn run(host: Host, action: &MpsAction, output: &Output) -> Result<Answer, Failure> {
    match action {
        MpsAction::Status { wide } => status(&host, *wide, output),
        MpsAction::Start { device } => started(&host, device),
        MpsAction::Stop { device, force, .. } => stopped(&host, device.as_deref(), *force),
        MpsAction::Attach { key, nonce } => {
            let attached = attach(&host, key, nonce)?;
            let json = serde_json::to_string(&attached).unwrap_or_default();
            Ok(Answer::of(format!("{json}\n"), &attached))
        }
        MpsAction::Reap { now, device, run_dir } => {
            reaped(&in_run_dir(host, run_dir.as_deref()), *now, device.as_deref())
        }
    }
}

fn in_run_dir(host: Host, run_dir: Option<&Path>) -> Host {
    match run_dir {
        Some(run_dir) => host.with_run_dir(run_dir),
        None => host,
    }
}

fn started(host: &Host, name: &str) -> Result<Answer, Failure> {
    let daemon = start(host, name)?;
    let text = format!(
        "the MPS daemon of {} runs (process {}) until `gpulease mps stop {}`\n",
        daemon.device.uuid,
        daemon.pid.unwrap_or_default(),
        daemon.device.index
    );
    Ok(Answer::of(text, &MpsStarted::of(&daemon)))
}

fn stopped(host: &Host, name: Option<&str>, forced: bool) -> Result<Answer, Failure> {
    let stopped = stop(host, name, forced)?;
    let text = match stopped.is_empty() {
        true => "no MPS daemon of gpulease runs\n".to_owned(),
        false => lines("stopped", &stopped),
    };
    Ok(Answer::of(text, &MpsStopped { stopped: &stopped, forced }))
}

fn reaped(host: &Host, now: bool, device: Option<&str>) -> Result<Answer, Failure> {
    let reaped: Reaped = match device {
        Some(device) => reap_device(host, device)?,
        None => reap(host, now)?,
    };
    Ok(Answer::of(lines("ended", &reaped.ended), &MpsReaped::of(&reaped)))
}

fn lines(done: &str, daemons: &[String]) -> String {
    daemons.iter().map(|name| format!("{done} the MPS daemon of {name}\n")).collect()
}

fn status(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    let survey = survey(host)?;
    let view = MpsStatus::of(&survey);
    let inventory = host.config().and_then(|config| host.inventory_now(config)).ok();
    let node = inventory.as_ref().map(|inventory| &inventory.node);
    let mut text = match (view.daemons.is_empty(), &survey.control) {
        (false, _) => in_table(&view.daemons, node, wide, output),
        (true, Ok(_)) => "no MPS daemon runs\n".to_owned(),
        (true, Err(fault)) => format!("no MPS daemon runs: {fault}\n"),
    };
    for (row, why) in view.daemons.iter().filter_map(|row| Some((row, row.why.as_ref()?))) {
        let why = format!("{}: {}", row.name, shown(why));
        text.push_str(&words::remark(Paint::Yellow, "warning:", &why, output));
    }
    text.extend(survey.cut_off.iter().map(|lease| words::cut_off(lease, output)));
    Ok(Answer::of(text, &view))
}

/// The device that a daemon serves, where the inventory has it.
fn device<'a>(row: &DaemonRow<'_>, node: Option<&'a Node>) -> Option<&'a Device> {
    let named = row.device?;
    node?.devices.iter().find(|device| device.uuid.as_str() == named)
}

/// A daemon's `8G`, as all other tables have it: `8Gi`.
fn in_our_units(amount: &str) -> String {
    let amount = shown(amount);
    if amount.ends_with(['G', 'M']) { format!("{amount}i") } else { amount }
}

fn in_table(rows: &[DaemonRow<'_>], node: Option<&Node>, wide: bool, output: &Output) -> String {
    let name = |row: &DaemonRow<'_>| match (device(row, node), node) {
        (Some(device), Some(node)) if row.name == device.uuid.as_str() => {
            words::uuid(&device.uuid, node, wide).to_owned()
        }
        _ => row.name.clone(),
    };
    Table::of(rows)
        .left("DAEMON", 0, name)
        .right("INDEX", 0, |row| words::or_dash(device(row, node).map(Device::place)))
        .right("PID", 0, |row| words::or_dash(row.pid))
        .left("STATE", 0, |row| format!("{}{}", row.state, if row.kept { ", kept" } else { "" }))
        .right("LEASES", 0, |row| row.leases.len().to_string())
        .right("SERVERS", 2, |row| row.servers.len().to_string())
        .right("CLIENTS", 0, |row| words::or_dash(row.clients))
        .right("LIMIT", 0, |row| {
            let percent = row.active_thread_percentage;
            words::or_dash(percent.map(|percent| format!("{}%", shown(percent))))
        })
        .right("MEMORY", 0, |row| words::or_dash(row.pinned_memory_limit.map(in_our_units)))
        .left("MODE", 1, |row| words::or_dash(row.prior_compute_mode.map(|_| "exclusive")))
        .render(wide, output)
}
