//! AMD's GPUs and partitions, from the kernel's own files: KFD's topology lists them, and DRM's
//! directories have their addresses. No library is needed.
//!
//! Only the minor number of the render node safely connects the two. Some render nodes of
//! partitions belong to nothing, but the ones that KFD names are real.

mod activity;
mod drm;
mod gpu;
mod kfd;
mod ras;
mod telemetry;
mod unusable;

pub use telemetry::usage_with_rocm;

use super::found::Found;
use super::pcie;
use super::stamp::Stamp;
use super::sysfs;
use crate::config::{Config, Source};
use crate::model::device::{ControlNodes, DeviceNode, Link, LinkKind, PciAddress, Vendor};
use crate::model::driver::Driver;
use crate::model::id::DeviceId;
use crate::model::text::shown;
use crate::paths::Paths;
use gpu::AmdGpu;
use kfd::{KfdNode, KfdTopology};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The node that every process opens to use an AMD GPU. All GPUs share it. KFD decides by the
/// device-cgroup rule of the render node which GPUs a container may use.
const CONTROL: &str = "/dev/kfd";

/// The most GPUs whose partition modes are stamped, because every container start checks the
/// stamps.
const STAMPED: usize = 8;

/// Looks for AMD's GPUs. The notes, or the device's own fault, say what cannot be read.
pub fn find(paths: &Paths, _: &Config) -> Found {
    let mut notes = Vec::new();
    let topology = kfd::read(&paths.sys);
    let mut gpus = joined(&topology, &paths.sys, &mut notes);
    gpus.extend(unusable::find(&paths.sys, &topology, &gpus, &mut notes));
    ambiguous(&mut gpus, &mut notes);

    let mut found = Found { stamps: stamps(&paths.sys, &gpus, &mut notes), ..Found::default() };
    let mut by_node = BTreeMap::new();
    for gpu in &gpus {
        match gpu.device() {
            Ok(device) => {
                if let Some(kfd) = &gpu.kfd {
                    by_node.insert(kfd.node, (device.package().clone(), &kfd.xgmi));
                }
                found.devices.push(device);
            }
            Err(error) => notes.push(format!("AMD GPU {} has no name: {error}", gpu.drm.pci)),
        }
    }
    found.links = links(&by_node, pcie::links(paths, &found.devices));
    found.drivers.extend(driver(&paths.sys));
    if !found.devices.is_empty() {
        found.from.push(kfd::directory(&paths.sys).display().to_string());
        let node = DeviceNode { path: CONTROL.to_owned(), simulated: None };
        found.control.push(ControlNodes { vendor: Vendor::Amd, nodes: vec![node] });
    }
    found.notes = notes;
    found
}

/// Joins KFD's nodes with their DRM devices.
fn joined(topology: &KfdTopology, sys: &Path, notes: &mut Vec<String>) -> Vec<AmdGpu> {
    let mut gpus: Vec<AmdGpu> = Vec::new();
    let partitions = partitions(&topology.gpus);
    for node in &topology.gpus {
        let whose = || match node.location {
            Some(pci) => format!("AMD GPU {pci} (KFD node {})", node.node),
            None => format!("the AMD GPU of KFD node {}", node.node),
        };
        let Some(minor) = node.render_minor else {
            notes.push(format!("{} cannot be leased: KFD names no render node of it", whose()));
            continue;
        };
        let Some(drm) = drm::of_render_node(sys, minor, node.location) else {
            notes.push(format!("{} cannot be leased: there is no renderD{minor}", whose()));
            continue;
        };
        let fault = drm.fault.clone();
        let mut gpu = AmdGpu {
            kfd: Some(node.clone()),
            drm,
            render_minor: minor,
            partition: partitions.get(&node.node).copied(),
            ambiguous: false,
            fault,
        };
        if gpu.partition.is_none() && gpu.is_in_partition_mode() {
            gpu.partition = Some(0);
        }
        gpus.push(gpu);
    }
    gpus
}

/// The partition numbers of the nodes whose GPU has several. KFD lists the partitions of a GPU in
/// their order.
fn partitions(nodes: &[KfdNode]) -> BTreeMap<u32, u32> {
    let mut of_gpu: BTreeMap<PciAddress, Vec<u32>> = BTreeMap::new();
    for node in nodes {
        if let Some(location) = node.location {
            of_gpu.entry(location).or_default().push(node.node);
        }
    }
    let several = of_gpu.into_values().filter(|nodes| nodes.len() > 1);
    several.flat_map(|nodes| nodes.into_iter().zip(0..)).collect()
}

