//! `gpulease mps attach`: what a container's start does to have a daemon for its lease.

use super::{foreign_of, is_cut_off, leases_of, named, refuse_unread, settled, share};
use crate::cli::output::Answer;
use crate::config::{ComputeMode, Config};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::{DeviceId, LeaseKey};
use crate::model::lease::{Lease, Owner};
use crate::model::text::shown;
use crate::mps::Attached;
use crate::mps::daemon::tools;
use crate::mps::daemon::{self, DaemonState, DaemonStatus, Tools, trim_log};
use crate::mps::directory::DaemonDir;
use crate::mps::limits::{self, ClientLimits, Share};
use crate::mps::processes::{DeviceName, ForeignDaemon};
use crate::mps::{failed, fault};
use crate::store::Entry;
use crate::store::mps_journal::Journal;
use crate::sys::{failpoint, identity, proc};
use std::time::{Duration, Instant};

pub(super) fn attach(host: &Host, key: &str, nonce: &str) -> Result<Answer, Failure> {
    host.require_root("to start an MPS daemon")?;
    let lease = lease(host, key, nonce)?;
    let order = order(&lease)?;
    let config = host.config()?;
    let tools = tools(config, &host.paths)?;
    let place = DaemonDir::new(&host.paths.run, &order.daemon)?;
    let timeout = config.mps.start_timeout;
    let _lock = place.lock(timeout, &host.paths)?;
    failpoint::hit("mps.locked");
    // Under the lock: whoever is recorded later attaches later, and sets the limits again.
    let swept = settled(host)?;
    if !order.per_lease {
        refuse_unread(&swept, &order.device)?;
    }
    let mut others = leases_of(&swept, &order.daemon);
    others.retain(|other| other.id != lease.id);
    let until = Instant::now() + timeout;
    let work =
        Work { host, config, tools: &tools, place: &place, order: &order, others: &others, until };
    let attached = work.attach(work.limits(Some(&lease)))?;
    let json = serde_json::to_value(&attached).unwrap_or_default();
    Ok(Answer::new(format!("{json}\n"), json))
}

/// The lease as its start has recorded it.
fn lease(host: &Host, key: &str, nonce: &str) -> Result<Lease, Failure> {
    let bad = || {
        let message = format!("`{}` is no key of a lease", shown(key));
        Failure::new(Code::BadRequest, message)
    };
    let key = LeaseKey::from_file_stem(key).ok_or_else(bad)?;
    match host.store().entry(&key)? {
        Some(Entry::Lease(lease)) if lease.nonce.as_str() == nonce => Ok(*lease),
        Some(Entry::Corrupt(corrupt)) => Err(crate::claim::error::corrupt(&corrupt)),
        _ => Err(Failure::new(
            Code::StaleHook,
            format!(
                "the lease of container {} is gone, or of a later start",
                shown(key.container_id.as_str())
            ),
        )),
    }
}

pub(super) struct Order {
    pub(super) daemon: String,
    pub(super) device: DeviceId,
    pub(super) index: u32,
    pub(super) simulated: bool,
    pub(super) per_lease: bool,
    /// Nobody may get past the daemon, nor have more than its limits.
    pub(super) pinned: bool,
    /// Whose processes its server serves.
    pub(super) uid: u32,
}

fn order(lease: &Lease) -> Result<Order, Failure> {
    let Some(seat) = &lease.mps else {
        return Err(fault(format!("lease {} has no place at an MPS daemon", lease.id)));
    };
    let [device] = lease.devices.as_slice() else {
        let count = lease.devices.len();
        return Err(fault(format!("lease {} has {count} devices, and MPS serves one", lease.id)));
    };
    let per_lease = seat.daemon == lease.id.as_str();
    if !per_lease && seat.daemon != device.uuid.as_str() {
        let name = shown(&seat.daemon);
        return Err(fault(format!(
            "lease {} has an MPS daemon of a strange name, `{name}`",
            lease.id
        )));
    }
    Ok(Order {
        daemon: seat.daemon.clone(),
        device: device.uuid.clone(),
        index: device.index,
        simulated: device.simulated,
        per_lease,
        pinned: seat.pinned,
        uid: seat.uid,
    })
}

/// While the daemon's lock is held.
pub(super) struct Work<'a> {
    pub(super) host: &'a Host,
    pub(super) config: &'a Config,
    pub(super) tools: &'a Tools<'a>,
    pub(super) place: &'a DaemonDir,
    pub(super) order: &'a Order,
    /// The other live leases that have a place at this daemon.
    pub(super) others: &'a [&'a Lease],
    pub(super) until: Instant,
}

