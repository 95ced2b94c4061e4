//! `exec --process FILE`: engines build the new process from their own stored specification,
//! which has the image's variables and not what we edited into `config.json`. Without this,
//! `docker exec` would show `NVIDIA_VISIBLE_DEVICES=all`.

use super::Shim;
use super::bundle::{hand_on, read_given};
use crate::claim::liveness::{self, Holder};
use crate::failure::Failure;
use crate::injection;
use crate::model::code::Code;
use crate::model::lease::{Lease, LeaseState};
use std::ffi::OsString;

/// The words for the low-level runtime. The caller's file stays as it is: it may be a pipe, which
/// can be read once, a link, or on a read-only file system. What the runtime reads is a copy.
pub(super) fn prepare(shim: &Shim<'_>) -> Result<Option<Vec<OsString>>, Failure> {
    let Some(given) = &shim.call.process else { return Ok(None) };
    // A record may be left of a container that is gone; this one of its id may have no lease.
    let is_held = |lease: &Lease| {
        lease.state != LeaseState::Grace
            && liveness::holder(lease, &shim.host.paths) != Holder::Dead
    };
    let Some(lease) = shim.lease().filter(is_held) else { return Ok(None) };
    if lease.env.is_empty() {
        return Ok(None);
    }
    let bad = |error: &dyn std::error::Error| Failure::of(Code::BadBundle, error);
    let bytes = read_given(&given.path).map_err(|error| bad(&error))?;
    let edited = injection::process_env(&bytes, &lease.env).map_err(|error| bad(&error))?;
    let copy = hand_on(shim.call, &given.path, &edited)?;
    Ok(Some(shim.call.with(given, &copy)))
}
