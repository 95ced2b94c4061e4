//! What sets the limits of running containers on this host.

use crate::claim::resize::Hand;
use crate::config::Config;
use crate::host::Host;
use crate::model::lease::{LeasedDevice, MpsSeat};
use crate::model::quantity::Bytes;
use crate::mps::daemon::tools;
use crate::mps::directory::DaemonDir;
use crate::mps::limits::{Share, for_all, set};
use crate::start::shares;
use crate::sys::dmem;
use crate::sys::lock::Lock;
use crate::sys::proc::{self, Life};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a daemon may take for all that it is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's files and the daemons of this host.
pub(super) struct Live<'a> {
    pub(super) host: &'a Host,
    pub(super) config: &'a Config,
}

impl Hand for Live<'_> {
    fn hold(&self, seat: &MpsSeat) -> Result<Lock, String> {
        let paths = &self.host.paths;
        let place = DaemonDir::new(&paths.run, &seat.daemon).map_err(|fault| fault.message)?;
        place.lock(self.config.mps.start_timeout, paths).map_err(|fault| fault.message)
    }

    fn idle_daemons(&self) {
        // The next one that ends would look after them as well.
        let _ = shares::reap(self.host.own_arguments(), &self.host.paths);
    }

    fn in_use(&self, cgroup: &Path, region: &str) -> Result<Bytes, String> {
        dmem::in_use(&self.host.paths, cgroup, region).map(Bytes)
    }

    fn dmem(&self, cgroup: &Path, region: &str, from: Bytes, to: Bytes) -> Result<(), String> {
        dmem::change(&self.host.paths, cgroup, region, from.0, to.0)
    }

    fn mps(&self, seat: &MpsSeat, to: &LeasedDevice) -> Result<(), String> {
        let is_gone = |process| proc::life(process, &self.host.paths) == Life::Gone;
        if seat.process.as_ref().is_some_and(is_gone) {
            return Err(
                "the MPS daemon that it was attached to is gone; start its container anew, with \
                        other amounts"
                    .into(),
            );
        }
        let Some(pipe) = &seat.pipe else { return Err("its MPS daemon has no directory".into()) };
        let tools = tools(self.config, &self.host.paths);
        let tools = tools.map_err(|fault| fault.message)?;
        let share = Share { milli: to.milli, memory: to.memory_bytes, pinned: false };
        let front = tools.front(Path::new(pipe), Instant::now() + PATIENCE);
        set(&front, for_all(&[share])).map_err(|fault| fault.message)
    }
}
