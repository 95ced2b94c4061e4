//! The lease: the record that a container holds a share of devices.

use super::cu_set::CuSet;
use super::device::{Device, PciAddress, Vendor};
use super::id::{ContainerId, DeviceId, LeaseId, LeaseKey, Nonce};
use super::isolation::IsolationRecord;
use super::mig::{DeviceNumber, MigInstance, ranges};
use super::quantity::{Bytes, MilliGpu};
use super::spelled::spelled;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the record format that this build writes.
pub const RECORD_VERSION: u32 = 1;

spelled! {
    /// Whether others may hold a share of the same device.
    pub enum Sharing {
        /// The lease has the device to itself.
        Exclusive = "exclusive",
        /// Others may hold the rest.
        Shared = "shared",
    }
}

spelled! {
    /// The state of a lease: `pending → bound → grace`, then it is removed.
    pub enum LeaseState {
        /// Recorded by the shim; the container does not run yet. The owner is the shim's process,
        /// which becomes the low-level runtime. For Podman's hook see [`PrecreateHolder`].
        Pending = "pending",
        /// The owner is the container's init process.
        Bound = "bound",
        /// Released, but kept for a short time, so that a restarted container gets its devices
        /// again.
        Grace = "grace",
    }
}

/// A process, identified so that another process with the same pid is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process id in the pid namespace of the process that recorded it.
    pub pid: i32,
    /// The start time: field 22 of `/proc/<pid>/stat`, in clock ticks since boot (proc(5)).
    pub start_time: u64,
    /// The contents of `/proc/sys/kernel/random/boot_id` when the process was recorded.
    pub boot_id: String,
    /// The inode of the recorder's `/proc/self/ns/pid`. The pid means nothing in another pid
    /// namespace.
    pub pid_namespace: u64,
}

/// One device's part of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedDevice {
    pub uuid: DeviceId,
    /// The device's index at the time of the grant, for display.
    pub index: u32,
    pub vendor: Vendor,
    pub model: String,
    /// The device's PCI address.
    pub pci: PciAddress,
    /// The paths of the device's own nodes. They and the address identify the device if its UUID in
    /// the inventory has changed since.
    pub nodes: Vec<String>,
    pub milli: MilliGpu,
    /// The memory share; null for a whole device whose memory is unknown.
    pub memory_bytes: Option<Bytes>,
    /// Whether the lease has the device to itself.
    pub sharing: Sharing,
    /// True for a simulated device.
    #[serde(default)]
    pub simulated: bool,
    /// The MIG instance, if the device is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<MigInstance>,
    /// The compute units that belong to this lease alone, on an AMD device that is shared by masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cu_mask: Option<CuSet>,
    /// The region of the cgroup's `dmem.max` that is limited to `memory_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmem_region: Option<String>,
}

impl LeasedDevice {
    /// The device's number as people write it.
    pub fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig.as_ref().map(|instance| instance.index) }
    }

    /// The devices of a possibly later inventory that this one is, or is a part of. Usually that is
    /// the device with the same UUID and node, else all that share one of its identities.
    ///
    /// A container with a MIG instance can open its GPU's node. Once the GPU leaves MIG mode, this
    /// node is the whole GPU. While the GPU is in MIG mode, only the capability nodes tell which
    /// instance is held.
    pub fn among<'a>(&self, devices: &'a [Device]) -> impl Iterator<Item = &'a Device> {
        let has_node = |device: &Device| device.nodes.iter().any(|n| self.nodes.contains(&n.path));
        let exact = devices.iter().position(|d| d.uuid == self.uuid && has_node(d));
        let on_gpu = move |device: &Device| {
            device.pci == self.pci && (self.mig.is_none() || device.mig.is_none())
        };
        let is =
            move |device: &Device| device.uuid == self.uuid || on_gpu(device) || has_node(device);
        devices
            .iter()
            .enumerate()
            .filter(move |(position, device)| exact.map_or_else(|| is(device), |e| e == *position))
            .map(|(_, device)| device)
    }
}

/// The holder of a pending lease of Podman's `precreate` hook. The hook has ended before the
/// container is made, so the holder is the Podman process that called it, which may be a service
/// that never ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrecreateHolder {
    /// Until when the Podman process counts as the holder, in milliseconds of `CLOCK_BOOTTIME`.
    pub until_ms: u64,
    /// When the hook started, as in [`Owner::start_time`]. The container's processes are younger.
    pub since: u64,
}