/// Marks GPUs that share their unique id, which then identifies none of them.
fn ambiguous(gpus: &mut [AmdGpu], notes: &mut Vec<String>) {
    let mut places: BTreeMap<u64, BTreeSet<PciAddress>> = BTreeMap::new();
    for gpu in gpus.iter() {
        if let Some(id) = gpu.unique_id() {
            places.entry(id).or_default().insert(gpu.drm.pci);
        }
    }
    for (id, places) in places.into_iter().filter(|(_, places)| places.len() > 1) {
        for gpu in gpus.iter_mut().filter(|gpu| gpu.unique_id() == Some(id)) {
            gpu.ambiguous = true;
        }
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let places = places.join(", ");
        notes.push(format!(
            "the AMD GPUs {places} all say that their unique id is {id:016x}: they are named by their PCI addresses"
        ));
    }
}

/// Links between GPUs, one for each pair: by xGMI, or by PCI Express if there is no xGMI.
fn links(by_node: &BTreeMap<u32, (DeviceId, &Vec<u32>)>, pcie: Vec<Link>) -> Vec<Link> {
    let mut pairs = BTreeSet::new();
    for (node, (_, reaches)) in by_node {
        pairs.extend(
            reaches
                .iter()
                .filter(|other| *other != node)
                .map(|other| (*node.min(other), *node.max(other))),
        );
    }
    let ends = |(one, other): &(u32, u32)| {
        Some((by_node.get(one)?.0.clone(), by_node.get(other)?.0.clone()))
    };
    // Partitions have the links of their GPU, and need none between each other.
    let mut linked: BTreeSet<(DeviceId, DeviceId)> = BTreeSet::new();
    let ordered = |(a, b): (DeviceId, DeviceId)| if a < b { (a, b) } else { (b, a) };
    let ends = pairs.iter().filter_map(ends).filter(|(a, b)| a != b);
    let mut links: Vec<Link> = ends
        .filter(|ends| linked.insert(ordered(ends.clone())))
        .map(|(a, b)| Link { a, b, kind: LinkKind::Xgmi, lanes: 1 })
        .collect();
    let is_linked = |link: &Link| linked.contains(&ordered((link.a.clone(), link.b.clone())));
    links.extend(pcie.into_iter().filter(|link| !is_linked(link)));
    links
}

/// The kernel module, if it is loaded. It has a version only in AMD's own package. Images bring
/// their own libraries.
fn driver(sys: &Path) -> Option<Driver> {
    let module = sys.join("module/amdgpu");
    if !module.is_dir() {
        return None;
    }
    let version = sysfs::text(&module.join("version")).ok().flatten();
    Some(Driver {
        vendor: Vendor::Amd,
        version: version.map(|version| shown(&version)),
        cuda: None,
        library: None,
        root: "/".to_owned(),
        files: Vec::new(),
    })
}

/// The stamps that tell whether the node has changed. KFD's generation counts GPUs and partitions
/// that come and go, but starts anew with the module, so the modes are stamped as well. The memory
/// mode is the same on all GPUs and changes only with the module, so one GPU's is enough.
fn stamps(sys: &Path, gpus: &[AmdGpu], notes: &mut Vec<String>) -> Vec<Stamp> {
    let mut files = vec![kfd::generation_path(sys)];
    let of = |name: &str, gpus: &mut dyn Iterator<Item = &AmdGpu>, most: usize| {
        let directories: BTreeSet<&Path> = gpus.map(|gpu| gpu.drm.directory.as_path()).collect();
        let files = directories.into_iter().map(|directory| directory.join(name));
        files.take(most).collect::<Vec<PathBuf>>()
    };
    let mut cut = gpus.iter().filter(|gpu| gpu.drm.compute_partition.is_some());
    files.extend(of("current_compute_partition", &mut cut, STAMPED));
    let mut cut = gpus.iter().filter(|gpu| gpu.drm.memory_partition.is_some());
    files.extend(of("current_memory_partition", &mut cut, 1));
    let mut stamps = Vec::new();
    for path in files {
        match Stamp::of_text(Source::Amd, &path) {
            Ok(stamp) => stamps.push(stamp),
            Err(error) => {
                let path = path.display();
                notes.push(format!("`{path}` cannot be read, so a change is not noticed: {error}"));
            }
        }
    }
    stamps
}

#[cfg(test)]
mod activity_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod scan_tests;
#[cfg(test)]
mod tests;
