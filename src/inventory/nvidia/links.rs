//! The links between GPUs.

use super::answer::{Gpu, NvmlAnswer};
use crate::model::device::{Device, PciAddress};
use crate::model::device::{Link, LinkKind};
use crate::model::id::DeviceId;

/// The links that NVML reports, one for each pair.
pub(super) fn links(answer: &NvmlAnswer, devices: &[Device]) -> Vec<Link> {
    let id = |pci: PciAddress| -> Option<DeviceId> {
        let gpu = devices.iter().find(|device| device.pci == pci && device.instance().is_none());
        Some(gpu?.uuid.clone())
    };
    let mut links = Vec::new();
    let mut add = |a: PciAddress, b: PciAddress, kind, lanes| {
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        if let Some((a, b)) = id(first).zip(id(second)) {
            links.push(Link { a, b, kind, lanes });
        }
    };
    for (position, gpu) in answer.gpus.iter().enumerate() {
        for other in answer.gpus.iter().skip(position.saturating_add(1)) {
            let lanes = lanes(gpu, other);
            if lanes > 0 {
                add(gpu.pci, other.pci, LinkKind::NvLink, lanes);
            }
        }
    }
    for near in &answer.near {
        add(near.a, near.b, near.kind, 1);
    }
    links
}

/// The number of NVLinks between two GPUs. Through switches each can reach any other with all its
/// links, so the pair has the smaller of the two numbers.
fn lanes(one: &Gpu, other: &Gpu) -> u32 {
    let to = |from: &Gpu, to: &Gpu| {
        let direct = from.nvlinks.direct.iter().find(|(pci, _)| *pci == to.pci);
        direct.map_or(0, |(_, count)| *count)
    };
    // Both ends report the same number; one that does not answer reports none.
    let direct = to(one, other).max(to(other, one));
    direct.saturating_add(one.nvlinks.switch.min(other.nvlinks.switch))
}
