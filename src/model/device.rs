//! The node's GPUs, their device nodes in `/dev`, and the links between GPUs.

pub use super::details::{Details, Partition};
use super::id::DeviceId;
pub use super::link::{Link, LinkKind};
use super::mig::{DeviceNumber, Mig, MigInstance};
use super::quantity::Bytes;
use super::spelled::spelled;
use crate::model::order;
use serde::{Deserialize, Serialize};
use std::fmt;

spelled! {
    /// The maker of a device. It decides the environment variables and the control nodes of a
    /// container.
    pub enum Vendor {
        Nvidia = "nvidia",
        Amd = "amd",
        Intel = "intel",
    }
}

impl Vendor {
    /// The maker's name as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        }
    }
}

/// A PCI address, `dddd:bb:dd.f`. Devices are numbered in the order of their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    pub domain: u32,
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

impl PciAddress {
    /// Reads `0000:1b:00.0`, NVML's eight-digit domain, or the short form without a domain.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, function) = text.rsplit_once('.')?;
        let mut parts = rest.rsplit(':');
        let device = hex(parts.next()?, 2)?;
        let bus = hex(parts.next()?, 2)?;
        let domain = match parts.next() {
            Some(text) => hex(text, 8)?,
            None => 0,
        };
        let function = hex(function, 1)?;
        if parts.next().is_some() || device > 31 || function > 7 {
            return None;
        }
        Some(Self {
            domain,
            bus: u8::try_from(bus).ok()?,
            device: u8::try_from(device).ok()?,
            function: u8::try_from(function).ok()?,
        })
    }

    /// The id of a GPU that has no id of its own, made from its address. Drivers do not know this
    /// id.
    pub fn gpu_id(self) -> String {
        format!("GPU-{}", self.to_string().replace(':', "-"))
    }
}

fn hex(text: &str, max_digits: usize) -> Option<u32> {
    let fits =
        (1..=max_digits).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit());
    if fits { u32::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl TryFrom<String> for PciAddress {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a PCI address like 0000:1b:00.0"))
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

/// A character device that a container needs.
///
/// Only the path of a real device is known beforehand. Its numbers are read from the host when the
/// container is created, because the kernel assigns majors when modules load. A simulated device
/// has its numbers here, and no node on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceNode {
    /// The path, which is the same on the host and in the container.
    pub path: String,
    /// Major and minor of a simulated device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<NodeNumbers>,
}

/// The device number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeNumbers {
    pub major: u32,
    pub minor: u32,
}

/// One allocatable GPU or hardware partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub uuid: DeviceId,
    /// The position of the GPU in PCI order; a MIG instance has that of its GPU. It is for display
    /// and for selectors, and may change between boots.
    pub index: u32,
    pub vendor: Vendor,
    /// The model's name, e.g. `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// The device's memory; null if unknown. A device whose memory is unknown is leased as a whole.
    pub memory_total_bytes: Option<Bytes>,
    /// The memory that the driver reserves for itself, where known. It is never granted.
    #[serde(default)]
    pub memory_reserved_bytes: Option<Bytes>,
    pub pci: PciAddress,
    /// The NUMA node that the device is attached to, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// The position among the nodes of the KFD topology. ROCm numbers a container's GPUs in this
    /// order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kfd_node: Option<u32>,
    /// The device nodes of this device alone. Those of a MIG instance are the nodes of its
    /// capabilities. An instance also needs the node of its GPU: see [`Node::nodes_of`].
    pub nodes: Vec<DeviceNode>,
    /// False if a source says that the device is broken; null if no source can tell.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// True for a device that does not exist. Every output that a user sees says so.
    #[serde(default)]
    pub simulated: bool,
    /// The device's part in MIG; null for a device that is neither in MIG mode nor an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<Mig>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
}

impl Device {
    /// The memory that can be leased: all but the driver's reserve; null if the total is unknown.
    pub fn capacity(&self) -> Option<Bytes> {
        let reserved = self.memory_reserved_bytes.unwrap_or_default();
        self.memory_total_bytes.map(|total| total.saturating_sub(reserved))
    }

    /// The capacity, for sums: 0 if it is unknown.
    pub fn leasable(&self) -> Bytes {
        self.capacity().unwrap_or_default()
    }

    /// The MIG instance, if the device is one.
    pub const fn instance(&self) -> Option<&MigInstance> {
        match &self.mig {
            Some(Mig::Instance(instance)) => Some(instance),
            Some(Mig::Enabled) | None => None,
        }
    }

    /// Whether the device is a GPU in MIG mode, whose instances are used in its place.
    pub const fn is_in_mig_mode(&self) -> bool {
        matches!(self.mig, Some(Mig::Enabled))
    }

