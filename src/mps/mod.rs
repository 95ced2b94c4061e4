//! MPS control daemons: where each has its files, how one is started, asked, limited and ended.
//!
//! ```text
//! /run/gpulease/mps/        0755 root; below the lease directory
//!   locks/<00-ff>           flock; by a hash of the daemon's name; never removed
//!   <daemon>/               0755; by a device's UUID, or a lease's id
//!     journal.json          0600; what was, or was about to be, done for it
//!     pipe/                 a small tmpfs; the daemon's sockets; seen in containers
//!     log/                  a small tmpfs, 0700; what the daemon and its servers complain of
//!     shm/                  a tmpfs; /dev/shm of the daemon and of its clients
//! ```
//!
//! The journal comes before the deed: whoever finds one knows what may have to be undone, whatever
//! killed its writer. What is done by whom is decided in the `mps` commands; here are the single steps.

pub mod cgroup;
pub mod compute_mode;
pub mod control;
pub mod daemon;
pub mod directory;
pub mod limits;
pub mod log;
pub mod processes;

mod server;

use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::lease::Owner;
use serde::{Deserialize, Serialize};

/// Whatever fails at a daemon has one code: a limit cannot be set.
pub fn fault(message: impl Into<String>) -> Failure {
    Failure::new(Code::IsolationFailed, message)
}

/// The same by an error of the system.
pub fn failed(error: impl Into<Failure>) -> Failure {
    Failure { code: Code::IsolationFailed, ..error.into() }
}

/// What `gpulease mps attach` answers on stdout, in one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The daemon's pipe directory, on the host.
    pub pipe: String,
    /// The `/dev/shm` of the daemon and its clients, on the host; null where that is the host's.
    pub shm: Option<String>,
    /// The daemon was there before and is somebody else's: none of its own limits are ours.
    pub adopted: bool,
    pub process: Owner,
}
