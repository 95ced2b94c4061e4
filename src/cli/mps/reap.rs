//! `gpulease mps reap`: ending the daemons that nobody needs any more.

use super::{require_root, users};
use crate::cli::node::Context;
use crate::cli::output::Answer;
use crate::failure::Failure;
use crate::isolation::mps::Fault;
use crate::isolation::mps::daemon::{look, tools_to_end};
use crate::isolation::mps::place::Place;
use crate::sys::failpoint;
use serde_json::json;

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

/// Whether this one was ended.
fn one(context: &Context, place: &Place) -> Result<bool, Failure> {
    let _lock = place.lock(context.config.mps.start_timeout, &context.paths)?;
    failpoint::hit("mps.reap.locked");
    let seen = look(place, &context.paths);
    if seen.journal.as_ref().is_some_and(|journal| journal.kept) {
        return Ok(false);
    }
    let swept = context.survey()?;
    // A record that cannot be read may be of a container that uses it.
    if !swept.corrupt.is_empty() || !users(&swept, place, &seen, &context.paths).is_empty() {
        return Ok(false);
    }
    tools_to_end(&context.config, &context.paths).stop(place, &seen)?;
    Ok(true)
}
