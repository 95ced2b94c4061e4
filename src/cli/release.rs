//! `gpulease release`: taking a lease back by hand.

use super::failure::needs_root;
use super::leases::shares;
use super::node::Context;
use super::output::Answer;
use crate::claim::liveness::{self, Holder};
use crate::claim::release::release_by_name;
use crate::claim::{CREATE_DEADLINE, ClaimError};
use crate::failure::Failure;
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::runtime::share;
use crate::store::{Corrupt, Entry};
use crate::sys::identity;
use serde_json::json;

/// `release`.
pub(super) fn release(context: &Context, id: &str, force: bool) -> Result<Answer, Failure> {
    if !identity::is_host_root(&context.paths) {
        return Err(needs_root("to release a lease"));
    }
    match release_by_name(context.ground(), id, force, CREATE_DEADLINE) {
        Ok(Entry::Lease(lease)) => released(context, &lease, force),
        Ok(Entry::Corrupt(corrupt)) => Ok(set_aside(context, &corrupt, force)),
        Err(error @ ClaimError::Corrupt { .. }) => Err(Failure::from(error).hint(
            "stop the container; --force moves the record aside, and the devices that it stood \
             for can be given to others",
        )),
        Err(error) => Err(error.into()),
    }
}

fn released(context: &Context, lease: &Lease, force: bool) -> Result<Answer, Failure> {
    let in_grace = lease.state == LeaseState::Grace;
    // After the fact, and only to tell what was done: whoever was released alive, was by force.
    let alive = !in_grace && liveness::holder(lease, &context.paths) != Holder::Dead;
    // What a container that goes on running is held by stays.
    if !alive && !in_grace {
        share::end(context.ground(), lease, context.own_arguments())?;
    }
    let container = shown(lease.container_id.as_str());
    let mut text = format!(
        "released lease {} of container {container} ({}): GPU {}\n",
        lease.id,
        shown(&lease.engine),
        shares(&lease.devices),
    );
    if alive {
        text.push_str(&format!(
            "warning: container {container} (process {}) still runs and keeps its device nodes\n",
            lease.owner.pid
        ));
    }
    let holder = match (alive, in_grace) {
        (true, _) => "alive",
        (false, true) => "gone",
        (false, false) => "dead",
    };
    let json = json!({
        "released": {
            "id": lease.id,
            "container_id": lease.container_id,
            "runtime_root": lease.runtime_root,
            "state": lease.state,
            "devices": lease.devices,
            "holder": holder,
            "forced": force,
        }
    });
    Ok(Answer::new(text, json))
}

fn set_aside(context: &Context, corrupt: &Corrupt, force: bool) -> Answer {
    let container = shown(corrupt.key.container_id.as_str());
    let text = format!(
        "moved the unreadable lease record of container {container} into {}\n",
        context.config.run_dir.join("corrupt").display()
    );
    let json = json!({
        "set_aside": {
            "container_id": corrupt.key.container_id,
            "runtime_root": corrupt.key.runtime_root,
            "path": corrupt.path.display().to_string(),
            "why": corrupt.why,
            "forced": force,
        }
    });
    Answer::new(text, json)
}
