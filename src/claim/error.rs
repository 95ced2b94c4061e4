//! Failures that several transactions have in common.

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::lease::Lease;
use crate::store::Corrupt;

/// The record of this very container cannot be read, and the container may be alive.
pub fn corrupt(record: &Corrupt) -> Failure {
    let (path, why) = (record.path.display(), &record.why);
    let message = format!(
        "the lease record `{path}` of this container is unreadable ({why}) and the container may \
         be alive"
    );
    Failure::new(Code::CorruptLease, message).hint("stop the container, then start it again")
}

/// A hook or a delete came late: its lease is gone.
pub(super) fn stale(message: impl Into<String>) -> Failure {
    Failure::new(Code::StaleHook, message)
}

pub(super) fn taken_back(lease: &Lease) -> Failure {
    stale(format!("lease {} was taken back meanwhile", lease.id))
}

/// A limit of a running container could not be changed, and is as before. If it is not, the message
/// says so.
pub(super) fn limit(message: impl Into<String>) -> Failure {
    Failure::new(Code::IsolationFailed, message)
        .hint("`gpulease doctor` shows the faults of MPS daemons and of the kernel's limits")
}
