//! What the allocator sees, and what it answers with.

use crate::model::cu_set::CuSet;
use crate::model::device::{Device, Node, Vendor};
use crate::model::facilities::Facilities;
use crate::model::id::DeviceId;
use crate::model::isolation::{Isolation, IsolationRecord};
use crate::model::lease::Sharing;
use crate::model::mig::DeviceNumber;
use crate::model::quantity::{Bytes, MilliGpu};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A share of one device that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub device: DeviceId,
    pub milli: MilliGpu,
    pub memory: Bytes,
    /// Whether the holder tolerates others.
    pub sharing: Sharing,
    /// Who, for refusals: `lease l-5f1c… of container web (docker) since …`.
    pub holder: String,
    /// True for a lease in its release grace: its former holder may come back, so it is given to
    /// others only when nothing else fits. It never makes a request fail.
    pub grace: bool,
    /// How it is made true.
    pub kind: HoldKind,
}

/// A process that computes on a device and belongs to no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyProcess {
    /// Its pid, as the host counts.
    pub pid: i32,
    /// What it calls itself (untrusted), where that can be read.
    pub name: Option<String>,
}

/// The processes outside of any lease, and what becomes of the devices that they compute on.
#[derive(Debug, Clone, Default)]
pub struct BusyDevices {
    /// On which device which. A process on a GPU in MIG mode is on all its instances.
    pub on: BTreeMap<DeviceId, Vec<BusyProcess>>,
    /// Whether their devices are granted to nobody, rather than only to requests that name them.
    pub refuse: bool,
}

impl BusyDevices {
    /// Those on a device, or on the GPU that it is a part of. On one that does not
    /// exist there is nobody.
    pub fn of(&self, device: &Device) -> Vec<&BusyProcess> {
        if device.simulated || self.on.is_empty() {
            return Vec::new();
        }
        let gpu = device.instance().map(|instance| &instance.parent);
        let uuids = [Some(&device.uuid), gpu].into_iter().flatten();
        uuids.filter_map(|uuid| self.on.get(uuid)).flatten().collect()
    }
}

/// How a share that is held is made true, as far as it matters to who comes next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldKind {
    /// What is in effect; `None` for a record that cannot be read.
    pub isolation: Option<Isolation>,
    /// The host's id of the user that an MPS server serves for it.
    pub uid: Option<u32>,
    /// No lease by the same MPS daemon may have more compute than this one.
    pub pinned: bool,
    /// The compute units that are its own.
    pub cus: Option<CuSet>,
}

/// Who asks, as far as it matters to how a share is made true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requester {
    /// The host's id of the user that the container's processes are; null where nobody can say.
    pub uid: Option<u32>,
    /// Whether nothing but what it is given lets it at a device.
    pub confined: bool,
}

/// A node and what is held on it.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The devices and their links.
    pub node: &'a Node,
    pub holds: Vec<Hold>,
    /// Devices that the same container held a moment ago: taken again if they fit.
    pub prefer: BTreeSet<DeviceId>,
    /// Devices that an administrator took out of service.
    pub cordoned: BTreeSet<DeviceId>,
    /// Who computes without a lease.
    pub busy: BusyDevices,
    /// What shares can be made true with.
    pub facilities: Facilities,
    pub requester: Requester,
}

impl<'a> Snapshot<'a> {
    /// A node on which nobody holds anything and nobody computes and that has nothing to enforce
    /// shares with, seen by a confined container of root's.
    pub fn idle(node: &'a Node) -> Self {
        Self {
            node,
            holds: Vec::new(),
            prefer: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            busy: BusyDevices::default(),
            facilities: Facilities::none("nothing was looked for"),
            requester: Requester { uid: Some(0), confined: true },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantedDevice {
    pub uuid: DeviceId,
    pub index: u32,
    /// A MIG instance's position on its GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_index: Option<u32>,
    pub vendor: Vendor,
    pub milli: MilliGpu,
    /// Memory granted; null where nobody knows how much the device has. In JSON `memory_bytes`, as in a lease.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<Bytes>,
    /// Alone or with others.
    pub sharing: Sharing,
    /// Of a share by masks: its compute units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cu_mask: Option<CuSet>,
    /// The region of `dmem.max` that the memory is limited in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dmem_region: Option<String>,
}

impl GrantedDevice {
    /// How people name it.
    pub const fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig_index }
    }
}

/// What a request gets: at least one device, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub devices: Vec<GrantedDevice>,
    /// How the shares are made true, if what is planned comes off.
    pub isolation: IsolationRecord,
    /// By MPS, with the daemon's own limit at this lease's share: see [`HoldKind::pinned`].
    #[serde(skip)]
    pub pinned: bool,
}
