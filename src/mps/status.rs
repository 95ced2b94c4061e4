//! Which daemons there are, and what they answer.

use super::control::{ControlClient, features};
use super::daemon::{DaemonState, DaemonStatus, Tools, servers, tools};
use super::devices::foreign_daemons;
use super::directory::DaemonDir;
use super::leases::{cut_off, is_cut_off, leases_of};
use super::processes::ControlDaemon;
use crate::claim::look::survey as survey_leases;
use crate::claim::sweep::Swept;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::id::LeaseId;
use crate::model::lease::{Lease, LeaseState};
use crate::paths::Paths;
use crate::sys::ask::ask_bounded;
use crate::sys::checked::check_program;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most time that one daemon has to answer all questions.
const PATIENCE: Duration = Duration::from_secs(1);

/// All daemons of a node, as they are now.
#[derive(Debug)]
pub struct MpsSurvey {
    pub own: Vec<(OwnDaemon, Answers)>,
    pub foreign: Vec<(ForeignDaemon, Answers)>,
    /// The live leases whose daemon is gone.
    pub cut_off: Vec<Lease>,
    /// The control program, or why there is none.
    pub control: Result<ControlProgram, Failure>,
}

/// A daemon of gpulease. Looked at without its lock, and without asking it.
#[derive(Debug)]
pub struct OwnDaemon {
    pub dir: DaemonDir,
    pub status: DaemonStatus,
    /// The live leases that it serves.
    pub leases: Vec<LeaseId>,
    /// How many leases were attached to a control daemon of this name that is gone.
    pub cut_off: usize,
}

/// Root's daemon that gpulease did not start.
#[derive(Debug)]
pub struct ForeignDaemon {
    pub daemon: ControlDaemon,
    /// The live leases that were given a seat at it.
    pub leases: Vec<LeaseId>,
}

/// A daemon's answers. `None` is a question that it does not answer.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether it answers at all.
    pub answers: bool,
    /// The pids of its servers. Of a daemon that does not answer, those that run.
    pub servers: Vec<i32>,
    pub clients: Option<usize>,
    /// Percent, as the daemon spells it (untrusted).
    pub active_thread_percentage: Option<String>,
    /// With a unit, as the daemon spells it (untrusted).
    pub pinned_memory_limit: Option<String>,
}

/// The control program of this host.
#[derive(Debug)]
pub struct ControlProgram {
    pub path: PathBuf,
    /// The features that it has an option for. gpulease uses none of them.
    pub features: Vec<&'static str>,
}

/// Looks at all daemons and asks those that run. Fails if the caller is not root, or the leases
/// cannot be read.
pub fn survey(host: &Host) -> Result<MpsSurvey, Failure> {
    // First: a user who may not see the leases gets the same answer as from `gpulease leases`.
    let swept = survey_leases(host)?;
    host.require_root("to ask MPS daemons")?;
    let paths = &host.paths;
    let tools = tools(host.config()?, paths);
    let ask = tools.as_ref().ok();
    let own = own_daemons(&swept, paths)?.into_iter().map(|daemon| {
        let answers = ask_own(&daemon, ask, paths);
        (daemon, answers)
    });
    let foreign = foreign_daemons(host).into_iter().map(|daemon| {
        let answers = ask_foreign(&daemon, ask);
        (ForeignDaemon { leases: guests(&daemon, &swept), daemon }, answers)
    });
    let (own, foreign) = (own.collect(), foreign.collect());
    let control = tools
        .map(|tools| ControlProgram { features: offered(&tools.control), path: tools.control });
    let cut_off = cut_off(&swept, paths).into_iter().cloned().collect();
    Ok(MpsSurvey { own, foreign, cut_off, control })
}

/// The daemons of gpulease. Fails if their directories cannot be listed.
pub fn own_daemons(swept: &Swept, paths: &Paths) -> Result<Vec<OwnDaemon>, Failure> {
    let daemon = |dir: DaemonDir| {
        let status = DaemonStatus::of(&dir, paths);
        let all = leases_of(swept, dir.name());
        let (gone, served): (Vec<&Lease>, Vec<&Lease>) =
            all.into_iter().partition(|lease| is_cut_off(lease, paths));
        let leases = served.into_iter().map(|lease| lease.id.clone()).collect();
        OwnDaemon { dir, status, leases, cut_off: gone.len() }
    };
    Ok(DaemonDir::all(&paths.run)?.into_iter().map(daemon).collect())
}

/// The live leases that were given a seat at a foreign daemon.
fn guests(daemon: &ControlDaemon, swept: &Swept) -> Vec<LeaseId> {
    let is_guest = |lease: &&Lease| {
        let seat = lease.mps.as_ref().filter(|seat| seat.adopted);
        let process = seat.and_then(|seat| seat.process.as_ref());
        lease.state != LeaseState::Grace && process.is_some_and(|owner| owner.pid == daemon.pid)
    };
    swept.leases.iter().filter(is_guest).map(|lease| lease.id.clone()).collect()
}

/// The features that the control program has an option for.
fn offered(control: &Path) -> Vec<&'static str> {
    if check_program(control).is_err() {
        return Vec::new();
    }
    ask_bounded(control, &["--help"], PATIENCE).map_or_else(|_| Vec::new(), |help| features(&help))
}

fn ask_own(daemon: &OwnDaemon, tools: Option<&Tools<'_>>, paths: &Paths) -> Answers {
    let pipe = daemon.dir.pipe();
    let runs = matches!(daemon.status.state, DaemonState::Running(_));
    let answers = tools
        .filter(|_| runs && daemon.dir.has_pipe())
        .and_then(|tools| ask(&tools.client(&pipe, Instant::now() + PATIENCE)));
    let silent = || Answers { servers: servers(&daemon.dir, paths), ..Answers::default() };
    answers.unwrap_or_else(silent)
}

/// A foreign daemon is asked only if a container could use it.
fn ask_foreign(daemon: &ControlDaemon, tools: Option<&Tools<'_>>) -> Answers {
    let answers = tools
        .filter(|tools| daemon.is_reachable(tools.paths).is_ok())
        .and_then(|tools| ask(&tools.client(&daemon.pipe, Instant::now() + PATIENCE)));
    answers.unwrap_or_default()
}

fn ask(client: &ControlClient<'_>) -> Option<Answers> {
    let percentage = client.ask("get_default_active_thread_percentage").ok()?;
    let servers = client.pids("get_server_list").ok()?;
    let clients = servers.iter().map(|server| client.pids(&format!("get_client_list {server}")));
    let clients = clients.map(|list| list.map(|list| list.len())).sum::<Result<usize, _>>().ok();
    let limit = client.ask("get_default_device_pinned_mem_limit 0").ok();
    Some(Answers {
        answers: true,
        servers,
        clients,
        active_thread_percentage: Some(percentage),
        pinned_memory_limit: limit.filter(|limit| !limit.is_empty()),
    })
}
