//! One daemon: what is there of it, starting it and ending it.

use super::control::ControlClient;
use super::directory::DaemonDir;
use super::log::last_words;
pub use super::log::trim as trim_log;
use super::processes::{self, ForeignDaemon};
use super::{cgroup, compute_mode, failed, fault};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::facilities::{facilities, program};
use crate::model::id::DeviceId;
use crate::model::lease::Owner;
use crate::model::text::shown_line;
use crate::model::variables::{CUDA_VISIBLE, MPS_LOG, MPS_PIPE};
use crate::paths::Paths;
use crate::store::mps_journal::Journal;
use crate::sys::checked::check_program;
use crate::sys::detached::{self, Daemon as Detached};
use crate::sys::proc::{self, Life};
use crate::sys::{failpoint, identity};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon may take to end by itself once it was told to.
const QUITTING: Duration = Duration::from_secs(3);
/// How long it may take when it was asked by a signal.
const GIVING_UP: Duration = Duration::from_millis(500);
/// How long a process may take to be gone when it was killed.
const DYING: Duration = Duration::from_secs(2);

/// What daemons are worked with.
#[derive(Debug, Clone)]
pub struct Tools<'a> {
    pub paths: &'a Paths,
    pub control: PathBuf,
    /// `nvidia-smi`, if there is one.
    pub smi: Option<PathBuf>,
}

/// The tools that the configuration names or this host has. Fails if there is no control program.
pub fn tools<'a>(config: &Config, paths: &'a Paths) -> Result<Tools<'a>, Failure> {
    let mps = facilities(config, paths).mps.map_err(|why| {
        fault(why).hint("`mps.control` in the configuration says where the program is")
    })?;
    Ok(Tools { paths, control: mps.control, smi: program("nvidia-smi", config) })
}

/// The same for whoever only ends what is there, which needs no control program.
pub fn tools_to_end<'a>(config: &Config, paths: &'a Paths) -> Tools<'a> {
    tools(config, paths).unwrap_or_else(|_| Tools {
        paths,
        control: config.mps.control.clone().unwrap_or_default(),
        smi: program("nvidia-smi", config),
    })
}

/// What is there of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonState {
    /// Nothing, or nothing that is true since the last boot.
    Stale,
    /// Its control daemon was started, and is gone.
    Dead,
    /// Its control daemon runs.
    Running(Owner),
}

/// A daemon as it was found.
#[derive(Debug, Clone)]
pub struct DaemonStatus {
    /// Its journal, if one of this boot can be read.
    pub journal: Option<Journal>,
    /// Why it cannot be read.
    pub garbage: Option<String>,
    pub state: DaemonState,
}

/// Looks at what is there. A daemon whose starter was killed before it could say so is found
/// by its pipe directory.
pub fn look(place: &DaemonDir, paths: &Paths) -> DaemonStatus {
    let (journal, garbage) = match Journal::read(&place.journal()) {
        Ok(journal) => (journal, None),
        Err(why) => (None, Some(why)),
    };
    let boot_id = identity::boot_id(paths).ok();
    let journal = journal.filter(|journal| boot_id.as_ref() == Some(&journal.boot_id));
    let process = journal.as_ref().and_then(|journal| journal.process.clone());
    let is_alive = |owner: &Owner| proc::life(owner, paths) == Life::Alive;
    let state = match process {
        Some(owner) if is_alive(&owner) => DaemonState::Running(owner),
        was => match unrecorded(place, paths) {
            Some(owner) => DaemonState::Running(owner),
            None if was.is_some() => DaemonState::Dead,
            None => DaemonState::Stale,
        },
    };
    DaemonStatus { journal, garbage, state }
}

/// A control daemon of root's on this pipe directory.
fn unrecorded(place: &DaemonDir, paths: &Paths) -> Option<Owner> {
    let pipe = place.pipe();
    let is_it = |control: &ForeignDaemon| control.pipe == pipe;
    let control = processes::controls(paths).into_iter().find(is_it)?;
    proc::describe(control.pid, paths).ok()
}

