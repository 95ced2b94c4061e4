//! The facilities of this host that can enforce shares. They are looked up before the allocator
//! decides, because the allocator does no I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The facilities of this host. A fault is a phrase without a full stop that says what is missing,
/// for messages: `the kernel has no dmem controller`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facilities {
    /// The regions of `dmem.capacity` with their sizes in bytes (Linux, admin-guide/cgroup-v2.rst,
    /// "DMEM"), or why the kernel cannot limit a container's device memory here.
    pub dmem: Result<BTreeMap<String, u64>, String>,
    /// NVIDIA's Multi-Process Service, or why it is not available.
    pub mps: Result<Mps, String>,
}

impl Facilities {
    /// A host without facilities, for the reason `why`.
    pub fn none(why: &str) -> Self {
        Self { dmem: Err(why.to_owned()), mps: Err(why.to_owned()) }
    }
}

/// How MPS runs on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mps {
    /// The control program, `nvidia-cuda-mps-control`.
    pub control: PathBuf,
    /// Which leases one daemon serves.
    pub daemons: MpsDaemons,
    /// Whether the GPU can be closed to all processes but the MPS server (compute mode
    /// `EXCLUSIVE_PROCESS`), so that no process bypasses MPS; else the reason.
    pub exclusive: Result<(), String>,
}

/// Which leases one MPS control daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MpsDaemons {
    /// One daemon for each device. Its clients compute at the same time.
    PerDevice,
    /// One daemon for each lease. Clients of different leases take turns, and each daemon enforces
    /// the limits of its lease.
    PerLease,
}
