//! What Podman's `precreate` hook does beside [`super::create`]. It has ended by the time that the
//! container is made, and Podman puts no process of ours in its place: until the create-runtime
//! hook binds the lease, it hangs on the podman that asked, and on a deadline, since that podman
//! may be a service that outlives any number of failed starts.

use super::liveness::{CREATE_TIME, Holder};
use super::release::still;
use super::testimony::with_ledger;
use super::{CREATE_DEADLINE, Ctx, error};
use crate::failure::Failure;
use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, LeaseState, Owner, PrecreateHolder};
use crate::store::Entry;
use crate::sys::proc::{self, Life};
use crate::sys::{clock, failpoint};

/// Takes back what an earlier start of this container was handed, if that came to nothing: Podman
/// locks a container while it starts it, so whoever starts it anew has done with the start before.
/// Should that be wrong, the earlier start fails when it is to be bound. Fails if the ledger is not
/// had or cannot be written, or `podman` is gone: then this hook is the one that comes late.
pub fn supersede(ctx: Ctx<'_>, key: &LeaseKey, podman: &Owner) -> Result<(), Failure> {
    let handed = |entry| match entry {
        Some(Entry::Lease(lease)) if is_handed(&lease) => Some(lease),
        _ => None,
    };
    if ctx.store.check().is_err() || handed(ctx.store.entry(key)?).is_none() {
        return Ok(());
    }
    let is_done = |is_over: &bool| *is_over;
    with_ledger(ctx, CREATE_DEADLINE, is_done, |ledger, known| {
        let Some(lease) = handed(ledger.entry(key)?) else { return Ok(true) };
        refuse_if_gone(podman, ctx)?;
        let holder = known.judge(ctx.paths).holder_at_end(&lease);
        if holder == Holder::Dead {
            ledger.remove(key)?;
        }
        Ok(holder == Holder::Dead)
    })
    .map(drop)
}

fn is_handed(lease: &Lease) -> bool {
    lease.state == LeaseState::Pending && lease.precreate.is_some()
}

/// Hands a lease that this process has just recorded to the podman that called it. From here on
/// only the hooks, the shim or the next start of the container can end it before its time. Fails if
/// `podman` is gone, or the lease; if the ledger is not had or cannot be written.
pub fn hand_over(ctx: Ctx<'_>, lease: &Lease, podman: &Owner) -> Result<(), Failure> {
    let ledger = ctx.store.lock(CREATE_DEADLINE, ctx.paths)?;
    refuse_if_gone(podman, ctx)?;
    if still(&ledger, lease, lease.state)? != *lease {
        return Err(error::taken_back(lease));
    }
    let until_ms = clock::boottime_ms().saturating_add(clock::millis(CREATE_TIME));
    let precreate = Some(PrecreateHolder { until_ms, since: lease.owner.start_time });
    ledger.put(&Lease { owner: podman.clone(), precreate, ..lease.clone() })?;
    failpoint::hit("precreate.handed-over");
    Ok(())
}

fn refuse_if_gone(podman: &Owner, ctx: Ctx<'_>) -> Result<(), Failure> {
    match proc::life(podman, ctx.paths) {
        Life::Alive => Ok(()),
        Life::Gone => Err(error::stale("the podman that asked is gone".to_owned())),
    }
}