    /// The display node of an AMD or Intel GPU. It leads to the GPU, but computing does not need
    /// it, so it is not among the nodes that a container gets.
    pub fn card_node(&self) -> Option<DeviceNode> {
        let path = format!("/dev/dri/card{}", self.details.card?);
        Some(DeviceNode { path, simulated: None })
    }

    /// The id of the GPU that the device is, or is a partition of. Links connect GPUs by these ids.
    pub fn package(&self) -> &DeviceId {
        self.details.partition.as_ref().map_or(&self.uuid, |partition| &partition.gpu)
    }

    /// The device's number as people write it.
    pub fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.instance().map(|instance| instance.index) }
    }
}

/// The nodes that every container with a device of this vendor needs: `/dev/nvidiactl` and
/// `/dev/nvidia-uvm`, or `/dev/kfd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlNodes {
    pub vendor: Vendor,
    pub nodes: Vec<DeviceNode>,
}

/// The GPUs of the node in PCI order, each followed by its MIG instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The devices, numbered as [`Node::is_numbered`] requires.
    pub devices: Vec<Device>,
    /// The nodes that all devices of a vendor share.
    #[serde(default)]
    pub control: Vec<ControlNodes>,
    /// Direct links between pairs of devices.
    #[serde(default)]
    pub links: Vec<Link>,
}

impl Node {
    /// The device nodes of all devices, followed by the control nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &DeviceNode> {
        let own = self.devices.iter().flat_map(|device| &device.nodes);
        own.chain(self.control.iter().flat_map(|control| &control.nodes))
    }

    pub fn device(&self, uuid: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.uuid == *uuid)
    }

    /// Whether the GPUs have the indices 0, 1, … in order, and the instances of each GPU follow it
    /// and are numbered in the same way. A scan's result always is. The allocator relies on it.
    pub fn is_numbered(&self) -> bool {
        let mut gpus = 0..;
        let mut instances = 0..;
        let mut gpu: Option<&Device> = None;
        self.devices.iter().all(|device| match device.instance() {
            None => {
                gpu = Some(device);
                instances = 0..;
                gpus.next() == Some(device.index)
            }
            Some(instance) => gpu.is_some_and(|gpu| {
                gpu.is_in_mig_mode()
                    && gpu.uuid == instance.parent
                    && gpu.index == device.index
                    && instances.next() == Some(instance.index)
            }),
        })
    }

    /// Sorts the GPUs into PCI order, each followed by its MIG instances in the order of their ids,
    /// as NVML numbers them, and numbers them. The partitions of one GPU are sorted by their
    /// numbers.
    pub fn number(&mut self) {
        order::sort_by_key(&mut self.devices, |device| {
            let partition = device.details.partition.as_ref().map(|partition| partition.index);
            (device.pci, partition, device.instance().map(|mig| (mig.gi, mig.ci)))
        });
        let (mut gpus, mut gpu, mut instances) = (0.., 0, 0..);
        for device in &mut self.devices {
            match &mut device.mig {
                Some(Mig::Instance(instance)) => {
                    instance.index = instances.next().unwrap_or_default();
                }
                Some(Mig::Enabled) | None => {
                    gpu = gpus.next().unwrap_or_default();
                    instances = 0..;
                }
            }
            device.index = gpu;
        }
    }

    /// All device nodes by which a container uses the device. For a MIG instance these are the node
    /// of its GPU, which all instances of the GPU share, and its own nodes, by which the driver
    /// admits a process to this instance.
    pub fn nodes_of<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a DeviceNode> {
        let gpu = device.instance().and_then(|instance| self.device(&instance.parent));
        gpu.into_iter().flat_map(|gpu| &gpu.nodes).chain(&device.nodes)
    }

    /// The control nodes of a vendor.
    pub fn control_of(&self, vendor: Vendor) -> impl Iterator<Item = &DeviceNode> {
        self.control.iter().filter(move |c| c.vendor == vendor).flat_map(|c| &c.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_read_in_all_usual_spellings() {
        let address = PciAddress::parse("0000:1b:00.0").unwrap();
        assert_eq!(PciAddress::parse("1b:00.0"), Some(address));
        assert_eq!(PciAddress::parse("00000000:1B:00.0"), Some(address));
        assert_eq!(address.to_string(), "0000:1b:00.0");
        for bad in ["", "1b:00", "1b:20.0", "1b:00.8", "a:b:c:d.0", "1b:+0.0", "0000:1b:00.0x"] {
            assert_eq!(PciAddress::parse(bad), None, "{bad}");
        }
    }
}
