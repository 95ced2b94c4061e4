//! `gpulease mps reap`: ending the daemons that nobody needs any more.

use super::{require_root, share, tools_of, users};
use crate::cli::node::Context;
use crate::cli::output::Answer;
use crate::failure::Failure;
use crate::isolation::mps::Fault;
use crate::isolation::mps::daemon::{Seen, State, look, tools_to_end, trim_log};
use crate::isolation::mps::limits;
use crate::isolation::mps::place::Place;
use crate::model::lease::Lease;
use crate::sys::checked::check_program;
use crate::sys::failpoint;
use serde_json::json;
use std::time::{Duration, Instant};

/// `mps reap`. Waits for as long as a daemon may be idle first, unless it is to be done `now`.
pub(super) fn reap(context: &Context, now: bool) -> Result<Answer, Failure> {
    require_root(context, "to end an MPS daemon")?;
    if !now {
        std::thread::sleep(context.config.mps.stop_grace);
    }
    let (mut ended, mut kept, mut fault) = (Vec::new(), Vec::new(), None::<Fault>);
    for place in Place::all(&context.paths.run)? {
        match one(context, &place) {
            Ok(true) => ended.push(place.name().to_owned()),
            Ok(false) => kept.push(place.name().to_owned()),
            Err(failure) => {
                let failed = Fault { message: failure.message, hint: failure.hint };
                fault = Some(match fault {
                    Some(first) => first.and(Some(failed)),
                    None => failed,
                });
            }
        }
    }
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    let text = ended.iter().map(|name| format!("ended the MPS daemon of {name}\n")).collect();
    Ok(Answer::new(text, json!({ "ended": ended, "kept": kept })))
}

/// How long a daemon may take for all that it is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lowers a daemon's limits to what those who are left may have. That of a single lease is set where
/// the lease is, and nowhere else.
fn relimit(context: &Context, place: &Place, seen: &Seen, leases: &[&Lease]) -> Result<(), Fault> {
    let per_lease = seen.journal.as_ref().is_none_or(|journal| journal.per_lease);
    let (false, State::Running(_)) = (per_lease, &seen.state) else { return Ok(()) };
    let shares: Vec<_> = leases.iter().filter_map(|lease| share(lease)).collect();
    let tools = tools_of(context)?;
    check_program(&tools.control)?;
    let pipe = place.pipe();
    trim_log(place);
    limits::set(&tools.front(&pipe, Instant::now() + PATIENCE), limits::for_all(&shares))
}

/// Whether this one was ended.
fn one(context: &Context, place: &Place) -> Result<bool, Failure> {
    let _lock = place.lock(context.config.mps.start_timeout, &context.paths)?;
    failpoint::hit("mps.reap.locked");
    let seen = look(place, &context.paths);
    let swept = context.survey()?;
    // A record that cannot be read may be of a container that uses it.
    if !swept.corrupt.is_empty() {
        return Ok(false);
    }
    let leases = users(&swept, place, &seen, &context.paths);
    if !leases.is_empty() {
        relimit(context, place, &seen, &leases)?;
        return Ok(false);
    }
    if seen.journal.as_ref().is_some_and(|journal| journal.kept) {
        return Ok(false);
    }
    tools_to_end(&context.config, &context.paths).stop(place, &seen)?;
    Ok(true)
}
