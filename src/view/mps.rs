//! MPS daemons: how they are, and what was done with them.

use crate::model::id::{DeviceId, LeaseId};
use crate::model::text::shown;
use crate::mps::daemon::DaemonState;
use crate::mps::reap::Reaped;
use crate::mps::start::KeptDaemon;
use crate::mps::status::{Answers, ForeignDaemon, MpsSurvey, OwnDaemon};
use serde::Serialize;

/// All daemons of a node.
#[derive(Debug, Serialize)]
pub struct MpsStatus<'a> {
    pub daemons: Vec<DaemonRow<'a>>,
    /// The live leases whose daemon is gone.
    pub cut_off: Vec<&'a LeaseId>,
    pub control: ControlRow<'a>,
}

/// One daemon. A value that it does not answer is null.
#[derive(Debug, Serialize)]
pub struct DaemonRow<'a> {
    pub name: String,
    /// The device that it serves; of a foreign daemon, its `CUDA_VISIBLE_DEVICES`.
    pub device: Option<&'a str>,
    pub pid: Option<i32>,
    pub state: &'static str,
    /// The fault, where the state does not say it.
    pub why: Option<String>,
    pub leases: &'a [LeaseId],
    pub servers: &'a [i32],
    pub clients: Option<usize>,
    pub active_thread_percentage: Option<&'a str>,
    pub pinned_memory_limit: Option<&'a str>,
    /// The compute mode before gpulease set it.
    pub prior_compute_mode: Option<&'a str>,
    pub kept: bool,
    pub pipe: String,
}

/// The control program: `program`, or `fault` why there is none.
#[derive(Debug, Serialize)]
pub struct ControlRow<'a> {
    pub program: Option<String>,
    pub features: &'a [&'static str],
    pub fault: Option<&'a str>,
}

impl<'a> MpsStatus<'a> {
    pub fn of(survey: &'a MpsSurvey) -> Self {
        let own = survey.own.iter().map(|(daemon, answers)| DaemonRow::of(daemon, answers));
        let foreign = survey.foreign.iter();
        let foreign = foreign.map(|(daemon, answers)| DaemonRow::of_foreign(daemon, answers));
        Self {
            daemons: own.chain(foreign).collect(),
            cut_off: survey.cut_off.iter().map(|lease| &lease.id).collect(),
            control: match &survey.control {
                Ok(control) => ControlRow {
                    program: Some(control.path.display().to_string()),
                    features: &control.features,
                    fault: None,
                },
                Err(fault) => {
                    ControlRow { program: None, features: &[], fault: Some(&fault.message) }
                }
            },
        }
    }
}

impl<'a> DaemonRow<'a> {
    fn of(daemon: &'a OwnDaemon, answers: &'a Answers) -> Self {
        let journal = daemon.status.journal.as_ref();
        let (state, pid) = match &daemon.status.state {
            DaemonState::Running(owner) => ("running", Some(owner.pid)),
            DaemonState::Dead => ("dead", None),
            DaemonState::Stale => ("stale", None),
        };
        let why = match &daemon.status.unreadable {
            _ if pid.is_some() && !answers.answers => {
                Some("it runs and does not answer".to_owned())
            }
            Some(why) => Some(format!("its journal cannot be read: {why}")),
            None => None,
        };
        Self {
            device: journal.map(|journal| journal.device.as_str()),
            why,
            prior_compute_mode: journal.and_then(|journal| journal.prior_compute_mode.as_deref()),
            kept: daemon.status.is_kept(),
            pipe: daemon.dir.pipe().display().to_string(),
            ..Self::base(daemon.dir.name().to_owned(), state, pid, &daemon.leases, answers)
        }
    }

    fn of_foreign(foreign: &'a ForeignDaemon, answers: &'a Answers) -> Self {
        let ForeignDaemon { daemon, leases } = foreign;
        let visible = daemon.visible.as_deref();
        let name = visible.map_or_else(|| "all devices".to_owned(), shown);
        Self {
            device: visible,
            pipe: daemon.pipe.display().to_string(),
            ..Self::base(name, "foreign", Some(daemon.pid), leases, answers)
        }
    }

    fn base(
        name: String,
        state: &'static str,
        pid: Option<i32>,
        leases: &'a [LeaseId],
        answers: &'a Answers,
    ) -> Self {
        Self {
            name,
            device: None,
            pid,
            state,
            why: None,
            leases,
            servers: &answers.servers,
            clients: answers.clients,
            active_thread_percentage: answers.active_thread_percentage.as_deref(),
            pinned_memory_limit: answers.pinned_memory_limit.as_deref(),
            prior_compute_mode: None,
            kept: false,
            pipe: String::new(),
        }
    }
}

/// A daemon that was started by hand.
#[derive(Debug, Serialize)]
pub struct MpsStarted<'a> {
    pub device: &'a DeviceId,
    pub pid: Option<i32>,
    pub pipe: &'a str,
    kept: bool,
}

impl<'a> MpsStarted<'a> {
    pub const fn of(daemon: &'a KeptDaemon) -> Self {
        let KeptDaemon { device, pid, pipe } = daemon;
        Self { device: &device.uuid, pid: *pid, pipe: pipe.as_str(), kept: true }
    }
}

/// The daemons that were stopped by hand.
#[derive(Debug, Serialize)]
pub struct MpsStopped<'a> {
    pub stopped: &'a [String],
    /// Whether that was to be done even if live leases use them.
    pub forced: bool,
}

/// The daemons that have ended for want of leases, and those that stay.
#[derive(Debug, Serialize)]
pub struct MpsReaped<'a> {
    pub ended: &'a [String],
    pub kept: &'a [String],
}

impl<'a> MpsReaped<'a> {
    pub const fn of(reaped: &'a Reaped) -> Self {
        Self { ended: reaped.ended.as_slice(), kept: reaped.kept.as_slice() }
    }
}
