//! What the allocator sees, and what it answers with.

use crate::model::device::{Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::lease::Sharing;
use crate::model::mig::Place;
use crate::model::quantity::{Bytes, MilliGpu};
use serde::Serialize;
use std::collections::BTreeSet;

/// A share of one device that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which device.
    pub device: DeviceId,
    /// Compute held.
    pub milli: MilliGpu,
    /// Memory held.
    pub memory: Bytes,
    /// Whether the holder tolerates others.
    pub sharing: Sharing,
    /// Who, for refusals: `lease l-5f1c… of container web (docker) since …`.
    pub holder: String,
    /// True for a lease in its release grace: its former holder may come back, so it is given to
    /// others only when nothing else fits. It never makes a request fail.
    pub grace: bool,
}

/// A node and what is held on it.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The devices and their links.
    pub node: &'a Node,
    /// What is held.
    pub holds: Vec<Hold>,
    /// Devices that the same container held a moment ago: taken again if they fit.
    pub prefer: BTreeSet<DeviceId>,
    /// Devices that an administrator took out of service.
    pub cordoned: BTreeSet<DeviceId>,
}

/// One device of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantedDevice {
    /// Which.
    pub uuid: DeviceId,
    /// Its index.
    pub index: u32,
    /// A MIG instance's position on its GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_index: Option<u32>,
    /// Its vendor.
    pub vendor: Vendor,
    /// Compute granted.
    pub milli: MilliGpu,
    /// Memory granted; null where nobody knows how much the device has. In JSON `memory_bytes`, as in a lease.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<Bytes>,
    /// Alone or with others.
    pub sharing: Sharing,
}

impl GrantedDevice {
    /// How people name it.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { gpu: self.index, instance: self.mig_index }
    }
}

/// What a request gets: at least one device, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The devices.
    pub devices: Vec<GrantedDevice>,
}