/// Servers of a daemon, which may have outlived it: in its cgroup, or in the mount namespace that it
/// was started with. Nobody but root can put a process into either, whatever that says of itself.
pub fn servers(place: &DaemonDir, paths: &Paths) -> Vec<i32> {
    let journal = Journal::read(&place.journal()).ok().flatten();
    let namespace = journal.and_then(|journal| journal.mount_namespace);
    let is_in = |pid| namespace.is_some() && processes::mount_namespace(pid, paths) == namespace;
    let found = processes::servers(paths).into_iter();
    found.filter(|pid| cgroup::has(place.name(), *pid, paths) || is_in(*pid)).collect()
}

impl Tools<'_> {
    /// The front end of a daemon, with this much time.
    pub fn front<'a>(&'a self, pipe: &'a Path, until: Instant) -> ControlClient<'a> {
        ControlClient { control: &self.control, pipe, until }
    }

    /// Starts the daemon of a journal, which says what was done as far as it was done. Whatever
    /// fails leaves that to [`Self::stop`]. The error names the step.
    pub fn start(
        &self,
        place: &DaemonDir,
        journal: &mut Journal,
        until: Instant,
    ) -> Result<Owner, Failure> {
        check_program(&self.control).map_err(failed)?;
        place.make()?;
        (journal.process, journal.mount_namespace) = (None, None);
        journal.write(&place.journal()).map_err(failed)?;
        failpoint::hit("mps.journalled");
        place.create_dirs()?;
        failpoint::hit("mps.furnished");
        let cgroups = cgroup::make(place.name(), self.paths);
        failpoint::hit("mps.cgroups");
        let (pipe, log) = (place.pipe(), place.log());
        let device = journal.device.clone();
        let daemon = Detached {
            program: &self.control,
            // In the foreground: then it is this very process, and no other that has to be found.
            args: &["-f"],
            variables: &[
                (MPS_PIPE, pipe.as_os_str()),
                (MPS_LOG, log.as_os_str()),
                (CUDA_VISIBLE, OsStr::new(device.as_str())),
            ],
            shm: &place.shm(),
            log: &log.join("control.log"),
            cgroups: &cgroups,
        };
        let child = detached::spawn(&daemon).map_err(failed)?;
        failpoint::hit("mps.spawned");
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let owner = proc::describe(pid, self.paths).map_err(failed)?;
        journal.process = Some(owner.clone());
        journal.mount_namespace = processes::mount_namespace(pid, self.paths);
        journal.write(&place.journal()).map_err(failed)?;
        failpoint::hit("mps.recorded");
        self.await_answer(place, &owner, until)?;
        failpoint::hit("mps.ready");
        Ok(owner)
    }

    /// Waits until the daemon answers. Fails if it ends, or the time is over.
    pub fn await_answer(
        &self,
        place: &DaemonDir,
        owner: &Owner,
        until: Instant,
    ) -> Result<(), Failure> {
        let pipe = place.pipe();
        let is_line = |line: &str| !line.trim().is_empty();
        loop {
            let now = Instant::now();
            // Half of what is left, and not for long: one that is just binding its socket may leave
            // a front end waiting.
            let patience = (until.saturating_duration_since(now) / 2).min(Duration::from_secs(2));
            if pipe.join("control").exists() && self.front(&pipe, now + patience).answers() {
                return Ok(());
            }
            if proc::life(owner, self.paths) == Life::Gone {
                let message = format!("the MPS daemon has ended{}", last_words(place, is_line));
                return Err(fault(message).hint(format!(
                    "see whether `{}` is nvidia-cuda-mps-control and fits the driver: `mps.control` \
                     in the configuration names another",
                    self.control.display()
                )));
            }
            if Instant::now() >= until {
                return Err(fault(format!(
                    "the MPS daemon does not answer{}",
                    last_words(place, is_line)
                ))
                .hint("`mps.start_timeout` says how long it may take"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends a daemon and its servers and takes back all that was done for it. What is not there is
    /// as good; a step that fails does not keep from the next ones, and its journal stays for
    /// whoever tries again. Fails: the first step that failed.
    pub fn stop(&self, place: &DaemonDir, seen: &DaemonStatus) -> Result<(), Failure> {
        failpoint::hit("mps.stop.begun");
        if let DaemonState::Running(owner) = &seen.state {
            self.end(place, owner)?;
        }
        failpoint::hit("mps.stop.quit");
        self.end_servers(place)?;
        let restored = self.restore(seen.journal.as_ref());
        failpoint::hit("mps.stop.restored");
        cgroup::remove(place.name(), self.paths);
        if let Err(fault) = restored {
            return Err(fault.then(place.clear().err()));
        }
        place.remove()
    }

    /// Asks it to quit, and no longer asks if it does not. Fails if it is not even gone
    /// when it was killed.
    pub fn end(&self, place: &DaemonDir, owner: &Owner) -> Result<(), Failure> {
        if check_program(&self.control).is_ok() {
            // A daemon that hangs does not answer, and is killed below.
            let _ = self.front(&place.pipe(), Instant::now() + QUITTING).say("quit");
        }
        let gone = |patience| proc::life_after(owner, patience, self.paths) == Life::Gone;
        if gone(QUITTING) {
            return Ok(());
        }
        for (signal, patience) in [(Signal::SIGTERM, GIVING_UP), (Signal::SIGKILL, DYING)] {
            // That it did not help is seen.
            let _ = proc::signal(owner, signal, self.paths);
            if gone(patience) {
                return Ok(());
            }
        }
        Err(fault(format!("the MPS daemon, process {}, does not end", owner.pid)))
    }

    fn end_servers(&self, place: &DaemonDir) -> Result<(), Failure> {
        for pid in servers(place, self.paths) {
            let Ok(owner) = proc::describe(pid, self.paths) else { continue };
            // A server's own words may have changed since it was found: it is looked at again.
            if !servers(place, self.paths).contains(&pid) {
                continue;
            }
            let _ = proc::signal(&owner, Signal::SIGKILL, self.paths);
            if proc::life_after(&owner, DYING, self.paths) != Life::Gone {
                return Err(fault(format!("the MPS server, process {pid}, does not end")));
            }
        }
        Ok(())
    }

    /// Closes the GPU to all but the MPS server, noting what it was before the first time. Fails if
    /// there is no `nvidia-smi`, it fails, or the mode is another one afterwards.
    pub fn close(&self, place: &DaemonDir, journal: &mut Journal) -> Result<(), Failure> {
        let Some(smi) = &self.smi else {
            return Err(fault("nvidia-smi, which sets the compute mode, is not installed"));
        };
        // Somebody may have set another one since.
        let now = compute_mode::read(smi, &journal.device)?;
        if journal.prior_compute_mode.is_none() {
            journal.prior_compute_mode = Some(now.to_owned());
            place.make()?;
            journal.write(&place.journal()).map_err(failed)?;
        }
        failpoint::hit("mps.mode-journalled");
        if now == compute_mode::EXCLUSIVE {
            return Ok(());
        }
        // A program that fails, or is killed because it takes too long, may have set it: what was
        // before stays in the journal.
        compute_mode::set(smi, &journal.device, compute_mode::EXCLUSIVE)?;
        failpoint::hit("mps.mode-set");
        match compute_mode::read(smi, &journal.device)? {
            compute_mode::EXCLUSIVE => Ok(()),
            other => Err(fault(format!(
                "nvidia-smi has set the compute mode of {} to {}, and it is {other}",
                journal.device,
                compute_mode::EXCLUSIVE
            ))),
        }
    }

    fn restore(&self, journal: Option<&Journal>) -> Result<(), Failure> {
        let Some((device, mode)) = journal
            .and_then(|journal| Some((&journal.device, journal.prior_compute_mode.as_deref()?)))
        else {
            return Ok(());
        };
        let Some(smi) = &self.smi else {
            return Err(left_closed(device, mode, "nvidia-smi is not installed any more"));
        };
        // Another one is somebody's own will, or it was never set.
        if compute_mode::read(smi, device).is_ok_and(|now| now != compute_mode::EXCLUSIVE) {
            return Ok(());
        }
        compute_mode::set(smi, device, mode)
            .map_err(|fault| left_closed(device, mode, &fault.message))
    }
}

fn left_closed(device: &DeviceId, mode: &str, why: &str) -> Failure {
    fault(format!("the compute mode of {device} is still {}: {why}", compute_mode::EXCLUSIVE)).hint(
        format!("`nvidia-smi -i {device} -c {}`, then `gpulease mps reap --now`", shown_line(mode)),
    )
}
