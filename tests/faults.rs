//! A fault at every system call: strace(1) makes the call fail, or kills the program before it.
//! After each, what must always be true of leases and specs holds: see `faults/checks.rs`.
//!
//! `make test` tries every call under the ledger's lock and, of the others, one of each name;
//! `make test-faults` tries them all (`GPULEASE_FAULTS=all`).

#[path = "faults/cases.rs"]
mod cases;
#[path = "faults/checks.rs"]
mod checks;
#[path = "faults/planted.rs"]
mod planted;
#[allow(dead_code, reason = "shared with tests/precreate.rs")]
#[path = "precreate/podman.rs"]
mod podman;
#[path = "faults/strace.rs"]
mod strace;
mod support;
#[path = "faults/verbs.rs"]
mod verbs;
