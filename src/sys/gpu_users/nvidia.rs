//! NVIDIA: a process computes if it has `/dev/nvidia-uvm` open. `nvidia-smi`,
//! `nvidia-persistenced`, DCGM and display servers only look or draw, and do not open it.

use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::order;
use crate::paths::Paths;
use crate::sys::char_drivers;
use crate::sys::kernel_file::line;
use crate::sys::proc_stat::pids;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The beginning of the names of all the driver's nodes, wherever they are.
const PREFIX: &[u8] = b"nvidia";
const UVM: &[u8] = b"nvidia-uvm";
/// The kernel's suffix for the name of an open file that was removed.
const DELETED: &[u8] = b" (deleted)";

/// Each process with the devices that it can compute on.
pub(super) fn look(node: &Node, paths: &Paths, until: Instant) -> Vec<(i32, Vec<DeviceId>)> {
    let mut found = Vec::new();
    if !is_uvm_open(paths) {
        return found;
    }
    let table = MinorTable::new(node, paths);
    for pid in pids(&paths.proc) {
        if Instant::now() >= until {
            break;
        }
        let open = open_nodes(&paths.proc.join(pid.to_string()).join("fd"));
        if !open.iter().any(|(_, name)| name.file_name().is_some_and(|n| n.as_bytes() == UVM)) {
            continue;
        }
        let devices = table.devices(&open);
        if !devices.is_empty() {
            found.push((pid, devices.into_iter().cloned().collect()));
        }
    }
    found
}

/// Whether any process has the node open. Each counts as a user of the module. A kernel that cannot
/// unload modules does not count.
fn is_uvm_open(paths: &Paths) -> bool {
    let module = paths.sys.join("module/nvidia_uvm");
    match line(&module.join("refcnt")) {
        Some(count) => count != "0",
        None => module.is_dir(),
    }
}

/// The driver's nodes among the open files of a process: each link, and its target.
fn open_nodes(dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(dir).ok().into_iter().flatten().flatten();
    let nodes = entries.filter_map(|entry| {
        let path = entry.path();
        let link = fs::read_link(&path).ok()?;
        let bytes = link.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(DELETED).unwrap_or(bytes);
        let name = bytes.rsplit(|byte| *byte == b'/').next()?;
        let is_node = bytes.starts_with(b"/") && name.starts_with(PREFIX);
        is_node.then(|| (path, PathBuf::from(std::ffi::OsStr::from_bytes(bytes))))
    });
    nodes.collect()
}

/// Maps nodes to devices.
struct MinorTable<'a> {
    devices: Vec<&'a Device>,
    by_path: BTreeMap<&'a Path, &'a Device>,
    by_number: BTreeMap<(u32, u32), &'a Device>,
}

impl<'a> MinorTable<'a> {
    fn new(node: &'a Node, paths: &Paths) -> Self {
        let is_real = |device: &&Device| device.vendor == Vendor::Nvidia && !device.simulated;
        let devices: Vec<&Device> = node.devices.iter().filter(is_real).collect();
        let mut table = Self { devices, by_path: BTreeMap::new(), by_number: BTreeMap::new() };
        for device in &table.devices {
            for own in &device.nodes {
                table.by_path.insert(Path::new(&own.path), device);
                if let Some(numbers) = numbers(&paths.node(&own.path)) {
                    table.by_number.insert(numbers, device);
                }
            }
        }
        table
    }

    /// The devices of these open nodes. A process with the node of a GPU in MIG mode is on the
    /// instances whose own nodes it has open as well. If it has none open, it may be on any.
    fn devices(&self, open: &[(PathBuf, PathBuf)]) -> BTreeSet<&'a DeviceId> {
        let of = |(fd, path): &(PathBuf, PathBuf)| {
            // The number comes first, because in a container a node may have another name.
            let by_number = numbers(fd).and_then(|numbers| self.by_number.get(&numbers));
            by_number.or_else(|| self.by_path.get(path.as_path())).map(|device| &device.uuid)
        };
        let all = order::set(open.iter().filter_map(of));
        let has_instance = |gpu: &Device| {
            self.devices.iter().any(|device| {
                let parent = device.instance().map(|instance| &instance.parent);
                parent == Some(&gpu.uuid) && all.contains(&device.uuid)
            })
        };
        let told = |device: &&&Device| {
            all.contains(&device.uuid) && !(device.is_in_mig_mode() && has_instance(device))
        };
        order::set(self.devices.iter().filter(told).map(|device| &device.uuid))
    }
}

fn numbers(path: &Path) -> Option<(u32, u32)> {
    char_drivers::numbers(&fs::metadata(path).ok()?)
}
