//! After a lease was recorded and before its container starts: what making its shares true came to.

use super::{CREATE_DEADLINE, Ground, error};
use crate::failure::Failure;
use crate::model::lease::{Lease, LeaseState};
use crate::store::Entry;

/// Records a lease of this process again, as `change` makes it. It is done before anything goes by
/// the new record. Fails if the lease is gone, of a later start or not pending any more; if the
/// ledger is not had or cannot be written.
pub fn settle(
    ground: Ground<'_>,
    lease: &Lease,
    change: impl FnOnce(&mut Lease),
) -> Result<Lease, Failure> {
    let ledger = ground.store.lock(CREATE_DEADLINE, ground.paths)?;
    let current = lease.key().ok().map(|key| ledger.entry(&key)).transpose()?.flatten();
    let mut settled = match current {
        Some(Entry::Lease(current))
            if current.nonce == lease.nonce && current.state == LeaseState::Pending =>
        {
            *current
        }
        _ => return Err(error::taken_back(lease)),
    };
    change(&mut settled);
    ledger.put(&settled)?;
    Ok(settled)
}
