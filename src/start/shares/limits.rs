//! Resizing a lease: the limits of a running container, by the kernel and by MPS daemons of this host.

use super::reap;
use crate::claim::Ctx;
use crate::claim::resize::{self, Amounts, LimitSetter, Resized};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::lease::{LeasedDevice, MpsSeat};
use crate::model::quantity::Bytes;
use crate::mps::daemon::tools;
use crate::mps::directory::DaemonDir;
use crate::mps::limits::{Share, for_all, set};
use crate::sys::dmem;
use crate::sys::lock::Lock;
use crate::sys::proc::{self, Life};
use std::path::Path;
use std::time::{Duration, Instant};

/// Gives the lease of this name other amounts of its devices. Fails as [`resize::resize`] does, or if
/// the caller is not root.
pub fn resize(host: &Host, name: &str, amounts: Amounts) -> Result<Resized, Failure> {
    host.require_root("to resize a lease")?;
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    resize::resize(Ctx::of(host), &node, name, amounts, &HostLimits { host, config })
}

/// The most time that a daemon has for all commands.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's files and the daemons of this host.
struct HostLimits<'a> {
    host: &'a Host,
    config: &'a Config,
}

impl LimitSetter for HostLimits<'_> {
    fn lock(&self, seat: &MpsSeat) -> Result<Lock, String> {
        let paths = &self.host.paths;
        let dir = DaemonDir::new(&paths.run, &seat.daemon).map_err(|fault| fault.message)?;
        dir.lock(self.config.mps.start_timeout, paths).map_err(|fault| fault.message)
    }

    fn reap_daemons(&self) {
        // If it cannot be started, the end of the next container starts one.
        let _ = reap(self.host.own_arguments(), &self.host.paths);
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
        let tools = tools(self.config, &self.host.paths).map_err(|fault| fault.message)?;
        let share = Share { milli: to.milli, memory: to.memory_bytes, pinned: false };
        let client = tools.client(Path::new(pipe), Instant::now() + PATIENCE);
        set(&client, for_all(&[share])).map_err(|fault| fault.message)
    }
}