impl Work<'_> {
    /// For all who are served by the daemon, the lease among them whatever is thought of its holder.
    /// Those of a daemon that is gone do not come to the next one, and set it no limits.
    pub(super) fn limits(&self, lease: Option<&Lease>) -> ClientLimits {
        let shares: Vec<Share> = self.served().into_iter().chain(lease).filter_map(share).collect();
        limits::for_all(&shares)
    }

    /// The others whose daemon is not known to be gone.
    fn served(&self) -> Vec<&Lease> {
        let paths = &self.host.paths;
        self.others.iter().copied().filter(|lease| !is_cut_off(lease, paths)).collect()
    }

    /// Has a daemon with these limits: the one that runs, or a new one.
    pub(super) fn attach(&self, limits: ClientLimits) -> Result<Attached, Failure> {
        let seen = daemon::look(self.place, &self.host.paths);
        if let DaemonState::Running(owner) = &seen.state
            && self.is_well(owner)?
        {
            let mut journal = self.journal_of(&seen)?;
            if journal.process.as_ref() != Some(owner) {
                journal.process = Some(owner.clone());
                journal.write(&self.place.journal()).map_err(failed)?;
            }
            // Asking takes long, and is for those who are promised something.
            if self.order.pinned || journal.prior_compute_mode.is_none() {
                self.close(&mut journal)?;
            }
            self.limit(limits)?;
            trim_log(self.place);
            return Ok(self.ours(owner.clone()));
        }
        self.refuse_to_strand(&seen.state)?;
        self.refuse_orphans()?;
        // One of ours may have been started before the other one was.
        if !self.order.per_lease
            && !matches!(seen.state, DaemonState::Running(_))
            && let Some(control) = self.foreign()?
        {
            // What a daemon of ours has left is not to be in its way.
            self.tools.stop(self.place, &seen)?;
            return self.adopt(&control);
        }
        self.start(&seen, limits)
    }

    /// Whether a daemon that runs can be used. One that does not answer cannot, and has to go.
    fn is_well(&self, owner: &Owner) -> Result<bool, Failure> {
        if !self.place.has_pipe() || !self.place.sees_mounts() {
            let dir = self.place.dir();
            return Err(fault(format!(
                "the MPS daemon of {} runs, process {}, and what it has mounted below `{}` is not \
                 seen from here",
                self.order.daemon,
                owner.pid,
                dir.display()
            ))
            .hint(
                "start all containers in one mount namespace (`MountFlags` and `PrivateMounts` of \
                 the engine's unit); `gpulease mps stop --force` there ends it",
            ));
        }
        let now = Instant::now();
        let half = now + self.until.saturating_duration_since(now) / 2;
        Ok(self.tools.await_answer(self.place, owner, half).is_ok())
    }

    /// A new daemon in the place of one that others have: none of them would come to it, and what
    /// they are promised is said of the old one. Any of their containers might have brought this
    /// about, and none of them is to end the others' work by it.
    fn refuse_to_strand(&self, state: &DaemonState) -> Result<(), Failure> {
        let Order { daemon, .. } = self.order;
        let (how, users) = match state {
            DaemonState::Running(owner) => {
                (format!(", process {}, does not answer", owner.pid), self.served())
            }
            DaemonState::Dead => {
                let is_cut_off = |lease: &&Lease| is_cut_off(lease, &self.host.paths);
                (" is gone".to_owned(), self.others.iter().copied().filter(is_cut_off).collect())
            }
            DaemonState::Stale => return Ok(()),
        };
        if users.is_empty() {
            return Ok(());
        }
        Err(fault(format!("the MPS daemon of {daemon}{how}, and is used by {}", named(&users)))
            .hint(format!(
                "stop the containers; or `gpulease mps stop {daemon} --force`: what computes by it \
             fails, and the next start has a new one"
            )))
    }

    /// Clients compute by servers that nobody can set limits any more.
    fn refuse_orphans(&self) -> Result<(), Failure> {
        let servers = daemon::servers(self.place, &self.host.paths);
        let Some(pid) = servers.first() else { return Ok(()) };
        Err(fault(format!(
            "the MPS daemon of {} is gone or does not answer, and its server, process {pid}, still \
             has clients",
            self.order.daemon
        ))
        .hint(format!(
            "stop the containers that use it, or end it with them: `gpulease mps stop {} --force`",
            self.order.daemon
        )))
    }

    fn foreign(&self) -> Result<Option<ForeignDaemon>, Failure> {
        let Order { device, index, simulated, .. } = self.order;
        let target = DeviceName { uuid: device, index: *index, simulated: *simulated };
        let Some(control) = foreign_of(self.host, &target) else { return Ok(None) };
        let why = match control.is_reachable(&self.host.paths) {
            Ok(()) if self.tools.front(&control.pipe, self.answer_by()).answers() => {
                return Ok(Some(control));
            }
            Ok(()) => "it does not answer".to_owned(),
            Err(why) => why,
        };
        // Of a device that does not exist nothing is in its way.
        if *simulated {
            return Ok(None);
        }
        Err(fault(format!(
            "another MPS daemon, process {}, serves {device}, and cannot be used: {why}",
            control.pid
        ))
        .hint("stop it: gpulease starts its own"))
    }

    fn answer_by(&self) -> Instant {
        let now = Instant::now();
        now + (self.until.saturating_duration_since(now) / 2).min(Duration::from_secs(2))
    }

    fn adopt(&self, control: &ForeignDaemon) -> Result<Attached, Failure> {
        if self.order.pinned {
            return Err(fault(format!(
                "{} is served by another MPS daemon, process {}, whose limits are not gpulease's to set",
                self.order.device, control.pid
            ))
            .hint("stop that daemon, or ask without `gpulease/enforcement=required`"));
        }
        let pipe = control.pipe.display().to_string();
        let process = proc::describe(control.pid, &self.host.paths).map_err(failed)?;
        Ok(Attached { pipe, shm: None, adopted: true, process })
    }

    fn ours(&self, process: Owner) -> Attached {
        let text = |path: std::path::PathBuf| path.display().to_string();
        let shm = Some(text(self.place.shm()));
        Attached { pipe: text(self.place.pipe()), shm, adopted: false, process }
    }

    /// The journal, or a new one where there is none that can be used.
    fn journal_of(&self, seen: &DaemonStatus) -> Result<Journal, Failure> {
        if let Some(journal) = &seen.journal {
            return Ok(journal.clone());
        }
        let boot_id = identity::boot_id(&self.host.paths).map_err(failed)?;
        let new = Journal::new(self.order.device.clone(), boot_id);
        let Order { simulated, per_lease, .. } = *self.order;
        Ok(Journal { simulated, per_lease, ..new })
    }

    fn start(&self, seen: &DaemonStatus, limits: ClientLimits) -> Result<Attached, Failure> {
        let mut journal = self.journal_of(seen)?;
        let started = self.end_hanging(seen).and_then(|()| {
            // What hung has taken the time in which the next one has to start.
            let until = Instant::now() + self.config.mps.start_timeout;
            let fresh = Work { until, ..*self };
            fresh.close(&mut journal)?;
            let owner = fresh.tools.start(fresh.place, &mut journal, fresh.until)?;
            fresh.limit(limits)?;
            failpoint::hit("mps.limited");
            Ok(fresh.ours(owner))
        });
        started.map_err(|fault| {
            let now = daemon::look(self.place, &self.host.paths);
            // The journal may not have been written, on a full disk: what it said is known here.
            let undo = DaemonStatus { journal: Some(journal), ..now };
            fault.then(self.tools.stop(self.place, &undo).err())
        })
    }

    /// What does not answer makes room; the compute mode stays, for the next one.
    fn end_hanging(&self, seen: &DaemonStatus) -> Result<(), Failure> {
        match &seen.state {
            DaemonState::Running(owner) => self.tools.end(self.place, owner),
            DaemonState::Dead | DaemonState::Stale => Ok(()),
        }
    }

    fn close(&self, journal: &mut Journal) -> Result<(), Failure> {
        let is_wanted = self.config.mps.compute_mode == ComputeMode::ExclusiveProcess;
        if !is_wanted || self.order.per_lease || self.order.simulated {
            return Ok(());
        }
        match self.tools.close(self.place, journal) {
            // A limit that nobody was promised.
            Err(_) if !self.order.pinned => Ok(()),
            closed => closed,
        }
    }

    /// Until the first client there is no server, and a GPU that is closed to all but one process is
    /// open to the first: that has to be the server, with the limits, where they are promised.
    fn limit(&self, limits: ClientLimits) -> Result<(), Failure> {
        let pipe = self.place.pipe();
        let front = self.tools.front(&pipe, self.until);
        limits::set(&front, limits)?;
        if !self.order.pinned || self.order.per_lease || self.order.simulated {
            return Ok(());
        }
        self.tools.serve(self.place, &front, self.order.uid)?;
        limits::set(&front, limits)
    }
}
