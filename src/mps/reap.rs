//! Ending the daemons that serve no lease.

use super::daemon::{DaemonState, DaemonStatus, serves, tools, tools_to_end};
use super::directory::DaemonDir;
use super::leases::{named, settled, share, users};
use super::log::trim;
use super::{cgroup, failed, limits};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::short_id;
use crate::model::lease::Lease;
use crate::sys::checked::check_program;
use crate::sys::failpoint;
use std::time::{Duration, Instant};

/// The names of the daemons that have ended, and of those that stay.
#[derive(Debug, Default)]
pub struct Reaped {
    pub ended: Vec<String>,
    pub kept: Vec<String>,
}

/// Ends the daemons that serve no lease, and lowers the limits of the others. Waits first for as
/// long as a daemon may be idle, unless it is to be done `now`. Goes through all daemons, and then
/// fails if one of them failed.
pub fn reap(host: &Host, now: bool) -> Result<Reaped, Failure> {
    host.require_root("to end an MPS daemon")?;
    let _away = (!now).then(|| cgroup::leave(&host.paths));
    if !now {
        std::thread::sleep(host.config()?.mps.stop_grace);
    }
    let (mut reaped, mut failures) = (Reaped::default(), Vec::new());
    for dir in DaemonDir::all(&host.paths.run)? {
        match reap_one(host, &dir) {
            Ok(None) => reaped.ended.push(dir.name().to_owned()),
            Ok(Some(_)) => reaped.kept.push(dir.name().to_owned()),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.into_iter().reduce(|first, next| first.then(Some(next))) {
        Some(failure) => Err(failure),
        None => Ok(reaped),
    }
}

/// Ends all daemons that serve a device, before it is used otherwise than by MPS. Fails if one
/// stays.
pub fn reap_device(host: &Host, device: &str) -> Result<Reaped, Failure> {
    host.require_root("to end an MPS daemon")?;
    let mut reaped = Reaped::default();
    for dir in DaemonDir::all(&host.paths.run)? {
        if !serves(&dir, device, &host.paths) {
            continue;
        }
        let name = dir.name().to_owned();
        if let Some(why) = reap_one(host, &dir)? {
            let message = format!("the MPS daemon of {name} stays: {why}");
            return Err(Failure::new(Code::IsolationFailed, message)
                .hint(format!("`gpulease mps stop {name}` ends it")));
        }
        reaped.ended.push(name);
    }
    Ok(reaped)
}

/// Ends this one, or says why it stays.
fn reap_one(host: &Host, dir: &DaemonDir) -> Result<Option<String>, Failure> {
    let config = host.config()?;
    let _lock = dir.lock(config.mps.start_timeout, &host.paths)?;
    failpoint::hit("mps.reap.locked");
    let status = DaemonStatus::of(dir, &host.paths);
    let swept = settled(host)?;
    // A record that cannot be read may be of a container that uses it.
    if let Some(corrupt) = swept.corrupt.first() {
        let container = short_id(corrupt.key.container_id.as_str());
        return Ok(Some(format!("the lease record of container {container} cannot be read")));
    }
    let leases = users(&swept, dir, &status, &host.paths);
    if !leases.is_empty() {
        lower_limits((host, config), dir, &status, &leases)?;
        return Ok(Some(format!("it is used by {}", named(&leases))));
    }
    if status.is_kept() {
        return Ok(Some("it was started by hand".to_owned()));
    }
    tools_to_end(config, &host.paths).stop(dir, &status)?;
    Ok(None)
}

/// The most time that a daemon has for all commands.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lowers a daemon's limits to those of the leases that are left. The daemon of a single lease is
/// limited where that lease starts or is resized, and nowhere else.
fn lower_limits(
    (host, config): (&Host, &Config),
    dir: &DaemonDir,
    status: &DaemonStatus,
    leases: &[&Lease],
) -> Result<(), Failure> {
    let per_lease = status.journal.as_ref().is_none_or(|journal| journal.per_lease);
    let (false, DaemonState::Running(_)) = (per_lease, &status.state) else { return Ok(()) };
    let shares: Vec<_> = leases.iter().filter_map(|lease| share(lease)).collect();
    let tools = tools(config, &host.paths)?;
    check_program(&tools.control).map_err(failed)?;
    trim(dir);
    let pipe = dir.pipe();
    limits::set(&tools.client(&pipe, Instant::now() + PATIENCE), limits::for_all(&shares))
}
