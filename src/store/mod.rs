//! Leases on disk, and what lies beside them.
//!
//! ```text
//! /run/gpulease/            0755 root; tmpfs, so that a reboot frees everything
//!   lock                    0600; flock; never removed
//!   inventory.json          what the node has
//!   refresh.lock            0600; flock of who is making that anew
//!   runtime                 the last good choice of a low-level runtime
//!   leases/<id>@<root>.json 0700; one lease a file: damage stays local
//!   bundles/<hash>.json     0700; how to undo our edits of one config.json
//!   corrupt/                0700; unreadable records, moved aside once their container is dead
//!   mps/                    0755; MPS daemons, see `mps`
//! ```
//!
//! Only [`Ledger`], which exists only while the lock is held, can change a lease.

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
