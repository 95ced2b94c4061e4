//! Values that tests of several modules start from.

use super::device::{Details, Device, DeviceNode, PciAddress, Vendor};
use super::id::DeviceId;

/// A GPU at `0000:01:00.0` about which little is known.
pub(crate) fn device(uuid: &str, vendor: Vendor) -> Device {
    Device {
        uuid: DeviceId::new(uuid).unwrap(),
        index: 0,
        vendor,
        model: "Test".to_owned(),
        memory_total_bytes: None,
        memory_reserved_bytes: None,
        pci: PciAddress { domain: 0, bus: 1, device: 0, function: 0 },
        numa_node: None,
        kfd_node: None,
        nodes: Vec::new(),
        healthy: None,
        simulated: false,
        mig: None,
        details: Details::default(),
    }
}

/// Nodes with these paths. Their numbers are the host's.
pub(crate) fn nodes(paths: &[&str]) -> Vec<DeviceNode> {
    paths.iter().map(|path| DeviceNode { path: (*path).to_owned(), simulated: None }).collect()
}
