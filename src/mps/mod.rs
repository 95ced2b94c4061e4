//! MPS control daemons, which make shares of NVIDIA's GPUs true. The only place that starts, limits
//! and ends them.
//!
//! * [`attach`]: have a daemon for a lease, as a container's start does;
//! * [`start`] and [`stop`]: have one, or end one, for an administrator;
//! * [`reap`]: end the daemons that serve no lease, and lower the limits of the others;
//! * [`status`]: which daemons there are, and what they answer;
//! * [`leases`]: which leases a daemon serves.
//!
//! The other files have the single steps: a daemon's directory, its process, its control client, its
//! limits, its log, its cgroup and its GPU's compute mode.
//!
//! ```text
//! /run/gpulease/mps/        0755 root; below the lease directory
//!   locks/<00-ff>           flock; by a hash of the daemon's name; never removed
//!   <daemon>/               0755; by a device's UUID, or a lease's id
//!     journal.json          0600; all that was done for it, or was about to be
//!     pipe/                 a small tmpfs; the daemon's sockets; seen in containers
//!     log/                  a small tmpfs, 0700; the messages of the daemon and its servers
//!     shm/                  a tmpfs; /dev/shm of the daemon and of its clients
//! ```
//!
//! The journal is written before each step, so that the next reader can undo all of it, whatever
//! killed the writer.
//!
//! A daemon's lock is held while anything is done with it. The ledger's lock is taken after it, and
//! only while the leases are read: without that lock, a record that is being replaced by one of
//! another name could be missed. A lease is recorded before it is attached, so that a process that
//! ends daemons without leases sees it.

pub mod attach;
pub mod cgroup;
pub mod compute_mode;
pub mod control;
pub mod daemon;
pub mod devices;
pub mod directory;
pub mod leases;
pub mod limits;
pub mod log;
pub mod processes;
pub mod reap;
pub mod start;
pub mod status;
pub mod stop;

use crate::failure::Failure;
use crate::model::code::Code;

/// A failure at a daemon. All of them have one code: a limit cannot be set.
pub fn fault(message: impl Into<String>) -> Failure {
    Failure::new(Code::IsolationFailed, message)
}

/// The same from an error of the system.
pub fn failed(error: impl Into<Failure>) -> Failure {
    Failure { code: Code::IsolationFailed, ..error.into() }
}
