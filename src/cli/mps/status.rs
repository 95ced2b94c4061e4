//! `gpulease mps status`: which daemons there are, and how they are.

use super::{cut_off, foreign, is_cut_off, leases_of};
use crate::claim::look::survey;
use crate::claim::sweep::Swept;
use crate::cli::output::{Answer, Output, Paint};
use crate::cli::table::Table;
use crate::cli::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Node};
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::mps::control::{ControlClient, features};
use crate::mps::daemon::{DaemonState, DaemonStatus, Tools, look, servers, tools};
use crate::mps::directory::DaemonDir;
use crate::mps::processes::ForeignDaemon;
use crate::paths::Paths;
use crate::sys::ask::ask_bounded;
use crate::sys::checked::check_program;
use serde::Serialize;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one daemon may take to answer all questions: one that hangs is shown as such.
const PATIENCE: Duration = Duration::from_secs(1);

/// A daemon of ours, looked at without its lock and without asking it anything.
#[derive(Debug)]
pub(in crate::cli) struct Seat {
    pub(in crate::cli) place: DaemonDir,
    pub(in crate::cli) seen: DaemonStatus,
    /// The live leases that it serves, by id.
    pub(in crate::cli) leases: Vec<String>,
    /// How many were attached to a control daemon of it that is gone.
    pub(in crate::cli) cut_off: usize,
}

/// The daemons of ours.
pub(in crate::cli) fn seats(swept: &Swept, paths: &Paths) -> Result<Vec<Seat>, Failure> {
    let seat = |place: DaemonDir| {
        let seen = look(&place, paths);
        let all = leases_of(swept, place.name());
        let (gone, leases): (Vec<&Lease>, _) =
            all.into_iter().partition(|lease| is_cut_off(lease, paths));
        let leases = leases.iter().map(|lease| lease.id.to_string()).collect();
        Seat { place, seen, leases, cut_off: gone.len() }
    };
    Ok(DaemonDir::all(&paths.run)?.into_iter().map(seat).collect())
}

pub(super) fn status(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    // First, so that whoever may not see the leases hears the same as from `leases`.
    let swept = survey(host)?;
    host.require_root("to ask MPS daemons")?;
    let config = host.config()?;
    let inventory = host.inventory_now(config).ok();
    let node = inventory.as_ref().map(|inventory| &inventory.node);
    let tools = tools(config, &host.paths);
    let mut rows = Vec::new();
    for seat in seats(&swept, &host.paths)? {
        rows.push(own(&seat, tools.as_ref().ok(), &host.paths));
    }
    let others = foreign(host);
    rows.extend(others.iter().map(|control| of_others(control, &swept, tools.as_ref().ok())));
    let text = match (rows.is_empty(), &tools) {
        (false, _) => in_table(&rows, node, wide, output),
        (true, Ok(_)) => "no MPS daemon runs\n".to_owned(),
        (true, Err(fault)) => format!("no MPS daemon runs: {fault}\n"),
    };
    let unreadable = rows.iter().filter_map(|row| Some((row, row.why.as_ref()?)));
    let notes: String = unreadable
        .map(|(row, why)| {
            let text = format!("{}: {}", row.name, shown(why));
            words::remark(Paint::Yellow, "warning:", &text, output)
        })
        .collect();
    let control = match &tools {
        Ok(tools) => json!({
            "program": tools.control.display().to_string(),
            "features": offered(&tools.control),
            "fault": null,
        }),
        Err(fault) => json!({ "program": null, "features": [], "fault": fault.message }),
    };
    let lost = cut_off(&swept, &host.paths);
    let lost_text: String = lost.iter().map(|lease| words::cut_off(lease, output)).collect();
    let lost: Vec<&str> = lost.iter().map(|lease| lease.id.as_str()).collect();
    let json = json!({ "daemons": rows, "cut_off": lost, "control": control });
    Ok(Answer::new(text + &notes + &lost_text, json))
}

/// What the program says that it can do besides; none of it is used.
fn offered(control: &Path) -> Vec<&'static str> {
    if check_program(control).is_err() {
        return Vec::new();
    }
    ask_bounded(control, &["--help"], PATIENCE).map_or_else(|_| Vec::new(), |help| features(&help))
}

#[derive(Serialize)]
struct Row {
    name: String,
    device: Option<String>,
    pid: Option<i32>,
    state: &'static str,
    /// What is wrong, where that is not plain from the state.
    why: Option<String>,
    leases: Vec<String>,
    #[serde(flatten)]
    said: Said,
    /// What the compute mode was before it was set.
    prior_compute_mode: Option<String>,
    kept: bool,
    pipe: String,
}

/// What it answers. Null is what it does not say.
#[derive(Default, Serialize)]
struct Said {
    servers: Vec<i32>,
    clients: Option<usize>,
    active_thread_percentage: Option<String>,
    pinned_memory_limit: Option<String>,
}

