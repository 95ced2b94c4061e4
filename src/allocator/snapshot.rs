//! The allocator's input and its grant.

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

/// A share of one device that a lease holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub device: DeviceId,
    pub milli: MilliGpu,
    pub memory: Bytes,
    /// Whether the holder shares the device.
    pub sharing: Sharing,
    /// Names the holder in refusals: `lease l-5f1c… of container web (docker) since …`.
    pub holder: String,
    /// True for a lease in its release grace. Its container may start again, so other requests get
    /// the device only if nothing else fits. It never makes a request fail.
    pub grace: bool,
    /// How the share is enforced.
    pub kind: HoldKind,
}

/// A process that computes on a device and belongs to no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusyProcess {
    /// Its pid in the host's pid namespace.
    pub pid: i32,
    /// Its own name for itself, where it can be read. Untrusted.
    pub name: Option<String>,
}

/// The processes without a lease, and whether their devices are granted.
#[derive(Debug, Clone, Default)]
pub struct BusyDevices {
    /// The processes per device. A process on a GPU in MIG mode is on all its instances.
    pub on: BTreeMap<DeviceId, Vec<BusyProcess>>,
    /// Whether no request gets their devices. If false, a request that names such a device gets it.
    pub refuse: bool,
}

impl BusyDevices {
    /// The processes on a device, or on the GPU that the device is a part of. A simulated device
    /// has none.
    pub fn of(&self, device: &Device) -> Vec<&BusyProcess> {
        if device.simulated || self.on.is_empty() {
            return Vec::new();
        }
        let gpu = device.instance().map(|instance| &instance.parent);
        let uuids = [Some(&device.uuid), gpu].into_iter().flatten();
        uuids.filter_map(|uuid| self.on.get(uuid)).flatten().collect()
    }
}

/// How a held share is enforced, as far as it limits the next share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldKind {
    /// The isolation in effect; `None` if the record cannot be read.
    pub isolation: Option<Isolation>,
    /// The uid, in the host's user namespace, that the share's MPS server serves.
    pub uid: Option<u32>,
    /// No lease of the same MPS daemon may have more compute than this one.
    pub pinned: bool,
    /// The compute units that belong to this share alone.
    pub cus: Option<CuSet>,
}

/// The container that requests, as far as it affects how a share is enforced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requester {
    /// The uid of the container's processes in the host's user namespace; `None` if it is unknown.
    pub uid: Option<u32>,
    /// Whether the container reaches a GPU only through the devices that it is given.
    pub confined: bool,
}

/// A node, its leases, and the container that requests.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    pub node: &'a Node,
    pub holds: Vec<Hold>,
    /// Devices that the same container held a moment ago. It gets them again if they fit.
    pub prefer: BTreeSet<DeviceId>,
    /// Devices that an administrator took out of service.
    pub cordoned: BTreeSet<DeviceId>,
    /// The processes that compute without a lease.
    pub busy: BusyDevices,
    /// The facilities that shares can be enforced with.
    pub facilities: Facilities,
    pub requester: Requester,
}

impl<'a> Snapshot<'a> {
    /// A node without leases, without processes and without facilities, for a confined container of
    /// root's.
    pub fn idle(node: &'a Node) -> Self {
        Self {
            node,
            holds: Vec::new(),
            prefer: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            busy: BusyDevices::default(),
            facilities: Facilities::none("no facility was looked for"),
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
    /// Granted memory; `None` if the size of the device's memory is unknown. In JSON it is
    /// `memory_bytes`, as in a lease.
    #[serde(rename = "memory_bytes")]
    pub memory: Option<Bytes>,
    /// Exclusive or shared.
    pub sharing: Sharing,
    /// The compute units of a share that is enforced by a CU mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cu_mask: Option<CuSet>,
    /// The region of `dmem.max` in which the memory is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dmem_region: Option<String>,
}

impl GrantedDevice {
    /// The device's position, as people write it.
    pub const fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig_index }
    }
}

/// The devices of a request: at least one, in the order of their positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    pub devices: Vec<GrantedDevice>,
    /// How the shares are enforced, if every planned step succeeds.
    pub isolation: IsolationRecord,
    /// The share is by MPS, and the daemon's own limit is at this lease's share: see
    /// [`HoldKind::pinned`].
    #[serde(skip)]
    pub pinned: bool,
}
