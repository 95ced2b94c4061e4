//! The leases as who only looks sees them: without the lock, and nothing is changed.

use super::sweep::{self, Swept};
use super::{ClaimError, Ground};
use crate::failure::Failure;
use crate::host::Host;
use crate::store::Entry;

/// The leases as the next container start would find them.
pub fn survey(host: &Host) -> Result<Swept, Failure> {
    sweep::survey(Ground::of(host)).map_err(|error| unread(error, host))
}

/// All lease records, as they lie.
pub fn entries(host: &Host) -> Result<Vec<Entry>, Failure> {
    host.store().entries().map_err(|error| unread(error.into(), host))
}

/// Why the records cannot be read: for all but root, that is because they are root's.
fn unread(error: ClaimError, host: &Host) -> Failure {
    let is_for_root = error.is_denied() && !host.is_root();
    let failure = Failure::from(error);
    if !is_for_root {
        return failure;
    }
    Failure { message: format!("reading the leases needs root: {}", failure.message), ..failure }
}
