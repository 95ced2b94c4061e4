//! What the node has: devices, their nodes in `/dev`, and how they are linked.

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
    /// Who made the device, which decides its environment variables and its control nodes.
    pub enum Vendor {
        Nvidia = "nvidia",
        Amd = "amd",
        Intel = "intel",
    }
}

impl Vendor {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        }
    }
}

/// A PCI address, `dddd:bb:dd.f`. Its order is the order in which devices are numbered.
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

    /// What a GPU is called that tells no id: by where it sits. No driver knows it by that.
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
/// For a real device only the path is known beforehand: numbers are read from the host when the
/// container is created, because majors are handed out when modules load. A simulated device
/// has numbers here and no node on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceNode {
    /// The path on the host, and in the container.
    pub path: String,
    /// Major and minor of a simulated device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<NodeNumbers>,
}

/// The number of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeNumbers {
    pub major: u32,
    pub minor: u32,
}

/// One allocatable GPU or hardware partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub uuid: DeviceId,
    /// Position of the GPU in PCI order; a MIG instance has its GPU's. For display and as a
    /// selector; it may change between boots.
    pub index: u32,
    pub vendor: Vendor,
    /// The maker's name for it, e.g. `NVIDIA H100 80GB HBM3`.
    pub model: String,
    /// All memory that the device has; null where nobody can say. Such a device is leased whole.
    pub memory_total_bytes: Option<Bytes>,
    /// What the driver keeps for itself, where known. Not granted to anyone.
    #[serde(default)]
    pub memory_reserved_bytes: Option<Bytes>,
    pub pci: PciAddress,
    /// The NUMA node it hangs on, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// Position among the KFD topology's nodes: ROCm numbers a container's GPUs in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kfd_node: Option<u32>,
    /// The nodes that belong to this device alone. A MIG instance has those of its capabilities
    /// here; the node of its GPU, which it needs as well, is the GPU's: see [`Node::nodes_of`].
    pub nodes: Vec<DeviceNode>,
    /// False where a source says that the device is broken; null where nobody can say.
    #[serde(default)]
    pub healthy: Option<bool>,
    /// True for a device that does not exist: said wherever a user sees it.
    #[serde(default)]
    pub simulated: bool,
    /// What MIG has to do with it; null for a device that is neither in MIG mode nor an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<Mig>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
}

impl Device {
    /// Memory that can be leased, all but the driver's own reserve; null where the total is.
    pub fn capacity(&self) -> Option<Bytes> {
        let reserved = self.memory_reserved_bytes.unwrap_or_default();
        self.memory_total_bytes.map(|total| total.saturating_sub(reserved))
    }

    /// The same for sums: nothing is counted of memory that nobody can speak for.
    pub fn leasable(&self) -> Bytes {
        self.capacity().unwrap_or_default()
    }

    /// The MIG instance that it is, if so.
    pub const fn instance(&self) -> Option<&MigInstance> {
        match &self.mig {
            Some(Mig::Instance(instance)) => Some(instance),
            Some(Mig::Enabled) | None => None,
        }
    }

    /// Whether it is a GPU whose instances are used in its place.
    pub const fn is_in_mig_mode(&self) -> bool {
        matches!(self.mig, Some(Mig::Enabled))
    }

    /// The node for displays of an AMD or Intel GPU. It leads to the GPU, but is not needed to
    /// compute, and so not among those that a container gets.
    pub fn card_node(&self) -> Option<DeviceNode> {
        let path = format!("/dev/dri/card{}", self.details.card?);
        Some(DeviceNode { path, simulated: None })
    }

    /// The GPU that it is, or is a partition of: what links have as their ends.
    pub fn package(&self) -> &DeviceId {
        self.details.partition.as_ref().map_or(&self.uuid, |partition| &partition.gpu)
    }

    /// How people name it.
    pub fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.instance().map(|instance| instance.index) }
    }
}

/// The nodes that every container with a device of this vendor needs:
/// `/dev/nvidiactl` and `/dev/nvidia-uvm`, or `/dev/kfd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlNodes {
    pub vendor: Vendor,
    pub nodes: Vec<DeviceNode>,
}

/// The variable that tells a container that its devices do not exist.
pub const SIMULATED_VARIABLE: &str = "GPULEASE_SIMULATED";

/// All that the node has: GPUs in PCI order, each followed by its MIG instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The devices, numbered as [`Node::is_numbered`] says.
    pub devices: Vec<Device>,
    /// Nodes shared by all devices of a vendor.
    #[serde(default)]
    pub control: Vec<ControlNodes>,
    /// Direct links between pairs of devices.
    #[serde(default)]
    pub links: Vec<Link>,
}

impl Node {
    /// The device nodes of all devices, then those of the drivers.
    pub fn nodes(&self) -> impl Iterator<Item = &DeviceNode> {
        let own = self.devices.iter().flat_map(|device| &device.nodes);
        own.chain(self.control.iter().flat_map(|control| &control.nodes))
    }

    pub fn device(&self, uuid: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.uuid == *uuid)
    }

    /// Whether the GPUs have the indices 0, 1, … in order, and the instances of each follow it and
    /// are numbered so, too. Whatever is made of a scan is; the allocator relies on it.
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

    /// Puts the GPUs into PCI order, each followed by its MIG instances in the order of their ids, as
    /// NVML numbers them, and numbers them. Partitions of one GPU are in the order of theirs.
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

    /// All nodes by which a container uses the device: for a MIG instance that of its GPU, which
    /// all instances of the GPU share, and its own, which let the driver admit it to this one.
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
