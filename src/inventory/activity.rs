//! The current use of the devices, in or outside any lease.

use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a process uses a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    Compute,
    Graphics,
    /// It computes through an MPS server.
    Mps,
}

/// The processes that use the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The known processes.
    pub processes: Vec<GpuProcess>,
    /// The devices whose processes are all known.
    pub asked: BTreeSet<DeviceId>,
}

/// A process that uses a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GpuProcess {
    pub device: DeviceId,
    /// The process id in the host's initial pid namespace.
    pub pid: i32,
    pub kind: ProcessKind,
    /// The device memory that the process uses; null if unknown.
    pub memory: Option<Bytes>,
}

/// The load of a device. Null means unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub device: DeviceId,
    /// Memory in use, the driver's own included.
    pub used: Option<Bytes>,
    /// The part of the time in which it computed, in percent, as the driver measures it.
    pub busy_percent: Option<u32>,
    pub temperature_c: Option<i32>,
    pub power_w: Option<u32>,
}
