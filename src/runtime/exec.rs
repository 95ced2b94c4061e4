//! `exec --process FILE`: engines build the new process from their own stored specification,
//! which has the image's variables and not what we edited into `config.json`. Without this,
//! `docker exec` would show `NVIDIA_VISIBLE_DEVICES=all`.

use super::Shim;
use super::bundle::read_limited;
use crate::claim::liveness::{self, Holder};
use crate::failure::Failure;
use crate::injection;
use crate::model::code::Code;
use crate::model::lease::{Lease, LeaseState};
use crate::sys::atomic;

pub(super) fn prepare(shim: &Shim<'_>) -> Result<(), Failure> {
    let Some(file) = &shim.call.process else { return Ok(()) };
    // A record may be left of a container that is gone; this one of its id may have no lease.
    let is_held = |lease: &Lease| {
        lease.state != LeaseState::Grace
            && liveness::holder(lease, &shim.host.paths) != Holder::Dead
    };
    let Some(lease) = shim.lease().filter(is_held) else { return Ok(()) };
    if lease.env.is_empty() {
        return Ok(());
    }
    let bad = |error: &dyn std::error::Error| Failure::of(Code::BadBundle, error);
    let bytes = read_limited(file).map_err(|error| bad(&error))?;
    let edited = injection::process_env(&bytes, &lease.env).map_err(|error| bad(&error))?;
    if edited != bytes {
        atomic::replace_keeping_owner(file, &edited).map_err(|error| bad(&error))?;
    }
    Ok(())
}
