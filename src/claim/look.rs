//! The leases as who only looks sees them: without the lock, and nothing is changed.

use super::Ctx;
use super::sweep::{self, Swept};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::store::Entry;

/// The leases as the next container start would find them.
pub fn survey(host: &Host) -> Result<Swept, Failure> {
    sweep::survey(Ctx::of(host)).map_err(|failure| unread(failure, host))
}

/// All lease records, as they lie.
pub fn entries(host: &Host) -> Result<Vec<Entry>, Failure> {
    host.store().entries().map_err(|failure| unread(failure, host))
}

/// Why the records cannot be read: for all but root, that is because they are root's.
fn unread(failure: Failure, host: &Host) -> Failure {
    if failure.code != Code::StateUnavailable || host.is_root() {
        return failure;
    }
    Failure { message: format!("reading the leases needs root: {}", failure.message), ..failure }
}
