//! What makes shares true on this host: the kernel's dmem controller and NVIDIA's Multi-Process
//! Service. What a request can have of it is decided in [`crate::allocator`]; here it is looked for,
//! set and taken back.

pub mod dmem;
mod facilities;
pub mod mps;

pub use facilities::facilities;

use crate::model::lease::Owner;
use serde::{Deserialize, Serialize};

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
