//! What the allocator sees, and what it answers with.

use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::lease::Sharing;
use crate::model::mig::Place;
use crate::model::quantity::{Bytes, MilliGpu};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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

/// A process that computes on a device and belongs to no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outsider {
    /// Its pid, as the host counts.
    pub pid: i32,
    /// What it calls itself (untrusted), where that can be read.
    pub name: Option<String>,
}

/// The processes outside of any lease, and what becomes of the devices that they compute on.
#[derive(Debug, Clone, Default)]
pub struct Outsiders {
    /// On which device which. A process on a GPU in MIG mode is on all its instances.
    pub on: BTreeMap<DeviceId, Vec<Outsider>>,
    /// Whether their devices are granted to nobody, rather than only to requests that name them.
    pub refuse: bool,
}

impl Outsiders {
    /// Those on a device, or on the GPU that it is a part of. On one that does not exist there is
    /// nobody.
    #[must_use]
    pub fn of(&self, device: &Device) -> Vec<&Outsider> {
        if device.simulated || self.on.is_empty() {
            return Vec::new();
        }
        let gpu = device.instance().map(|instance| &instance.parent);
        let uuids = [Some(&device.uuid), gpu].into_iter().flatten();
        uuids.filter_map(|uuid| self.on.get(uuid)).flatten().collect()
    }
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
    /// Who computes without a lease.
    pub outsiders: Outsiders,
}

impl<'a> Snapshot<'a> {
    /// A node on which nobody holds anything and nobody computes.
    #[must_use]
    pub fn idle(node: &'a Node) -> Self {
        Self {
            node,
            holds: Vec::new(),
            prefer: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            outsiders: Outsiders::default(),
        }
    }
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
