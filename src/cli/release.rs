//! `gpulease release`: taking a lease back by hand.

use super::leases::shares;
use super::output::Answer;
use crate::claim::CREATE_DEADLINE;
use crate::claim::Ctx;
use crate::claim::liveness::{Holder, LeaseStanding, Unjudged};
use crate::claim::release::{Insistence, release_by_name};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::start::shares;
use crate::store::{Corrupt, Entry};
use crate::sys::syslog;
use serde_json::{Value, json};

/// The tag in the system's log.
const TAG: &str = "gpulease";

pub(super) fn release(host: &Host, id: &str, insistence: Insistence) -> Result<Answer, Failure> {
    host.require_root("to release a lease")?;
    match release_by_name(Ctx::of(host), id, insistence, CREATE_DEADLINE) {
        Ok((Entry::Lease(lease), holder)) => released(host, &lease, &holder, insistence),
        Ok((Entry::Corrupt(corrupt), holder)) => {
            let container = shown(corrupt.key.container_id.as_str());
            let what = format!("moved the unreadable lease record of container {container}");
            write_down(host, &format!("{what} aside"), &holder, insistence);
            let text = format!("{what} into {}\n", host.paths.run.join("corrupt").display());
            Ok(Answer::new(text, set_aside(&corrupt, insistence)))
        }
        Err(failure) if failure.code == Code::CorruptLease => Err(failure.hint(
            "stop the container; --force moves the record aside, and the devices that it stood \
             for can be given to others",
        )),
        Err(failure) => Err(failure),
    }
}

/// Tells the system's log of a lease that was taken from a holder who is not known to be dead:
/// whatever comes of that, here is who did it.
fn write_down(host: &Host, what: &str, holder: &Holder, insistence: Insistence) {
    let why = match (holder, insistence) {
        (Holder::Dead, _) => return,
        (Holder::Unjudged(why), Insistence::AssumeDead) => {
            format!("assumed dead by --assume-dead: it {why}")
        }
        (Holder::Unjudged(why), _) => format!("released by --force: it {why}"),
        (Holder::Alive | Holder::AliveAs(_), _) => "released by --force: it is alive".to_owned(),
    };
    let line = format!("{what}: its holder was {why}");
    syslog::warning(&host.paths.dev.join("log"), TAG, &line);
}

fn released(
    host: &Host,
    lease: &Lease,
    holder: &Holder,
    insistence: Insistence,
) -> Result<Answer, Failure> {
    let standing = LeaseStanding::of(lease, holder);
    let is_held = lease.state != LeaseState::Grace;
    let is_alive = is_held && matches!(holder, Holder::Alive | Holder::AliveAs(_));
    let container = shown(lease.container_id.as_str());
    let what = format!(
        "released lease {} of container {container} ({}): GPU {}",
        lease.id,
        shown(&lease.engine),
        shares(&lease.devices),
    );
    if is_held {
        write_down(host, &what, holder, insistence);
    }
    // What a container that goes on running is held by stays.
    if is_held && !is_alive {
        shares::end(Ctx::of(host), lease, host.own_arguments())?;
    }
    let mut text = format!("{what}\n");
    if is_alive {
        text.push_str(&format!(
            "warning: container {container} (process {}) still runs and keeps its device nodes\n",
            lease.owner.pid
        ));
    }
    if let Some(why) = holder.unjudged() {
        text.push_str(&format!(
            "warning: container {container} {why}; if it runs, it keeps its device nodes\n"
        ));
    }
    let json = json!({
        "released": {
            "id": lease.id,
            "container_id": lease.container_id,
            "runtime_root": lease.runtime_root,
            "state": lease.state,
            "devices": lease.devices,
            "holder": standing.holder(),
            "unjudged": holder.unjudged().map(Unjudged::to_string),
            "forced": insistence == Insistence::Force,
            "assumed_dead": insistence == Insistence::AssumeDead,
        }
    });
    Ok(Answer::new(text, json))
}

fn set_aside(corrupt: &Corrupt, insistence: Insistence) -> Value {
    json!({
        "set_aside": {
            "container_id": corrupt.key.container_id,
            "runtime_root": corrupt.key.runtime_root,
            "path": corrupt.path.display().to_string(),
            "why": corrupt.why,
            "forced": insistence == Insistence::Force,
            "assumed_dead": insistence == Insistence::AssumeDead,
        }
    })
}
