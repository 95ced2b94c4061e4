//! `gpulease mps reap`: ending the daemons that nobody needs any more.

use super::{named, settled, share, users};
use crate::cli::output::Answer;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::short_id;
use crate::model::lease::Lease;
use crate::mps::daemon::tools;
use crate::mps::daemon::{DaemonState, DaemonStatus, look, tools_to_end, trim_log};
use crate::mps::directory::DaemonDir;
use crate::mps::limits;
use crate::mps::{cgroup, failed};
use crate::sys::checked::check_program;
use crate::sys::failpoint;
use serde_json::json;
use std::time::{Duration, Instant};

/// `mps reap`. Waits for as long as a daemon may be idle first, unless it is to be done `now`.
pub(super) fn reap(host: &Host, now: bool) -> Result<Answer, Failure> {
    host.require_root("to end an MPS daemon")?;
    let _away = (!now).then(|| cgroup::leave(&host.paths));
    if !now {
        std::thread::sleep(host.config()?.mps.stop_grace);
    }
    let (mut ended, mut kept, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for place in DaemonDir::all(&host.paths.run)? {
        match one(host, &place) {
            Ok(None) => ended.push(place.name().to_owned()),
            Ok(Some(_)) => kept.push(place.name().to_owned()),
            Err(failure) => failures.push(failure),
        }
    }
    match failures.into_iter().reduce(|first, next| first.then(Some(next))) {
        Some(failure) => Err(failure),
        None => Ok(answer(&ended, &kept)),
    }
}

/// How long a daemon may take for all that it is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lowers a daemon's limits to what those who are left may have. That of a single lease is set where
/// the lease is, and nowhere else.
fn relimit(
    (host, config): (&Host, &Config),
    place: &DaemonDir,
    seen: &DaemonStatus,
    leases: &[&Lease],
) -> Result<(), Failure> {
    let per_lease = seen.journal.as_ref().is_none_or(|journal| journal.per_lease);
    let (false, DaemonState::Running(_)) = (per_lease, &seen.state) else { return Ok(()) };
    let shares: Vec<_> = leases.iter().filter_map(|lease| share(lease)).collect();
    let tools = tools(config, &host.paths)?;
    check_program(&tools.control).map_err(failed)?;
    let pipe = place.pipe();
    trim_log(place);
    limits::set(&tools.front(&pipe, Instant::now() + PATIENCE), limits::for_all(&shares))
}

fn answer(ended: &[String], kept: &[String]) -> Answer {
    let text = ended.iter().map(|name| format!("ended the MPS daemon of {name}\n")).collect();
    Answer::new(text, json!({ "ended": ended, "kept": kept }))
}

/// `mps reap --device`: before a device is used otherwise than by MPS. All that serve it have to end.
pub(super) fn of_device(host: &Host, device: &str) -> Result<Answer, Failure> {
    host.require_root("to end an MPS daemon")?;
    let mut ended = Vec::new();
    for place in DaemonDir::all(&host.paths.run)? {
        let journal = look(&place, &host.paths).journal;
        if place.name() != device && journal.is_none_or(|j| j.device.as_str() != device) {
            continue;
        }
        let name = place.name().to_owned();
        if let Some(why) = one(host, &place)? {
            let message = format!("the MPS daemon of {name} stays: {why}");
            return Err(Failure::new(Code::IsolationFailed, message)
                .hint(format!("`gpulease mps stop {name}` ends it")));
        }
        ended.push(name);
    }
    Ok(answer(&ended, &[]))
}

/// Ends this one, or says why it stays.
fn one(host: &Host, place: &DaemonDir) -> Result<Option<String>, Failure> {
    let config = host.config()?;
    let _lock = place.lock(config.mps.start_timeout, &host.paths)?;
    failpoint::hit("mps.reap.locked");
    let seen = look(place, &host.paths);
    let swept = settled(host)?;
    // A record that cannot be read may be of a container that uses it.
    if let Some(corrupt) = swept.corrupt.first() {
        let container = short_id(corrupt.key.container_id.as_str());
        return Ok(Some(format!("the lease record of container {container} cannot be read")));
    }
    let leases = users(&swept, place, &seen, &host.paths);
    if !leases.is_empty() {
        relimit((host, config), place, &seen, &leases)?;
        return Ok(Some(format!("it is used by {}", named(&leases))));
    }
    if seen.journal.as_ref().is_some_and(|journal| journal.kept) {
        return Ok(Some("it was started by hand".to_owned()));
    }
    tools_to_end(config, &host.paths).stop(place, &seen)?;
    Ok(None)
}
