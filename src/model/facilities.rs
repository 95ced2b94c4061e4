//! What this host has to make shares true with. Looked up before the allocator decides,
//! which does no I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The means of this host. A fault is a phrase without a full stop that says what is missing, for
/// messages: `the kernel has no dmem controller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facilities {
    /// The regions of `dmem.capacity` with their sizes in bytes (Linux, admin-guide/cgroup-v2.rst,
    /// "DMEM"), or why the kernel cannot limit a container's device memory here.
    pub dmem: Result<BTreeMap<String, u64>, String>,
    /// NVIDIA's Multi-Process Service, or why there is none.
    pub mps: Result<Mps, String>,
}

impl Facilities {
    /// A host that has none, for `why`.
    pub fn none(why: &str) -> Self {
        Self { dmem: Err(why.to_owned()), mps: Err(why.to_owned()) }
    }
}

/// How MPS is run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mps {
    /// The control program, `nvidia-cuda-mps-control`.
    pub control: PathBuf,
    /// For whom there is a daemon.
    pub daemons: MpsDaemons,
    /// Whether the GPU can be closed to all but the MPS server (compute mode `EXCLUSIVE_PROCESS`), so
    /// that no process gets past MPS; or why not.
    pub exclusive: Result<(), String>,
}

/// For whom there is an MPS control daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MpsDaemons {
    /// One for each device: its clients compute at the same time.
    PerDevice,
    /// One for each lease: clients of different leases take turns, and limits are set on the
    /// daemon's side for each of them.
    PerLease,
}
