//! The lease directory.
//!
//! ```text
//! /run/gpulease/            0755 root; tmpfs, so that a reboot frees everything
//!   lock                    0600; flock; never removed
//!   inventory.json          what the node has
//!   refresh.lock            0600; flock of the process that makes the inventory anew
//!   runtime                 the last low-level runtime that served
//!   leases/<id>@<root>.json 0700; one lease a file: damage stays local
//!   bundles/<hash>.json     0700; how to undo our edits of one config.json
//!   corrupt/                0700; unreadable records, moved here once their container is dead
//!   mps/                    0755; MPS daemons, see `mps`
//! ```
//!
//! Only a [`Ledger`] can change a lease, and a ledger exists only while the lock is held.

pub mod bundles;
mod directory;
mod ledger;
pub mod mps_journal;
mod record;
pub mod run_dirs;
mod witnesses;

pub use bundles::{BundleRecord, RecordedEdit};
pub use directory::Store;
pub use ledger::Ledger;
pub use record::{Corrupt, Entry};
pub use witnesses::{Witness, Witnesses};

#[cfg(test)]
pub(crate) use witnesses::READS;

#[cfg(test)]
pub(crate) mod tests;
