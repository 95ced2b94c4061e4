//! What goes on on the devices at this moment, in or outside any lease.

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
    /// It computes, by an MPS server.
    Mps,
}

/// Who uses the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The processes that are known of.
    pub processes: Vec<GpuProcess>,
    /// The devices of which all are known.
    pub asked: BTreeSet<DeviceId>,
}

/// A process that uses a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GpuProcess {
    pub device: DeviceId,
    /// Its number in the host's first pid namespace.
    pub pid: i32,
    pub kind: ProcessKind,
    /// What it has of the device's memory; null where nobody can say.
    pub memory: Option<Bytes>,
}

/// How much a device is used. Null is "nobody can say".
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
