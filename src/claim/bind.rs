//! Recording the next state of a pending lease: its shares' limits, and then the container's init,
//! which exists when the create-runtime hook runs and has run no user code yet.

use super::release::still;
use super::sweep::bound_to;
use super::{BIND_DEADLINE, CREATE_DEADLINE, Ctx, error};
use crate::failure::Failure;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::{Lease, LeaseState};
use crate::store::Entry;
use crate::sys::{failpoint, proc};

/// Hands a pending lease to the container's init process. The bound lease is the answer.
///
/// If this fails the runtime fails the start, so that no container runs on devices that another
/// lease may hold by now. No record is made here: one that is gone was swept, and its devices may
/// have a new holder. Fails if the lease is gone, belongs to a later start, or is not pending, or if
/// the ledger is not free in time.
pub fn bind(ctx: Ctx<'_>, key: &LeaseKey, nonce: &Nonce, pid: i32) -> Result<Lease, Failure> {
    failpoint::hit("bind.begin");
    let ledger = ctx.store.lock(BIND_DEADLINE, ctx.paths)?;
    let lease = of_this_start(ledger.entry(key)?, key, nonce)?;
    let owner = proc::describe(pid, ctx.paths)?;
    if lease.state == LeaseState::Bound && lease.owner == owner {
        // A sweep has found the container before its hook ran.
        return Ok(lease);
    }
    if lease.state != LeaseState::Pending {
        return Err(error::stale(format!(
            "lease {} is {}, only a pending one can be bound",
            lease.id, lease.state
        )));
    }
    let bound = bound_to(owner, lease, ctx)?;
    failpoint::hit("bind.described");
    ledger.put(&bound)?;
    failpoint::hit("bind.recorded");
    Ok(bound)
}

/// Checks that this start still has its lease. No more can be done for a runtime that does not say
/// which process is the container's. Fails if the lease is gone or belongs to a later start.
pub fn check(ctx: Ctx<'_>, key: &LeaseKey, nonce: &Nonce) -> Result<Lease, Failure> {
    let lease = of_this_start(ctx.store.entry(key)?, key, nonce)?;
    match lease.state {
        LeaseState::Pending | LeaseState::Bound => Ok(lease),
        LeaseState::Grace => Err(error::stale(format!("lease {} was released already", lease.id))),
    }
}

/// Records a pending lease of this process again, as `change` makes it, for instance with its seat at
/// an MPS daemon. Fails if the lease is gone, of a later start or not pending any more, or if the
/// ledger is not free in time or cannot be written.
pub fn update_pending(
    ctx: Ctx<'_>,
    lease: &Lease,
    change: impl FnOnce(&mut Lease),
) -> Result<Lease, Failure> {
    let ledger = ctx.store.lock(CREATE_DEADLINE, ctx.paths)?;
    let mut updated = still(&ledger, lease, LeaseState::Pending)?;
    change(&mut updated);
    ledger.put(&updated)?;
    Ok(updated)
}

fn of_this_start(entry: Option<Entry>, key: &LeaseKey, nonce: &Nonce) -> Result<Lease, Failure> {
    let lease = match entry {
        Some(Entry::Lease(lease)) => *lease,
        Some(Entry::Corrupt(corrupt)) => return Err(error::corrupt(&corrupt)),
        None => {
            return Err(error::stale(format!(
                "the lease of container {} was reclaimed before its container started",
                key.container_id
            )));
        }
    };
    if lease.nonce != *nonce {
        return Err(error::stale(format!(
            "container {} was started again since: its lease is now {}",
            key.container_id, lease.id
        )));
    }
    Ok(lease)
}
