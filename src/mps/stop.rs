//! Ending daemons by hand.

use super::daemon::{DaemonStatus, serves, tools_to_end};
use super::devices::{device_named, foreign_daemons};
use super::directory::DaemonDir;
use super::leases::{named, settled, unread, users};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::text::shown;

/// Ends the daemons of a device, or all daemons of gpulease, and undoes all that was done for them.
/// The answer is their names. `name` is a device's or a daemon's; the device need not be there any
/// more. Fails if there is no such daemon, if live leases use one and it is not to be done by
/// `force`, or if one does not end.
pub fn stop(host: &Host, name: Option<&str>, force: bool) -> Result<Vec<String>, Failure> {
    host.require_root("to stop an MPS daemon")?;
    let dirs = match name {
        Some(name) => daemons_named(host, name)?,
        None => DaemonDir::all(&host.paths.run)?,
    };
    // All or none, as far as that can be known before the first one ends.
    for dir in &dirs {
        check(host, dir, force)?;
    }
    let mut stopped = Vec::new();
    for dir in &dirs {
        stop_one(host, dir, force).map_err(|failure| after(&stopped, failure))?;
        stopped.push(dir.name().to_owned());
    }
    Ok(stopped)
}

/// The daemons of a device, or the one of this name.
fn daemons_named(host: &Host, name: &str) -> Result<Vec<DaemonDir>, Failure> {
    let dirs = DaemonDir::all(&host.paths.run)?;
    if let Some(dir) = dirs.iter().find(|dir| dir.name() == name) {
        return Ok(vec![dir.clone()]);
    }
    let device = device_named(host, name)?.uuid;
    let serves = |dir: &&DaemonDir| serves(dir, device.as_str(), &host.paths);
    let found: Vec<DaemonDir> = dirs.iter().filter(serves).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let foreign = foreign_daemons(host).into_iter().find(|foreign| {
        foreign.visible.as_deref().is_none_or(|visible| visible.contains(device.as_str()))
    });
    let message = format!("gpulease runs no MPS daemon for {}", shown(device.as_str()));
    let failure = Failure::new(Code::BadRequest, message);
    Err(match foreign {
        Some(foreign) => failure.hint(format!(
            "process {} is an MPS daemon that gpulease did not start: stop it where it was started",
            foreign.pid
        )),
        None => failure.hint("`gpulease mps status` lists them"),
    })
}

/// The failure, and which daemons were stopped before it: they stay stopped.
fn after(stopped: &[String], failure: Failure) -> Failure {
    if stopped.is_empty() {
        return failure;
    }
    let message = format!("{}; stopped before that: {}", failure.message, stopped.join(", "));
    Failure { message, ..failure }
}

/// How it stands with a daemon, if it may be stopped.
fn check(host: &Host, dir: &DaemonDir, force: bool) -> Result<DaemonStatus, Failure> {
    let swept = settled(host)?;
    let status = DaemonStatus::of(dir, &host.paths);
    let leases = users(&swept, dir, &status, &host.paths);
    let device = status.journal.as_ref().map_or(dir.name(), |journal| journal.device.as_str());
    let unread = unread(&swept, device);
    if !force && (!leases.is_empty() || unread.is_some()) {
        let by = match unread {
            Some(container) if leases.is_empty() => format!("may be used by {container}"),
            _ => format!("is used by {}", named(&leases)),
        };
        return Err(Failure::new(
            Code::HolderAlive,
            format!("the MPS daemon of {} {by}", dir.name()),
        )
        .hint("stop the containers; --force ends it, and their computing fails"));
    }
    Ok(status)
}

fn stop_one(host: &Host, dir: &DaemonDir, force: bool) -> Result<(), Failure> {
    let config = host.config()?;
    let _lock = dir.lock(config.mps.start_timeout, &host.paths)?;
    let status = check(host, dir, force)?;
    tools_to_end(config, &host.paths).stop(dir, &status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_done_before_it() {
        let failure = || Failure::new(Code::IsolationFailed, "it does not end").hint("look");
        assert_eq!(after(&[], failure()).message, "it does not end");
        let stopped = ["GPU-a", "GPU-b"].map(str::to_owned);
        let told = after(&stopped, failure());
        assert_eq!(told.message, "it does not end; stopped before that: GPU-a, GPU-b");
        assert_eq!((told.code, told.hint.as_deref()), (Code::IsolationFailed, Some("look")));
    }
}
