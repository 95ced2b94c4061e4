//! The KFD topology: `/sys/class/kfd/kfd/topology`, with one directory for each node, of CPUs and
//! GPUs. ROCm itself uses it. Everyone can read it, except what a device cgroup hides.

use crate::inventory::sysfs;
use crate::model::device::PciAddress;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The heap types of a `mem_banks/N` that is a GPU's own memory, visible to the host or not
/// (`HSA_MEM_HEAP_TYPE_FB_PUBLIC`, `_PRIVATE` in the kernel's `kfd_crat.h`).
const HEAPS: [u64; 2] = [1, 2];

/// `io_links/N/properties`, `type`: xGMI (`CRAT_IOLINK_TYPE_XGMI`).
const LINK_XGMI: u64 = 11;

/// One GPU node, or one partition of a GPU. A value that the kernel does not give as a number is
/// `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KfdNode {
    /// The name of the node's directory. ROCm numbers a container's GPUs in this order.
    pub node: u32,
    /// The minor number of its `/dev/dri/renderD`.
    pub render_minor: Option<u32>,
    /// Domain, bus and device of the GPU. The function is left out, because some kernels put the
    /// number of the partition there.
    pub location: Option<PciAddress>,
    /// The same for all partitions of a GPU. GPUs up to GFX8 and most APUs have none.
    pub unique_id: Option<u64>,
    /// `90402` is gfx942: major, minor and stepping, with two digits each except the first.
    pub gfx_target_version: Option<u64>,
    pub device_id: Option<u64>,
    pub compute_units: Option<u32>,
    /// The number of dies (XCC) that hold the compute units. Kernels before 6.5 do not tell.
    pub xccs: Option<u32>,
    /// The number of shader engines on each die. `array_count` counts the shader arrays of all dies
    /// (`kfd_topology.c`).
    pub shader_engines: Option<u32>,
    /// Video memory in bytes. `local_mem_size` is not used, because it is 0 in all current kernels.
    pub memory: Option<u64>,
    /// The nodes that it reaches through xGMI.
    pub xgmi: Vec<u32>,
}

/// A node that cannot be read.
#[derive(Debug)]
pub struct Unread {
    /// The name of the node's directory.
    pub node: u32,
    /// The system's error. If a device cgroup hides a GPU, its files fail with EPERM
    /// (`kfd_devcgroup_check_permission`).
    pub error: io::Error,
}

/// The topology.
#[derive(Debug, Default)]
pub struct KfdTopology {
    pub gpus: Vec<KfdNode>,
    /// Nodes that exist but cannot be read.
    pub unread: Vec<Unread>,
}

/// The directory of the topology.
pub fn directory(sys: &Path) -> PathBuf {
    sys.join("class/kfd/kfd/topology")
}

/// `generation_id`, which changes with every change of the topology.
pub fn generation_path(sys: &Path) -> PathBuf {
    directory(sys).join("generation_id")
}

pub fn node_directory(sys: &Path, node: u32) -> PathBuf {
    directory(sys).join("nodes").join(node.to_string())
}

/// Reads the topology. A kernel without KFD has no nodes.
pub fn read(sys: &Path) -> KfdTopology {
    let mut topology = KfdTopology::default();
    for node in sysfs::numbered(&directory(sys).join("nodes"), "") {
        match read_node(node, &node_directory(sys, node)) {
            Ok(found) => topology.gpus.extend(found),
            Err(error) => topology.unread.push(Unread { node, error }),
        }
    }
    topology
}

/// Reads a node; `None` if it is not a GPU. A node without properties is being removed.
fn read_node(number: u32, dir: &Path) -> io::Result<Option<KfdNode>> {
    let Some(text) = sysfs::text(&dir.join("properties"))? else { return Ok(None) };
    let properties = properties(&text);
    let value = |key: &str| properties.get(key).copied();
    let some = |key: &str| value(key).filter(|value| *value > 0);
    let small = |key: &str| u32::try_from(some(key)?).ok();
    let is_gpu = some("simd_count").is_some()
        || (some("cpu_cores_count").is_none() && some("gfx_target_version").is_some());
    if !is_gpu {
        return Ok(None);
    }
    let engines = || {
        let arrays = small("array_count")?;
        let of_each =
            small("simd_arrays_per_engine")?.checked_mul(small("num_xcc").unwrap_or(1))?;
        arrays.is_multiple_of(of_each).then_some(arrays / of_each)
    };
    Ok(Some(KfdNode {
        node: number,
        render_minor: small("drm_render_minor"),
        location: location(value("domain").unwrap_or_default(), some("location_id")),
        unique_id: some("unique_id"),
        gfx_target_version: some("gfx_target_version"),
        device_id: some("device_id"),
        compute_units: small("simd_count")
            .zip(small("simd_per_cu"))
            .and_then(|(simds, per_unit)| simds.checked_div(per_unit))
            .filter(|units| *units > 0),
        xccs: small("num_xcc"),
        shader_engines: engines(),
        memory: memory(&dir.join("mem_banks"))?,
        xgmi: xgmi(&dir.join("io_links"))?,
    }))
}

/// Unpacks KFD's location: the bus in bits 8 to 15, the device in bits 3 to 7.
fn location(domain: u64, location_id: Option<u64>) -> Option<PciAddress> {
    let location_id = location_id?;
    let bits = |shift: u32, mask: u64| u8::try_from((location_id >> shift) & mask).ok();
    Some(PciAddress {
        domain: u32::try_from(domain).ok()?,
        bus: bits(8, 0xff)?,
        device: bits(3, 0x1f)?,
        function: 0,
    })
}

/// The sum of the GPU's own banks; `None` if it has none.
fn memory(banks: &Path) -> io::Result<Option<u64>> {
    let mut sum = 0_u64;
    for (_, bank) in each(banks)? {
        if is_own(&bank) {
            sum = sum.saturating_add(bank.get("size_in_bytes").copied().unwrap_or_default());
        }
    }
    Ok(Some(sum).filter(|sum| *sum > 0))
}

fn xgmi(links: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for (_, link) in each(links)? {
        let value = |key: &str| link.get(key).copied();
        if value("type") == Some(LINK_XGMI)
            && let Some(to) = value("node_to").and_then(|to| u32::try_from(to).ok())
        {
            found.push(to);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn is_own(bank: &Properties) -> bool {
    bank.get("heap_type").is_some_and(|heap| HEAPS.contains(heap))
}

/// The used part of a node's own memory, in bytes, which newer kernels tell.
pub fn used_memory(sys: &Path, node: u32) -> Option<u64> {
    let banks = each(&node_directory(sys, node).join("mem_banks")).ok()?;
    let own = banks.iter().filter(|(_, bank)| is_own(bank));
    let used = own.map(|(dir, _)| sysfs::number(&dir.join("used_memory")).ok()?);
    used.reduce(|sum, used| Some(sum?.saturating_add(used?)))?
}

type Properties = BTreeMap<String, u64>;

/// Each numbered directory in `dir`, which may be missing, with its properties.
fn each(dir: &Path) -> io::Result<Vec<(PathBuf, Properties)>> {
    let mut found = Vec::new();
    for number in sysfs::numbered(dir, "") {
        let own = dir.join(number.to_string());
        let text = sysfs::text(&own.join("properties"))?;
        found.extend(text.map(|text| (own, properties(&text))));
    }
    Ok(found)
}

/// Reads lines of `key value`. Values are unsigned and may need all 64 bits. Other lines are
/// ignored.
fn properties(text: &str) -> Properties {
    text.lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        .collect()
}
