//! Having a daemon for a lease: what a container's start asks for.

use super::daemon::{DaemonState, DaemonStatus, Tools, servers, tools};
use super::devices::foreign_daemon_of;
use super::directory::DaemonDir;
use super::leases::{is_cut_off, leases_of, named, refuse_unread, settled, share};
use super::limits::{self, ClientLimits, Share};
use super::log::trim;
use super::processes::{ControlDaemon, DeviceName};
use super::{failed, fault};
use crate::config::{ComputeMode, Config};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::{DeviceId, LeaseKey};
use crate::model::lease::{Attached, Lease, Owner};
use crate::model::text::shown;
use crate::store::Entry;
use crate::store::mps_journal::Journal;
use crate::sys::{failpoint, identity, proc};
use std::time::{Duration, Instant};

/// Has a daemon serve a lease, and says where. `key` is the name of the lease's file without its
/// `.json`, `nonce` the lease's own. Fails if there is no such lease, or no daemon for it.
pub fn attach(host: &Host, key: &str, nonce: &str) -> Result<Attached, Failure> {
    host.require_root("to start an MPS daemon")?;
    let lease = lease(host, key, nonce)?;
    let spec = spec(&lease)?;
    let config = host.config()?;
    let tools = tools(config, &host.paths)?;
    let dir = DaemonDir::new(&host.paths.run, &spec.daemon)?;
    let timeout = config.mps.start_timeout;
    let _lock = dir.lock(timeout, &host.paths)?;
    failpoint::hit("mps.locked");
    // Read with the lock held: a lease that is recorded later attaches later, and sets the limits
    // again.
    let swept = settled(host)?;
    if !spec.per_lease {
        refuse_unread(&swept, &spec.device)?;
    }
    let mut others = leases_of(&swept, &spec.daemon);
    others.retain(|other| other.id != lease.id);
    let until = Instant::now() + timeout;
    let daemon = LockedDaemon {
        host,
        config,
        tools: &tools,
        dir: &dir,
        spec: &spec,
        others: &others,
        until,
    };
    daemon.attach(daemon.limits(Some(&lease)))
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

/// A daemon that is to be there.
pub(super) struct DaemonSpec {
    /// Its name.
    pub(super) daemon: String,
    pub(super) device: DeviceId,
    pub(super) index: u32,
    pub(super) simulated: bool,
    pub(super) per_lease: bool,
    /// No process may get past the daemon, nor have more than its limits.
    pub(super) pinned: bool,
    /// The user whose processes its server serves.
    pub(super) uid: u32,
}

/// The daemon that a lease needs. Fails if the record contradicts itself.
fn spec(lease: &Lease) -> Result<DaemonSpec, Failure> {
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
    Ok(DaemonSpec {
        daemon: seat.daemon.clone(),
        device: device.uuid.clone(),
        index: device.index,
        simulated: device.simulated,
        per_lease,
        pinned: seat.pinned,
        uid: seat.uid,
    })
}

/// A daemon while its lock is held, and all that it is worked with.
pub(super) struct LockedDaemon<'a> {
    pub(super) host: &'a Host,
    pub(super) config: &'a Config,
    pub(super) tools: &'a Tools<'a>,
    pub(super) dir: &'a DaemonDir,
    pub(super) spec: &'a DaemonSpec,
    /// The other live leases that have a seat at this daemon.
    pub(super) others: &'a [&'a Lease],
    pub(super) until: Instant,
}