fn asked(front: &ControlClient<'_>) -> Option<Said> {
    let percentage = front.say("get_default_active_thread_percentage").ok()?;
    let servers = front.pids("get_server_list").ok()?;
    let clients = servers.iter().map(|server| front.pids(&format!("get_client_list {server}")));
    let clients = clients.map(|list| list.map(|list| list.len())).sum::<Result<usize, _>>().ok();
    let limit = front.say("get_default_device_pinned_mem_limit 0").ok();
    let pinned_memory_limit = limit.filter(|limit| !limit.is_empty());
    let active_thread_percentage = Some(percentage);
    Some(Said { servers, clients, active_thread_percentage, pinned_memory_limit })
}

fn own(seat: &Seat, tools: Option<&Tools<'_>>, paths: &Paths) -> Row {
    let (pipe, journal) = (seat.place.pipe(), seat.seen.journal.as_ref());
    let (state, pid) = match &seat.seen.state {
        DaemonState::Running(owner) => ("running", Some(owner.pid)),
        DaemonState::Dead => ("dead", None),
        DaemonState::Stale => ("stale", None),
    };
    let said = tools
        .filter(|_| pid.is_some() && seat.place.has_pipe())
        .and_then(|tools| asked(&tools.front(&pipe, Instant::now() + PATIENCE)));
    let unread = seat.seen.garbage.as_ref().map(|why| format!("its journal cannot be read: {why}"));
    let why = match pid {
        Some(_) if said.is_none() => Some("it runs and does not answer".to_owned()),
        _ => unread,
    };
    let orphans = || Said { servers: servers(&seat.place, paths), ..Said::default() };
    Row {
        name: seat.place.name().to_owned(),
        device: journal.map(|journal| journal.device.to_string()),
        pid,
        state,
        why,
        leases: seat.leases.clone(),
        said: said.unwrap_or_else(orphans),
        prior_compute_mode: journal.and_then(|journal| journal.prior_compute_mode.clone()),
        kept: journal.is_some_and(|journal| journal.kept),
        pipe: pipe.display().to_string(),
    }
}

/// Somebody else's. Only one that is seen from here is asked.
fn of_others(control: &ForeignDaemon, swept: &Swept, tools: Option<&Tools<'_>>) -> Row {
    let said = tools
        .filter(|tools| control.is_reachable(tools.paths).is_ok())
        .and_then(|tools| asked(&tools.front(&control.pipe, Instant::now() + PATIENCE)));
    Row {
        name: control.visible.as_deref().map_or_else(|| "all devices".to_owned(), shown),
        device: control.visible.clone(),
        pid: Some(control.pid),
        state: "foreign",
        why: None,
        leases: guests(control, swept),
        said: said.unwrap_or_default(),
        prior_compute_mode: None,
        kept: false,
        pipe: control.pipe.display().to_string(),
    }
}

/// The live leases that were given a place at somebody else's daemon, by id.
fn guests(control: &ForeignDaemon, swept: &Swept) -> Vec<String> {
    let is_guest = |lease: &&Lease| {
        let process = lease.mps.as_ref().filter(|seat| seat.adopted)?.process.as_ref()?;
        (lease.state != LeaseState::Grace && process.pid == control.pid).then_some(())
    };
    let guests = swept.leases.iter().filter(|lease| is_guest(lease).is_some());
    guests.map(|lease| lease.id.to_string()).collect()
}

/// The device that a daemon serves, where the inventory has it.
fn device<'a>(row: &Row, node: Option<&'a Node>) -> Option<&'a Device> {
    let named = row.device.as_deref()?;
    node?.devices.iter().find(|device| device.uuid.as_str() == named)
}

/// `8G` as all other amounts here are told: `8Gi`.
fn in_our_units(told: &str) -> String {
    let told = shown(told);
    if told.ends_with(['G', 'M']) { format!("{told}i") } else { told }
}

fn in_table(rows: &[Row], node: Option<&Node>, wide: bool, output: &Output) -> String {
    let name = |row: &Row| match (device(row, node), node) {
        (Some(device), Some(node)) if row.name == device.uuid.as_str() => {
            words::uuid(&device.uuid, node, wide).to_owned()
        }
        _ => row.name.clone(),
    };
    let percent = |percent: &String| format!("{}%", shown(percent));
    Table::of(rows)
        .left("DAEMON", 0, name)
        .right("INDEX", 0, |row| words::or_dash(device(row, node).map(Device::place)))
        .right("PID", 0, |row| words::or_dash(row.pid))
        .left("STATE", 0, |row| format!("{}{}", row.state, if row.kept { ", kept" } else { "" }))
        .right("LEASES", 0, |row| row.leases.len().to_string())
        .right("SERVERS", 2, |row| row.said.servers.len().to_string())
        .right("CLIENTS", 0, |row| words::or_dash(row.said.clients))
        .right("LIMIT", 0, |row| {
            words::or_dash(row.said.active_thread_percentage.as_ref().map(percent))
        })
        .right("MEMORY", 0, |row| {
            words::or_dash(row.said.pinned_memory_limit.as_deref().map(in_our_units))
        })
        .left("MODE", 1, |row| words::or_dash(row.prior_compute_mode.as_ref().map(|_| "exclusive")))
        .render(wide, output)
}
