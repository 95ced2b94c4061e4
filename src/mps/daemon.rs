//! The process of one daemon: how it stands with it, starting it, waiting for it and ending it.

use super::control::ControlClient;
use super::directory::DaemonDir;
use super::log::last_words;
use super::processes::{self, ControlDaemon};
use super::{cgroup, failed, fault};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::facilities::{facilities, program};
use crate::model::lease::Owner;
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

/// The most time that a daemon has to end by itself after the command `quit`.
const QUITTING: Duration = Duration::from_secs(3);
/// The most time that it has to end after `SIGTERM`.
const TERMINATING: Duration = Duration::from_millis(500);
/// The most time that a process has to be gone after `SIGKILL`.
const DYING: Duration = Duration::from_secs(2);

/// NVIDIA's programs, by which daemons are worked with.
#[derive(Debug, Clone)]
pub struct Tools<'a> {
    pub paths: &'a Paths,
    /// `nvidia-cuda-mps-control`.
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

/// The same to end a daemon, for which the control program may be missing.
pub fn tools_to_end<'a>(config: &Config, paths: &'a Paths) -> Tools<'a> {
    tools(config, paths).unwrap_or_else(|_| Tools {
        paths,
        control: config.mps.control.clone().unwrap_or_default(),
        smi: program("nvidia-smi", config),
    })
}

/// Whether a daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonState {
    /// It was never started, or before the last boot.
    Stale,
    /// Its control daemon was started, and is gone.
    Dead,
    /// Its control daemon runs.
    Running(Owner),
}

/// How it stands with a daemon. Read without its lock, and without asking it.
#[derive(Debug, Clone)]
pub struct DaemonStatus {
    /// Its journal, if there is one of this boot that can be read.
    pub journal: Option<Journal>,
    /// Why its journal cannot be read.
    pub unreadable: Option<String>,
    pub state: DaemonState,
}

impl DaemonStatus {
    /// A daemon whose starter was killed before it could record the process is found by its pipe
    /// directory.
    pub fn of(dir: &DaemonDir, paths: &Paths) -> Self {
        let (journal, unreadable) = match Journal::read(&dir.journal()) {
            Ok(journal) => (journal, None),
            Err(why) => (None, Some(why)),
        };
        let boot_id = identity::boot_id(paths).ok();
        let journal = journal.filter(|journal| boot_id.as_ref() == Some(&journal.boot_id));
        let process = journal.as_ref().and_then(|journal| journal.process.clone());
        let is_alive = |owner: &Owner| proc::life(owner, paths) == Life::Alive;
        let state = match process {
            Some(owner) if is_alive(&owner) => DaemonState::Running(owner),
            recorded => match unrecorded(dir, paths) {
                Some(owner) => DaemonState::Running(owner),
                None if recorded.is_some() => DaemonState::Dead,
                None => DaemonState::Stale,
            },
        };
        Self { journal, unreadable, state }
    }

    /// Whether an administrator started it, so that it stays without leases.
    pub fn is_kept(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.kept)
    }
}

/// A control daemon of root's with this pipe directory.
fn unrecorded(dir: &DaemonDir, paths: &Paths) -> Option<Owner> {
    let pipe = dir.pipe();
    let is_it = |daemon: &ControlDaemon| daemon.pipe == pipe;
    let daemon = processes::control_daemons(paths).into_iter().find(is_it)?;
    proc::describe(daemon.pid, paths).ok()
}

/// Whether a daemon serves this device.
pub fn serves(dir: &DaemonDir, device: &str, paths: &Paths) -> bool {
    let journal = DaemonStatus::of(dir, paths).journal;
    dir.name() == device || journal.is_some_and(|journal| journal.device.as_str() == device)
}

/// Servers of a daemon, which may have outlived it: in its cgroup, or in the mount namespace that it
/// was started with. Only root can put a process into either, so a process cannot pretend to be one.
pub fn servers(dir: &DaemonDir, paths: &Paths) -> Vec<i32> {
    let journal = Journal::read(&dir.journal()).ok().flatten();
    let namespace = journal.and_then(|journal| journal.mount_namespace);
    let is_in = |pid| namespace.is_some() && processes::mount_namespace(pid, paths) == namespace;
    let found = processes::servers(paths).into_iter();
    found.filter(|pid| cgroup::has(dir.name(), *pid, paths) || is_in(*pid)).collect()
}