impl LockedDaemon<'_> {
    /// The limits for all leases that the daemon serves, and for `lease`, whether its holder is
    /// judged to live or not. Leases of a daemon that is gone cannot use the next one, and count
    /// for none of its limits.
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
        let mut status = DaemonStatus::of(self.dir, &self.host.paths);
        if let DaemonState::Running(owner) = &status.state {
            if self.is_usable(owner)? {
                return self.use_running(owner, &status, limits);
            }
            // A daemon that has ended while it was asked is dead, and does not hang.
            status = DaemonStatus::of(self.dir, &self.host.paths);
        }
        self.refuse_to_strand(&status.state)?;
        self.refuse_orphans()?;
        // A daemon of gpulease may have been started before the foreign one.
        if !self.spec.per_lease
            && !matches!(status.state, DaemonState::Running(_))
            && let Some(foreign) = self.foreign()?
        {
            // The remains of a daemon of gpulease must not be in its way.
            self.tools.stop(self.dir, &status)?;
            return self.adopt(&foreign);
        }
        self.start(&status, limits)
    }

    /// Takes the daemon that runs, and sets it these limits.
    fn use_running(
        &self,
        owner: &Owner,
        status: &DaemonStatus,
        limits: ClientLimits,
    ) -> Result<Attached, Failure> {
        let mut journal = self.journal_of(status)?;
        if journal.process.as_ref() != Some(owner) {
            journal.process = Some(owner.clone());
            journal.write(&self.dir.journal()).map_err(failed)?;
        }
        // nvidia-smi takes long. It is asked again only where a lease relies on the mode.
        if self.spec.pinned || journal.prior_compute_mode.is_none() {
            self.make_exclusive(&mut journal)?;
        }
        self.limit(limits)?;
        trim(self.dir);
        Ok(self.attached(owner.clone()))
    }

    /// Whether a daemon that runs can be used. A daemon that does not answer has to end. Fails if
    /// its mounts cannot be seen.
    fn is_usable(&self, owner: &Owner) -> Result<bool, Failure> {
        if !self.dir.has_pipe() || !self.dir.sees_mounts() {
            return Err(fault(format!(
                "the MPS daemon of {} runs, process {}, and its mounts below `{}` are not seen \
                 from here",
                self.spec.daemon,
                owner.pid,
                self.dir.path().display()
            ))
            .hint(
                "start all containers in one mount namespace (`MountFlags` and `PrivateMounts` of \
                 the engine's unit); `gpulease mps stop --force` there ends it",
            ));
        }
        let now = Instant::now();
        let half = now + self.until.saturating_duration_since(now) / 2;
        Ok(self.tools.await_answer(self.dir, owner, half).is_ok())
    }

    /// Refuses a new daemon where leases were attached to the old one. Their containers could not
    /// use the new one, and were promised limits of the old one. Any of these containers may have
    /// made the daemon hang, and none of them may end the others' work by that.
    fn refuse_to_strand(&self, state: &DaemonState) -> Result<(), Failure> {
        let DaemonSpec { daemon, .. } = self.spec;
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
                "stop the containers; or `gpulease mps stop {daemon} --force`: their computing \
                 fails, and the next start has a new daemon"
            )))
    }

    /// Refuses a new daemon while clients compute by a server of the old one: no limit can be set
    /// for that server any more.
    fn refuse_orphans(&self) -> Result<(), Failure> {
        let servers = servers(self.dir, &self.host.paths);
        let Some(pid) = servers.first() else { return Ok(()) };
        Err(fault(format!(
            "the MPS daemon of {} is gone or does not answer, and its server, process {pid}, still \
             has clients",
            self.spec.daemon
        ))
        .hint(format!(
            "stop the containers that use it, or end it with them: `gpulease mps stop {} --force`",
            self.spec.daemon
        )))
    }

    /// The daemon of another owner that serves the device. Fails if there is one that no container
    /// could use.
    fn foreign(&self) -> Result<Option<ControlDaemon>, Failure> {
        let DaemonSpec { device, index, simulated, .. } = self.spec;
        let name = DeviceName { uuid: device, index: *index, simulated: *simulated };
        let Some(foreign) = foreign_daemon_of(self.host, &name) else { return Ok(None) };
        let why = match foreign.is_reachable(&self.host.paths) {
            Ok(()) if self.tools.client(&foreign.pipe, self.answer_by()).answers() => {
                return Ok(Some(foreign));
            }
            Ok(()) => "it does not answer".to_owned(),
            Err(why) => why,
        };
        // A simulated device can be served by several daemons.
        if *simulated {
            return Ok(None);
        }
        Err(fault(format!(
            "another MPS daemon, process {}, serves {device}, and cannot be used: {why}",
            foreign.pid
        ))
        .hint("stop it: gpulease starts its own"))
    }

    fn answer_by(&self) -> Instant {
        let now = Instant::now();
        now + (self.until.saturating_duration_since(now) / 2).min(Duration::from_secs(2))
    }

    fn adopt(&self, foreign: &ControlDaemon) -> Result<Attached, Failure> {
        if self.spec.pinned {
            return Err(fault(format!(
                "{} is served by another MPS daemon, process {}, whose limits are not gpulease's to set",
                self.spec.device, foreign.pid
            ))
            .hint("stop that daemon, or ask without `gpulease/enforcement=required`"));
        }
        let pipe = foreign.pipe.display().to_string();
        let process = proc::describe(foreign.pid, &self.host.paths).map_err(failed)?;
        Ok(Attached { pipe, shm: None, adopted: true, process })
    }

    fn attached(&self, process: Owner) -> Attached {
        let text = |path: std::path::PathBuf| path.display().to_string();
        let shm = Some(text(self.dir.shm()));
        Attached { pipe: text(self.dir.pipe()), shm, adopted: false, process }
    }

    /// The journal, or a new one where there is none of this boot that can be read.
    fn journal_of(&self, status: &DaemonStatus) -> Result<Journal, Failure> {
        if let Some(journal) = &status.journal {
            return Ok(journal.clone());
        }
        let boot_id = identity::boot_id(&self.host.paths).map_err(failed)?;
        let new = Journal::new(self.spec.device.clone(), boot_id);
        let DaemonSpec { simulated, per_lease, .. } = *self.spec;
        Ok(Journal { simulated, per_lease, ..new })
    }

    fn start(&self, status: &DaemonStatus, limits: ClientLimits) -> Result<Attached, Failure> {
        let mut journal = self.journal_of(status)?;
        let started = self.end_hanging(status).and_then(|()| {
            // Ending a daemon that hangs has used up time that the new one needs to start.
            let until = Instant::now() + self.config.mps.start_timeout;
            let fresh = LockedDaemon { until, ..*self };
            fresh.make_exclusive(&mut journal)?;
            let owner = fresh.tools.start(fresh.dir, &mut journal, fresh.until)?;
            fresh.limit(limits)?;
            failpoint::hit("mps.limited");
            Ok(fresh.attached(owner))
        });
        started.map_err(|fault| {
            let now = DaemonStatus::of(self.dir, &self.host.paths);
            // On a full disk the journal may not have been written. Its content is known here.
            let undo = DaemonStatus { journal: Some(journal), ..now };
            fault.then(self.tools.stop(self.dir, &undo).err())
        })
    }

    /// Ends a daemon that does not answer. The compute mode stays, for the next daemon.
    fn end_hanging(&self, status: &DaemonStatus) -> Result<(), Failure> {
        match &status.state {
            DaemonState::Running(owner) => self.tools.end(self.dir, owner),
            DaemonState::Dead | DaemonState::Stale => Ok(()),
        }
    }

    /// Sets the GPU's compute mode, where the configuration says so.
    fn make_exclusive(&self, journal: &mut Journal) -> Result<(), Failure> {
        let is_configured = self.config.mps.compute_mode == ComputeMode::ExclusiveProcess;
        if !is_configured || self.spec.per_lease || self.spec.simulated {
            return Ok(());
        }
        match self.tools.make_exclusive(self.dir, journal) {
            // No lease was promised that the limits hold.
            Err(_) if !self.spec.pinned => Ok(()),
            done => done,
        }
    }

    /// Sets the limits. A daemon has no server until its first client comes, and a GPU that is open
    /// to one process only is open to the first one that comes. Where the limits are promised, that
    /// has to be the server.
    fn limit(&self, limits: ClientLimits) -> Result<(), Failure> {
        let pipe = self.dir.pipe();
        let client = self.tools.client(&pipe, self.until);
        limits::set(&client, limits)?;
        if !self.spec.pinned || self.spec.per_lease || self.spec.simulated {
            return Ok(());
        }
        self.tools.have_server(self.dir, &client, self.spec.uid)?;
        limits::set(&client, limits)
    }
}
