//! `exec --process FILE`: engines make the new process from their own stored specification, which
//! has the image's variables and not our edits of `config.json`. Without this module `docker exec`
//! would show `NVIDIA_VISIBLE_DEVICES=all`.

use super::bundle::{hand_on, read_given};
use super::shim::Shim;
use crate::claim::liveness::{self, Holder};
use crate::failure::Failure;
use crate::injection;
use crate::model::code::Code;
use crate::model::lease::{Lease, LeaseState};
use std::ffi::OsString;

/// The words for the low-level runtime. The caller's file is not changed: it may be a pipe, which
/// can be read once, a link, or on a read-only file system. The runtime reads a copy.
pub(super) fn prepare(shim: &Shim) -> Result<Option<Vec<OsString>>, Failure> {
    if let Some(why) = shim.doubt() {
        return rule_out(shim, &why).map(|()| None);
    }
    let (Some(given), Some(id)) = (&shim.call.process, &shim.call.id) else { return Ok(None) };
    let Some(lease) = held(shim, id) else { return Ok(None) };
    let bad = |error: &dyn std::error::Error| Failure::of(Code::BadBundle, error);
    let read = read_given(&given.path).map_err(|error| bad(&error))?;
    let edited = injection::process_env(&read.bytes, &lease.env).map_err(|error| bad(&error))?;
    let copy = hand_on(&shim.call, &given.path, &edited)?;
    Ok(Some(shim.call.with(given, &copy)))
}

/// The lease of a living container, if it sets variables. A record may be left of a dead container,
/// while the living one with its id has no lease.
fn held(shim: &Shim, id: &str) -> Option<Lease> {
    shim.lease_of(id).filter(|lease| {
        lease.state != LeaseState::Grace
            && !lease.env.is_empty()
            && liveness::holder(lease, &shim.host.paths) != Holder::Dead
    })
}

/// Refuses a call whose container or file is uncertain, unless no candidate has a lease.
fn rule_out(shim: &Shim, why: &str) -> Result<(), Failure> {
    if !shim.call.may_have_process() || !shim.call.likely_ids().any(|id| held(shim, id).is_some()) {
        return Ok(());
    }
    let text = format!("cannot tell which process `exec` is to start: {why}");
    Err(Failure::new(Code::BadRequest, text)
        .hint("write every option in full, `--process FILE` too, and the container behind them"))
}
