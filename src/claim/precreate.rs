//! The part of Podman's `precreate` hook that is not in [`super::create`]. The hook has ended before
//! the container is made, and no other process of gpulease takes its place. Until the create-runtime
//! hook binds the lease, its owner is the podman that called. Podman may be a service that outlives
//! many failed starts, so it counts until a deadline only.

use super::facts::with_ledger;
use super::liveness::{CREATE_TIME, Holder};
use super::release::still;
use super::{CREATE_DEADLINE, Ctx, error};
use crate::failure::Failure;
use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, LeaseState, Owner, PrecreateHolder};
use crate::store::Entry;
use crate::sys::proc::{self, Life};
use crate::sys::{clock, failpoint};

/// Takes back the lease of an earlier start of this container that failed. Podman locks a container
/// while it starts it, so the earlier start is over. If it is not, it fails when its lease is to be
/// bound. Fails if the ledger is not free in time or cannot be written, or if `podman` is gone: then
/// this hook itself is of an earlier start.
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

/// Hands a lease that this process has just recorded to the podman that called it. From then on only
/// the hooks, the shim or the next start of the container can end it before its deadline. Fails if
/// `podman` or the lease is gone, or if the ledger is not free in time or cannot be written.
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
