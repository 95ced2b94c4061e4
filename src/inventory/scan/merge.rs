//! Merges the findings of several sources. If several know a device, the first one counts.

use crate::inventory::found::Found;
use crate::model::device::{ControlNodes, Device};
use crate::model::id::DeviceId;

/// Merges the findings, in the order of the sources.
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
    let is_there = |uuid: &DeviceId| merged.devices.iter().any(|device| device.package() == uuid);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{profiles, static_file};
    use crate::model::device::{DeviceNode, Node, Vendor};

    fn found(node: Node, from: &str) -> Found {
        let Node { devices, control, links } = node;
        Found { devices, control, links, from: vec![from.to_owned()], ..Found::default() }
    }

    fn profile(name: &str) -> Node {
        static_file::parse(profiles::find(name).unwrap().toml).unwrap()
    }

    fn control(vendor: Vendor, paths: &[&str]) -> ControlNodes {
        let nodes = paths.iter().map(|path| DeviceNode { path: (*path).into(), simulated: None });
        ControlNodes { vendor, nodes: nodes.collect() }
    }

    #[test]
    fn the_earlier_source_has_the_word_on_a_device() {
        let mut first = profile("h100x8");
        first.devices.truncate(2);
        first.devices[0].model = "as the administrator says".to_owned();
        let mut second = profile("h100x8");
        // Known by its address, whatever it is called.
        second.devices[1].uuid = DeviceId::new("GPU-ffff").unwrap();
        let merged = merge(vec![found(first.clone(), "file"), found(second.clone(), "NVML")]);
        assert_eq!(merged.devices[..2], first.devices);
        assert_eq!(merged.devices[2..], second.devices[2..]);
        assert_eq!(merged.from, ["file", "NVML"]);
        // A link of both sources counts once, and a link to an unknown device not at all.
        assert_eq!(merged.links, first.links);
    }

    #[test]
    fn instances_come_with_their_gpu_or_not_at_all() {
        let node = profile("a100x4");
        let gpus = node.devices.iter().filter(|device| device.instance().is_none()).cloned();
        let mut first = Node { devices: gpus.collect(), ..Node::default() };
        first.devices.truncate(3);
        let merged = merge(vec![found(first, "file"), found(node.clone(), "NVML")]);
        let instances = merged.devices.iter().filter_map(Device::instance);
        let last = &node.devices.iter().rfind(|device| device.instance().is_none()).unwrap().uuid;
        assert!(instances.clone().count() > 0);
        assert!(instances.into_iter().all(|instance| instance.parent == *last));
    }

    #[test]
    fn control_nodes_are_put_together_by_vendor() {
        let of = |control| Found { control, ..Found::default() };
        let one = of(vec![control(Vendor::Nvidia, &["/dev/nvidiactl"])]);
        let other = of(vec![
            control(Vendor::Nvidia, &["/dev/nvidiactl", "/dev/nvidia-uvm"]),
            control(Vendor::Amd, &["/dev/kfd"]),
        ]);
        let both = [
            control(Vendor::Nvidia, &["/dev/nvidiactl", "/dev/nvidia-uvm"]),
            control(Vendor::Amd, &["/dev/kfd"]),
        ];
        assert_eq!(merge(vec![one, other]).control, both);
    }
}
