//! How the GPUs reach each other, and which CPUs are near them.

use crate::model::device::{Device, Link, LinkKind, Node, PciAddress};
use crate::model::id::DeviceId;
use crate::model::text::shown;
use crate::paths::Paths;
use serde::{Serialize, Serializer};
use std::fmt;
use std::fs;

/// The GPUs and each pair of them. MIG instances are left out: they are where their GPU is.
#[derive(Debug, Serialize)]
pub struct TopologyView<'a> {
    pub devices: Vec<GpuPosition<'a>>,
    pub pairs: Vec<GpuPair<'a>>,
    /// The path from each GPU to each, itself included.
    #[serde(skip)]
    pub matrix: Vec<Vec<GpuPath>>,
}

/// Where a GPU is. A value that is not known is null.
#[derive(Debug, Serialize)]
pub struct GpuPosition<'a> {
    uuid: &'a DeviceId,
    index: u32,
    pci: PciAddress,
    numa_node: Option<u32>,
    /// The CPUs of its NUMA node, as the kernel lists them: `0-31,64-95`.
    pub cpus: Option<String>,
    simulated: bool,
    #[serde(skip)]
    pub device: &'a Device,
}

#[derive(Debug, Serialize)]
pub struct GpuPair<'a> {
    a: &'a DeviceId,
    b: &'a DeviceId,
    path: GpuPath,
    /// The number of NVLinks, where the path is that.
    lanes: Option<u32>,
}

/// The nearest path between two GPUs, in the words of `nvidia-smi topo -m`; null in JSON where it is
/// not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuPath {
    Itself,
    NvLink { lanes: u32 },
    Xgmi,
    SamePackage,
    OneSwitch,
    SeveralSwitches,
    HostBridge,
    SameNumaNode,
    OtherNumaNode,
    Unknown,
}

impl fmt::Display for GpuPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NvLink { lanes } => return write!(f, "NV{lanes}"),
            Self::Itself => "X",
            Self::Xgmi => "XGMI",
            Self::SamePackage => "SAME",
            Self::OneSwitch => "PIX",
            Self::SeveralSwitches => "PXB",
            Self::HostBridge => "PHB",
            Self::SameNumaNode => "NODE",
            Self::OtherNumaNode => "SYS",
            Self::Unknown => "-",
        })
    }
}

impl Serialize for GpuPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown => serializer.serialize_none(),
            known => serializer.collect_str(known),
        }
    }
}

impl<'a> TopologyView<'a> {
    /// Reads the NUMA nodes of this host below `paths`.
    pub fn of(node: &'a Node, paths: &Paths) -> Self {
        let gpus: Vec<&Device> = node.devices.iter().filter(|d| d.instance().is_none()).collect();
        let has_one_node = is_one_numa_node(paths);
        // The host's NUMA node says something only of GPUs that are on the host's PCI buses.
        let is_here = |gpu: &Device| {
            let place = paths.sys.join("bus/pci/devices").join(gpu.pci.to_string());
            has_one_node && !gpu.simulated && place.exists()
        };
        let here: Vec<bool> = gpus.iter().map(|gpu| is_here(gpu)).collect();
        let row = |(a, a_here): (&&Device, &bool)| {
            let cells = gpus.iter().zip(&here);
            cells.map(|(b, b_here)| path(a, b, &node.links, *a_here && *b_here)).collect()
        };
        let matrix: Vec<Vec<GpuPath>> = gpus.iter().zip(&here).map(row).collect();
        let pairs = gpus.iter().zip(&matrix).enumerate().flat_map(|(from, (a, row))| {
            let later = gpus.iter().zip(row).skip(from + 1);
            later.map(|(b, path)| GpuPair::of(&a.uuid, &b.uuid, *path))
        });
        Self {
            pairs: pairs.collect(),
            devices: gpus.iter().map(|gpu| GpuPosition::of(gpu, paths)).collect(),
            matrix,
        }
    }
}

impl<'a> GpuPosition<'a> {
    fn of(device: &'a Device, paths: &Paths) -> Self {
        Self {
            uuid: &device.uuid,
            index: device.index,
            pci: device.pci,
            numa_node: device.numa_node,
            cpus: cpus(device, paths),
            simulated: device.simulated,
            device,
        }
    }
}

impl<'a> GpuPair<'a> {
    const fn of(a: &'a DeviceId, b: &'a DeviceId, path: GpuPath) -> Self {
        let lanes = match path {
            GpuPath::NvLink { lanes } => Some(lanes),
            _ => None,
        };
        Self { a, b, path, lanes }
    }
}

/// The path by the links between two GPUs, or else by their NUMA nodes.
fn path(a: &Device, b: &Device, links: &[Link], has_one_node: bool) -> GpuPath {
    let (one, other) = (a.package(), b.package());
    if a.uuid == b.uuid {
        return GpuPath::Itself;
    }
    if one == other {
        return GpuPath::SamePackage;
    }
    let is_between =
        |link: &&Link| (link.a == *one && link.b == *other) || (link.a == *other && link.b == *one);
    let between = links.iter().filter(is_between);
    match between.min_by_key(|link| (link.kind, std::cmp::Reverse(link.lanes))) {
        Some(link) => match link.kind {
            LinkKind::NvLink => GpuPath::NvLink { lanes: link.lanes },
            LinkKind::Xgmi => GpuPath::Xgmi,
            LinkKind::Pcie => GpuPath::OneSwitch,
            LinkKind::PcieMulti => GpuPath::SeveralSwitches,
            LinkKind::HostBridge => GpuPath::HostBridge,
        },
        None => match a.numa_node.zip(b.numa_node) {
            Some((a, b)) if a == b => GpuPath::SameNumaNode,
            Some(_) => GpuPath::OtherNumaNode,
            // The firmware of a host with one NUMA node may not name it.
            None if has_one_node => GpuPath::SameNumaNode,
            None => GpuPath::Unknown,
        },
    }
}

fn is_one_numa_node(paths: &Paths) -> bool {
    let online = fs::read_to_string(paths.sys.join("devices/system/node/online"));
    online.is_ok_and(|online| online.trim() == "0")
}

/// A simulated device is near no CPU of this host.
fn cpus(device: &Device, paths: &Paths) -> Option<String> {
    let node = device.numa_node.filter(|_| !device.simulated)?;
    let file = paths.sys.join(format!("devices/system/node/node{node}/cpulist"));
    let text = fs::read_to_string(file).ok()?;
    Some(shown(text.trim())).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests;