impl Tools<'_> {
    /// The client of the daemon with this pipe directory, for as long as `until`.
    pub fn client<'a>(&'a self, pipe: &'a Path, until: Instant) -> ControlClient<'a> {
        ControlClient { program: &self.control, pipe, until }
    }

    /// Starts the daemon of a journal, and records in it all that is done. On a failure the caller
    /// has to undo that by [`Self::stop`]. The error names the step.
    pub fn start(
        &self,
        dir: &DaemonDir,
        journal: &mut Journal,
        until: Instant,
    ) -> Result<Owner, Failure> {
        check_program(&self.control).map_err(failed)?;
        dir.make()?;
        (journal.process, journal.mount_namespace) = (None, None);
        journal.write(&dir.journal()).map_err(failed)?;
        failpoint::hit("mps.journalled");
        dir.create_dirs()?;
        failpoint::hit("mps.dirs-made");
        let cgroups = cgroup::make(dir.name(), self.paths);
        failpoint::hit("mps.cgroups");
        let (pipe, log) = (dir.pipe(), dir.log());
        let device = journal.device.clone();
        let daemon = Detached {
            program: &self.control,
            // In the foreground: then the daemon is this very process, and need not be looked for.
            args: &["-f"],
            variables: &[
                (MPS_PIPE, pipe.as_os_str()),
                (MPS_LOG, log.as_os_str()),
                (CUDA_VISIBLE, OsStr::new(device.as_str())),
            ],
            shm: &dir.shm(),
            log: &dir.log_file(),
            cgroups: &cgroups,
        };
        let child = detached::spawn(&daemon).map_err(failed)?;
        failpoint::hit("mps.spawned");
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let owner = proc::describe(pid, self.paths).map_err(failed)?;
        journal.process = Some(owner.clone());
        journal.mount_namespace = processes::mount_namespace(pid, self.paths);
        journal.write(&dir.journal()).map_err(failed)?;
        failpoint::hit("mps.recorded");
        self.await_answer(dir, &owner, until)?;
        failpoint::hit("mps.ready");
        Ok(owner)
    }

    /// Waits until the daemon answers. Fails if it ends, or the time is over.
    pub fn await_answer(
        &self,
        dir: &DaemonDir,
        owner: &Owner,
        until: Instant,
    ) -> Result<(), Failure> {
        let pipe = dir.pipe();
        let is_line = |line: &str| !line.trim().is_empty();
        loop {
            let now = Instant::now();
            // A client can hang on a daemon that is just binding its socket: it gets a part of the
            // time only, and another one is asked.
            let patience = (until.saturating_duration_since(now) / 2).min(Duration::from_secs(2));
            if pipe.join("control").exists() && self.client(&pipe, now + patience).answers() {
                return Ok(());
            }
            if proc::life(owner, self.paths) == Life::Gone {
                let message = format!("the MPS daemon has ended{}", last_words(dir, is_line));
                return Err(fault(message).hint(format!(
                    "see whether `{}` is nvidia-cuda-mps-control and fits the driver: `mps.control` \
                     in the configuration names another",
                    self.control.display()
                )));
            }
            if Instant::now() >= until {
                return Err(fault(format!(
                    "the MPS daemon does not answer{}",
                    last_words(dir, is_line)
                ))
                .hint("`mps.start_timeout` says how long it may take"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has the daemon start a server for this user, which is the process that computes, and waits
    /// until it has the GPU. Fails if the server ends, or does not have the GPU in time.
    pub fn have_server(
        &self,
        dir: &DaemonDir,
        client: &ControlClient<'_>,
        uid: u32,
    ) -> Result<(), Failure> {
        if client.pids("get_server_list")?.is_empty() {
            client.ask(&format!("start_server -uid {uid}"))?;
        }
        let failed = |how: &str| {
            let said = last_words(dir, |line| line.contains("erver "));
            fault(format!("the MPS server of user {uid} {how}{said}"))
                .hint("`nvidia-smi` shows whether another process has the GPU")
        };
        loop {
            let Some(server) = client.pids("get_server_list")?.first().copied() else {
                return Err(failed("does not run"));
            };
            // A server that has ended meanwhile is not in the next list.
            match client.ask(&format!("get_server_status {server}")) {
                Ok(answer) if answer.ends_with("ACTIVE") => return Ok(()),
                Ok(answer) if answer.ends_with("FAULT") => return Err(failed("has a fault")),
                // An older program does not have the command. The limits are read back all the same.
                Err(fault) if fault.message.contains("Unknown command") => return Ok(()),
                _ => {}
            }
            if Instant::now() >= client.until {
                return Err(failed("does not come to have the GPU")
                    .hint("`mps.start_timeout` says how long it may take"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends a daemon and its servers, and undoes all that was done for it. A step that fails does not
    /// keep the next ones from being done, and leaves the journal for the next attempt. Fails with
    /// the first step that failed.
    pub fn stop(&self, dir: &DaemonDir, status: &DaemonStatus) -> Result<(), Failure> {
        failpoint::hit("mps.stop.begun");
        if let DaemonState::Running(owner) = &status.state {
            self.end(dir, owner)?;
        }
        failpoint::hit("mps.stop.quit");
        self.end_servers(dir)?;
        let restored = self.restore_mode(status.journal.as_ref());
        failpoint::hit("mps.stop.restored");
        cgroup::remove(dir.name(), self.paths);
        if let Err(fault) = restored {
            return Err(fault.then(dir.clear().err()));
        }
        dir.remove()
    }

    /// Tells the control daemon to quit, and kills it if it does not. Fails if it is not gone even
    /// then.
    pub fn end(&self, dir: &DaemonDir, owner: &Owner) -> Result<(), Failure> {
        if check_program(&self.control).is_ok() {
            // A daemon that hangs does not answer, and is killed below.
            let _ = self.client(&dir.pipe(), Instant::now() + QUITTING).ask("quit");
        }
        let gone = |patience| proc::life_after(owner, patience, self.paths) == Life::Gone;
        if gone(QUITTING) {
            return Ok(());
        }
        for (signal, patience) in [(Signal::SIGTERM, TERMINATING), (Signal::SIGKILL, DYING)] {
            // Whether the signal helped is seen by whether the process is gone.
            let _ = proc::signal(owner, signal, self.paths);
            if gone(patience) {
                return Ok(());
            }
        }
        Err(fault(format!("the MPS daemon, process {}, does not end", owner.pid)))
    }

    fn end_servers(&self, dir: &DaemonDir) -> Result<(), Failure> {
        for pid in servers(dir, self.paths) {
            let Ok(owner) = proc::describe(pid, self.paths) else { continue };
            // The pid may have become another process's before it was described.
            if !servers(dir, self.paths).contains(&pid) {
                continue;
            }
            let _ = proc::signal(&owner, Signal::SIGKILL, self.paths);
            if proc::life_after(&owner, DYING, self.paths) != Life::Gone {
                return Err(fault(format!("the MPS server, process {pid}, does not end")));
            }
        }
        Ok(())
    }
}
