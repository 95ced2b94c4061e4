//! What several sources know, as one. Earlier ones have the word on a device that several know.

use super::Found;
use crate::model::device::{ControlNodes, Device};
use crate::model::id::DeviceId;

/// Puts together what the sources found, in their order.
pub(super) fn merge(all: Vec<Found>) -> Found {
    let mut merged = Found::default();
    for found in all {
        let known = std::mem::take(&mut merged.devices);
        let new = found.devices.into_iter().filter(|device| !is_known(device, &known));
        let new: Vec<Device> = new.collect();
        merged.devices = known;
        merged.devices.extend(new);
        for control in found.control {
            add_control(&mut merged.control, control);
        }
        merged.links.extend(found.links);
        merged.from.extend(found.from);
        merged.drivers.extend(found.drivers);
        merged.stamps.extend(found.stamps);
        merged.notes.extend(found.notes);
    }
    let is_there = |uuid: &DeviceId| merged.devices.iter().any(|device| device.uuid == *uuid);
    merged.links.retain(|link| is_there(&link.a) && is_there(&link.b));
    let mut seen = Vec::new();
    merged.links.retain(|link| {
        let key = (link.a.clone(), link.b.clone(), link.kind);
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new
    });
    merged
}

/// Whether an earlier source has the device, or the GPU that it is a part of. Partitions of one GPU
/// share its address, so the address counts for whole GPUs.
fn is_known(device: &Device, known: &[Device]) -> bool {
    known.iter().any(|other| {
        other.uuid.as_str().eq_ignore_ascii_case(device.uuid.as_str()) || other.pci == device.pci
    })
}

fn add_control(all: &mut Vec<ControlNodes>, new: ControlNodes) {
    match all.iter_mut().find(|control| control.vendor == new.vendor) {
        None => all.push(new),
        Some(control) => {
            for node in new.nodes {
                if !control.nodes.iter().any(|there| there.path == node.path) {
                    control.nodes.push(node);
                }
            }
        }
    }
}
