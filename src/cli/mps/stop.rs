//! `gpulease mps stop`: ending daemons by hand.

use super::{device_named, foreign, named, settled, unread, users};
use crate::cli::output::Answer;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::text::shown;
use crate::mps::daemon::{DaemonStatus, look, tools_to_end};
use crate::mps::directory::DaemonDir;
use serde_json::json;

/// `mps stop`: of one device, or of all.
pub(super) fn stop(host: &Host, device: Option<&str>, force: bool) -> Result<Answer, Failure> {
    host.require_root("to stop an MPS daemon")?;
    let places = match device {
        Some(device) => meant(host, device)?,
        None => DaemonDir::all(&host.paths.run)?,
    };
    // All or none, as far as that can be known before the first one ends.
    for place in &places {
        check(host, place, force)?;
    }
    let mut stopped = Vec::new();
    for place in &places {
        one(host, place, force).map_err(|failure| after(&stopped, failure))?;
        stopped.push(place.name());
    }
    let mut text: String =
        stopped.iter().map(|name| format!("stopped the MPS daemon of {name}\n")).collect();
    if stopped.is_empty() {
        text = "no MPS daemon of gpulease runs\n".to_owned();
    }
    Ok(Answer::new(text, json!({ "stopped": stopped, "forced": force })))
}

/// The daemons of a device, or the one of this name. The device need not be there any more.
fn meant(host: &Host, name: &str) -> Result<Vec<DaemonDir>, Failure> {
    let places = DaemonDir::all(&host.paths.run)?;
    if let Some(place) = places.iter().find(|place| place.name() == name) {
        return Ok(vec![place.clone()]);
    }
    let device = device_named(host, name)?.uuid;
    let serves = |place: &&DaemonDir| {
        let journal = look(place, &host.paths).journal;
        place.name() == device.as_str() || journal.is_some_and(|journal| journal.device == device)
    };
    let found: Vec<DaemonDir> = places.iter().filter(serves).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let others = foreign(host);
    let serves =
        others.iter().find(|c| c.visible.as_deref().is_none_or(|v| v.contains(device.as_str())));
    let message = format!("gpulease runs no MPS daemon for {}", shown(device.as_str()));
    let failure = Failure::new(Code::BadRequest, message);
    Err(match serves {
        Some(control) => {
            failure.hint(format!("process {} is somebody else's, and theirs to stop", control.pid))
        }
        None => failure.hint("`gpulease mps status` lists them"),
    })
}

/// What fails later does not bring back what was stopped before.
fn after(stopped: &[&str], failure: Failure) -> Failure {
    if stopped.is_empty() {
        return failure;
    }
    let message = format!("{}; stopped before that: {}", failure.message, stopped.join(", "));
    Failure { message, ..failure }
}

/// What is there of a daemon, if it may be stopped.
fn check(host: &Host, place: &DaemonDir, force: bool) -> Result<DaemonStatus, Failure> {
    let swept = settled(host)?;
    let seen = look(place, &host.paths);
    let leases = users(&swept, place, &seen, &host.paths);
    let device = seen.journal.as_ref().map_or(place.name(), |journal| journal.device.as_str());
    let unread = unread(&swept, device);
    if !force && (!leases.is_empty() || unread.is_some()) {
        let by = match unread {
            Some(container) if leases.is_empty() => format!("may be used by {container}"),
            _ => format!("is used by {}", named(&leases)),
        };
        return Err(Failure::new(
            Code::HolderAlive,
            format!("the MPS daemon of {} {by}", place.name()),
        )
        .hint("stop the containers; --force ends it, and what computes by it fails"));
    }
    Ok(seen)
}

fn one(host: &Host, place: &DaemonDir, force: bool) -> Result<(), Failure> {
    let config = host.config()?;
    let _lock = place.lock(config.mps.start_timeout, &host.paths)?;
    let seen = check(host, place, force)?;
    tools_to_end(config, &host.paths).stop(place, &seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_done_before_it() {
        let failure = || Failure::new(Code::IsolationFailed, "it does not end").hint("look");
        assert_eq!(after(&[], failure()).message, "it does not end");
        let told = after(&["GPU-a", "GPU-b"], failure());
        assert_eq!(told.message, "it does not end; stopped before that: GPU-a, GPU-b");
        assert_eq!((told.code, told.hint.as_deref()), (Code::IsolationFailed, Some("look")));
    }
}