/// The connection of a lease to an MPS control daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MpsSeat {
    /// The daemon's name, which is also the name of its directory below `mps/`: the device's UUID,
    /// or the lease's id if each lease has a daemon.
    pub daemon: String,
    /// The user id of the container's processes on the host. An MPS server serves one user.
    pub uid: u32,
    /// The lease's share is the daemon's own compute limit, so no lease on the device may have a
    /// larger one.
    #[serde(default)]
    pub pinned: bool,
    /// The daemon's pipe directory on the host; null until the lease is attached to the daemon.
    #[serde(default)]
    pub pipe: Option<String>,
    /// The host's directory that is `/dev/shm` for the daemon and its clients; null for a foreign
    /// daemon, which uses the host's.
    #[serde(default)]
    pub shm: Option<String>,
    /// The daemon was there before and is not ours. It is never configured and never stopped.
    #[serde(default)]
    pub adopted: bool,
    /// The control daemon that the lease is attached to; null before that. If this daemon ends, no
    /// other can take its place for the container, because the container's mounts are those of this
    /// one.
    #[serde(default)]
    pub process: Option<Owner>,
}

/// Where a lease was attached: the answer of `gpulease mps attach`, a part of [`MpsSeat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub pipe: String,
    pub shm: Option<String>,
    pub adopted: bool,
    pub process: Owner,
}

/// A lease as it is stored on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub v: u32,
    pub id: LeaseId,
    /// The secret of this start of the container. Hooks act only with it.
    pub nonce: Nonce,
    /// The lease's state.
    pub state: LeaseState,
    pub container_id: ContainerId,
    /// The low-level runtime's state directory.
    pub runtime_root: String,
    /// The engine that called the shim, as far as it can be told: `docker`, `containerd`, `podman`,
    /// `runc`, …
    pub engine: String,
    /// The low-level runtime that runs the container.
    pub runtime: String,
    pub bundle: String,
    /// The file that the runtime writes the container's pid to, if the engine asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<String>,
    pub created_at: String,
    /// The process that the lease lives as long as.
    pub owner: Owner,
    /// While pending: the lease was handed to a Podman process, and neither a shim nor the
    /// container has taken it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precreate: Option<PrecreateHolder>,
    /// While pending: `linux.cgroupsPath` of the spec. Once bound: the container's own cgroup as an
    /// absolute directory, or null if it has none of its own.
    #[serde(default)]
    pub cgroup: Option<String>,
    pub devices: Vec<LeasedDevice>,
    /// How the shares are enforced.
    pub isolation: IsolationRecord,
    /// The MPS daemon that enforces the shares, if MPS does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mps: Option<MpsSeat>,
    /// Variables that processes of `exec` must get too; null removes a variable.
    #[serde(default)]
    pub env: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub priority: u32,
    /// The workload that the request named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// How long the devices are kept for the same container after a release, in milliseconds.
    #[serde(default)]
    pub release_grace_ms: u64,
    /// In state `grace`: when it ends, in milliseconds of `CLOCK_BOOTTIME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_until_ms: Option<u64>,
}

impl Lease {
    /// The key of the record. Fails if the stored root is not valid, i.e. the record was tampered
    /// with.
    pub fn key(&self) -> Result<LeaseKey, super::id::IdError> {
        LeaseKey::new(&self.runtime_root, self.container_id.clone())
    }

    /// When this start of the container began, as in [`Owner::start_time`]. Its processes are not
    /// older.
    pub fn since(&self) -> u64 {
        self.precreate.as_ref().map_or(self.owner.start_time, |precreate| precreate.since)
    }
}

