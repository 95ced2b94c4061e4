//! Matches the devices of specs with those of the node.

use super::CdiDocumentDevice;
use super::read::{SpecFile, Specs};
use crate::model::cdi::{Cdi, CdiDevice, CdiSpec, EditNode};
use crate::model::device::{Device, DeviceNode, Node, Vendor};
use crate::paths::Paths;
use crate::sys::char_drivers;
use std::cmp::Reverse;
use std::fs;

/// The kind by which a vendor's own tools name its GPUs.
pub(super) const fn kind_of(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Nvidia => "nvidia.com/gpu",
        Vendor::Amd => "amd.com/gpu",
        Vendor::Intel => "intel.com/gpu",
    }
}

/// The edits of the specs for the node's devices of the vendors that `wants` accepts.
///
/// A device of a spec matches the device whose nodes it brings, whatever its name, if it brings
/// nodes of no other. If it brings no device's nodes, its name decides, in the vendor's own kind.
/// Names such as `all` match nothing.
pub fn compile(specs: &Specs, node: &Node, paths: &Paths, wants: impl Fn(Vendor) -> bool) -> Cdi {
    let known: Vec<NodeDevice<'_>> =
        node.devices.iter().map(|device| NodeDevice::new(device, node, paths)).collect();
    let mut cdi = Cdi::default();
    let mut spec_of: Vec<usize> = Vec::new();
    for own in known.iter().filter(|own| wants(own.device.vendor)) {
        let candidates = specs.files.iter().enumerate().flat_map(|(at, file)| {
            let named =
                file.spec.devices.iter().filter(|device| matches(file, device, own, &known, paths));
            named.map(move |device| (at, file, device))
        });
        let best = candidates.min_by_key(|(at, file, device)| {
            let is_own_kind = file.spec.kind == kind_of(own.device.vendor);
            let rank = own.names.iter().position(|name| *name == device.name);
            (!is_own_kind, Reverse(file.priority), rank.is_none(), rank, *at)
        });
        let Some((at, file, device)) = best else { continue };
        let spec = spec_of.iter().position(|spec| *spec == at).unwrap_or_else(|| {
            spec_of.push(at);
            cdi.specs.push(CdiSpec {
                path: file.path.display().to_string(),
                edits: file.spec.container_edits.clone(),
            });
            spec_of.len() - 1
        });
        cdi.devices.push(CdiDevice {
            uuid: own.device.uuid.clone(),
            name: file.spec.qualified(&device.name),
            spec,
            edits: device.container_edits.clone(),
        });
    }
    cdi
}

/// A device of a spec, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice<'a> {
    pub name: String,
    /// Its file.
    pub file: &'a SpecFile,
    /// The device of the node that it matches.
    pub device: Option<&'a Device>,
}

/// All devices of all specs, each with the device of the node that it matches.
pub fn list<'a>(specs: &'a Specs, node: &'a Node, paths: &Paths) -> Vec<ListedDevice<'a>> {
    let known: Vec<NodeDevice<'_>> =
        node.devices.iter().map(|device| NodeDevice::new(device, node, paths)).collect();
    let devices = specs
        .files
        .iter()
        .flat_map(|file| file.spec.devices.iter().map(move |device| (file, device)));
    let listed = devices.map(|(file, device)| {
        let own = known.iter().find(|own| matches(file, device, own, &known, paths));
        ListedDevice {
            name: file.spec.qualified(&device.name),
            file,
            device: own.map(|own| own.device),
        }
    });
    listed.collect()
}

/// A device of the node, as a spec may refer to it.
struct NodeDevice<'a> {
    device: &'a Device,
    /// Its names in specs, the most reliable first.
    names: Vec<String>,
    /// Path and numbers of its own nodes.
    nodes: Vec<(&'a str, Option<(u32, u32)>)>,
}

impl<'a> NodeDevice<'a> {
    fn new(device: &'a Device, node: &'a Node, paths: &Paths) -> Self {
        let mut names = vec![device.uuid.to_string()];
        names.extend(index_among_its_vendors(device, node));
        // Several instances and partitions may share an address.
        let shares = node.devices.iter().filter(|other| other.pci == device.pci).count() > 1;
        if !shares {
            names.push(device.pci.to_string());
        }
        let nodes = device.nodes.iter().map(|own| (own.path.as_str(), numbers(own, paths)));
        Self { device, names, nodes: nodes.collect() }
    }

    fn has(&self, edit: &EditNode, number: Option<(u32, u32)>) -> bool {
        self.nodes.iter().any(|(path, own)| {
            *path == edit.on_host() || *path == edit.path || (own.is_some() && *own == number)
        })
    }
}

/// As the vendor's tools count: `0`, and `0:1` for the second instance of the first GPU.
pub(super) fn index_among_its_vendors(device: &Device, node: &Node) -> Option<String> {
    let gpus = node.devices.iter().filter(|d| d.vendor == device.vendor && d.instance().is_none());
    let index = gpus.map(|gpu| gpu.index).position(|index| index == device.index)?;
    Some(match device.instance() {
        Some(instance) => format!("{index}:{}", instance.index),
        None => index.to_string(),
    })
}

fn matches(
    file: &SpecFile,
    device: &CdiDocumentDevice,
    own: &NodeDevice<'_>,
    all: &[NodeDevice<'_>],
    paths: &Paths,
) -> bool {
    let nodes = &device.container_edits.device_nodes;
    let nodes: Vec<_> = nodes.iter().map(|node| (node, numbers_of(node, paths))).collect();
    let brings =
        |known: &&NodeDevice<'_>| nodes.iter().any(|(node, number)| known.has(node, *number));
    let mut brought: Vec<&NodeDevice<'_>> = all.iter().filter(brings).collect();
    // A MIG instance needs the node of its GPU too.
    let parents: Vec<_> = brought.iter().filter_map(|known| known.device.instance()).collect();
    brought.retain(|known| !parents.iter().any(|instance| instance.parent == known.device.uuid));
    match brought.as_slice() {
        [] => {
            let kind = kind_of(own.device.vendor);
            file.spec.kind == kind && own.names.contains(&device.name)
        }
        [one] => one.device.uuid == own.device.uuid,
        _ => false,
    }
}

fn numbers(node: &DeviceNode, paths: &Paths) -> Option<(u32, u32)> {
    match node.simulated {
        Some(numbers) => Some((numbers.major, numbers.minor)),
        None => host_numbers(&node.path, paths),
    }
}

fn numbers_of(edit: &EditNode, paths: &Paths) -> Option<(u32, u32)> {
    edit.numbers().or_else(|| host_numbers(edit.on_host(), paths))
}

fn host_numbers(path: &str, paths: &Paths) -> Option<(u32, u32)> {
    char_drivers::numbers(&fs::metadata(paths.node(path)).ok()?)
}
