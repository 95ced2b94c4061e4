//! The connections between GPUs.

use crate::inventory::nvidia::answer::{Near, NvLinks};
use crate::model::device::LinkKind;
use crate::model::device::PciAddress;
use crate::sys::nvml;
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper_sys::bindings::NVML_NVLINK_MAX_LINKS;

/// The active links of one GPU. A driver that does not tell what is at the other end still tells
/// its address.
pub(super) fn nvlinks(device: &Device<'_>) -> NvLinks {
    let mut links = NvLinks::default();
    for number in 0..NVML_NVLINK_MAX_LINKS {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => {}
            // A link that is down does not mean that the next one is.
            Ok(false) => continue,
            // There are no more links, or none at all.
            Err(_) => break,
        }
        if nvml::is_to_switch(device, number).unwrap_or_default() {
            links.switch = links.switch.saturating_add(1);
            continue;
        }
        let Ok(remote) = link.remote_pci_info() else { continue };
        let Some(remote) = PciAddress::parse(&remote.bus_id) else { continue };
        match links.direct.iter_mut().find(|(there, _)| *there == remote) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => links.direct.push((remote, 1)),
        }
    }
    links
}

/// The pairs of GPUs that PCI Express connects below one host bridge. All others count as not
/// connected.
pub(super) fn near(gpus: &[(PciAddress, Device<'_>)]) -> Vec<Near> {
    let mut near = Vec::new();
    for (position, (a, device)) in gpus.iter().enumerate() {
        for (b, other) in gpus.iter().skip(position.saturating_add(1)) {
            let level = device.topology_common_ancestor(nvml::again(other));
            if let Some(kind) = level.ok().and_then(kind) {
                near.push(Near { a: *a, b: *b, kind });
            }
        }
    }
    near
}

const fn kind(level: TopologyLevel) -> Option<LinkKind> {
    match level {
        TopologyLevel::Internal | TopologyLevel::Single => Some(LinkKind::Pcie),
        TopologyLevel::Multiple => Some(LinkKind::PcieMulti),
        TopologyLevel::HostBridge => Some(LinkKind::HostBridge),
        TopologyLevel::Node | TopologyLevel::System => None,
    }
}
