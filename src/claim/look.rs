//! The leases as a program sees them that only looks: without the lock, and nothing is changed.

use super::Ctx;
use super::liveness::{Holder, Judge};
use super::sweep::{self, Swept};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::lease::Lease;
use crate::store::{Corrupt, Entry};

/// The leases as the next container start would find them.
pub fn survey(host: &Host) -> Result<Swept, Failure> {
    sweep::survey(Ctx::of(host)).map_err(|failure| unread(failure, host))
}

/// All lease records, as they lie.
pub fn entries(host: &Host) -> Result<Vec<Entry>, Failure> {
    host.store().entries().map_err(|failure| unread(failure, host))
}

/// All lease records as they lie, each with what is true of its holder now.
#[derive(Debug, Default)]
pub struct JudgedRecords {
    pub leases: Vec<(Lease, Holder)>,
    pub corrupt: Vec<(Corrupt, Holder)>,
}

/// Judges the holder of each lease record. Leases come by their time, then by their id.
pub fn judged(host: &Host) -> Result<JudgedRecords, Failure> {
    let judge = Judge::look(&host.paths);
    let entries = entries(host)?;
    let witnesses = host.store().witnesses(&entries);
    let mut records = JudgedRecords::default();
    for entry in entries {
        match entry {
            Entry::Lease(lease) => {
                let holder = judge.holder(&lease);
                records.leases.push((*lease, holder));
            }
            Entry::Corrupt(corrupt) => {
                let holder = judge.holder_of_corrupt(&corrupt, &witnesses);
                records.corrupt.push((corrupt, holder));
            }
        }
    }
    records.leases.sort_by(|(a, _), (b, _)| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    Ok(records)
}

/// Why the records cannot be read: for all but root, that is because they are root's.
fn unread(failure: Failure, host: &Host) -> Failure {
    if failure.code != Code::StateUnavailable || host.is_root() {
        return failure;
    }
    Failure { message: format!("reading the leases needs root: {}", failure.message), ..failure }
}