/// `0-3,6` for whole GPUs, `5:250m` for shares, `2:0-3` for MIG instances, which have no share.
pub fn shares_text(devices: &[LeasedDevice]) -> String {
    let ranges = ranges(devices.iter().map(|device| (device.place(), device.milli)));
    let texts = ranges.into_iter().map(|(range, milli)| {
        if milli == MilliGpu::WHOLE { range } else { format!("{range}:{milli}") }
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::device::Node;
    use super::super::fixtures;
    use super::super::mig::{Mig, MigProfile};
    use super::*;

    /// GPU 0 in MIG mode with two instances, and GPU 1.
    fn node() -> Node {
        let device = |uuid: &str, bus: u8, nodes: &[&str], mig| Device {
            index: u32::from(bus),
            pci: PciAddress { domain: 0, bus, device: 0, function: 0 },
            nodes: fixtures::nodes(nodes),
            mig,
            ..fixtures::device(uuid, Vendor::Nvidia)
        };
        let instance = |index: u32| {
            let parent = DeviceId::new("GPU-a").unwrap();
            let profile = MigProfile::new("1g.5gb").unwrap();
            Some(Mig::Instance(MigInstance { parent, profile, index, gi: 7 + index, ci: 0 }))
        };
        let devices = vec![
            device("GPU-a", 0, &["/dev/nvidia0"], Some(Mig::Enabled)),
            device("MIG-a", 0, &["/dev/nvidia-caps/nvidia-cap66"], instance(0)),
            device("MIG-b", 0, &["/dev/nvidia-caps/nvidia-cap75"], instance(1)),
            device("GPU-b", 1, &["/dev/nvidia1"], None),
        ];
        Node { devices, ..Node::default() }
    }

    fn leased(device: &Device) -> LeasedDevice {
        LeasedDevice {
            uuid: device.uuid.clone(),
            index: device.index,
            vendor: device.vendor,
            model: device.model.clone(),
            pci: device.pci,
            nodes: device.nodes.iter().map(|node| node.path.clone()).collect(),
            milli: MilliGpu::WHOLE,
            memory_bytes: Some(Bytes(1)),
            sharing: Sharing::Exclusive,
            simulated: false,
            mig: device.instance().cloned(),
            cu_mask: None,
            dmem_region: None,
        }
    }

    fn held(leased: &LeasedDevice, node: &Node) -> Vec<String> {
        leased.among(&node.devices).map(|device| device.uuid.to_string()).collect()
    }

    #[test]
    fn a_lease_holds_its_device_under_any_uuid() {
        let before = node();
        for device in &before.devices {
            assert_eq!(held(&leased(device), &before), [device.uuid.as_str()]);
        }
        // The same GPU instance under another UUID; the other one is not touched.
        let mut after = node();
        after.devices[1].uuid = DeviceId::new("MIG-c").unwrap();
        assert_eq!(held(&leased(&before.devices[1]), &after), ["MIG-c"]);
        // Its number is gone, and the GPU is still in MIG mode, so no device is the held one.
        after.devices[1].nodes[0].path = "/dev/nvidia-caps/nvidia-cap84".into();
        assert!(held(&leased(&before.devices[1]), &after).is_empty());
        // Out of MIG mode, the holder's node opens the whole GPU.
        after.devices.drain(1..3);
        after.devices[0].mig = None;
        assert_eq!(held(&leased(&before.devices[1]), &after), ["GPU-a"]);
        // And who had the GPU has whatever was made of it.
        let whole = leased(&after.devices[0]);
        assert_eq!(held(&whole, &before), ["GPU-a"]);
        let renamed = LeasedDevice { uuid: DeviceId::new("GPU-z").unwrap(), ..whole };
        assert_eq!(held(&renamed, &before), ["GPU-a", "MIG-a", "MIG-b"]);
    }

    #[test]
    fn a_record_without_mig_is_read() {
        let node = node();
        let json = serde_json::to_value(leased(&node.devices[3])).unwrap();
        assert_eq!(json.get("mig"), None);
        let old: LeasedDevice = serde_json::from_value(json).unwrap();
        assert_eq!((old.mig.is_none(), old.place().to_string()), (true, "1".to_owned()));
        let new = leased(&node.devices[2]);
        let read: LeasedDevice =
            serde_json::from_value(serde_json::to_value(&new).unwrap()).unwrap();
        assert_eq!((read.place().to_string(), read), ("0:1".to_owned(), new));
        let mut device = serde_json::to_value(&node.devices[3]).unwrap();
        assert_eq!(device.as_object_mut().unwrap().remove("mig"), None);
        assert_eq!(serde_json::from_value::<Device>(device).unwrap(), node.devices[3]);
    }
}
