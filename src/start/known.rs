//! Recognises GPU nodes by the kernel and the leases, for a start whose configuration or inventory
//! is not available.

use super::{device_nodes, mounted};
use crate::injection::{Access, Numbers, SpecDevice, SpecMount, is_gpu_node_path};
use crate::model::device::{DeviceNode, Node};
use crate::paths::Paths;
use crate::store::{Entry, Store};
use crate::sys::{char_drivers, kernel_file};

/// Whether the container can open a GPU. A GPU's node is recognised by its name in the container or
/// on the host, by its driver, or as the node of a leased device.
pub(super) fn opens_gpu(access: &Access, paths: &Paths, store: &Store) -> bool {
    if access.is_empty() {
        return false;
    }
    // Without the list of drivers any device may be a GPU.
    let Ok(drivers) = char_drivers::registered(paths) else { return true };
    let majors: Vec<u32> =
        drivers.iter().filter(|d| is_gpu_driver(&d.name)).map(|d| d.major).collect();
    let by_number = |numbers: Numbers| {
        majors.iter().any(|major| numbers.has_major(*major)) || is_gpu_in_sysfs(numbers, paths)
    };
    access.nodes.iter().any(|node| is_gpu_node_path(&node.path))
        || access.nodes.iter().filter_map(SpecDevice::numbers).map(Numbers::from).any(by_number)
        || access.rules.iter().copied().any(by_number)
        || hosts_nodes(paths).iter().any(|node| access.opens(&node.path, node.numbers()))
        || leased_nodes(store)
            .iter()
            .any(|n| access.opens(&n.path, device_nodes::numbers(n, paths)))
}

/// The path of a leased device's node that the container can open although the inventory lacks the
/// device, for instance because the devices file was changed since.
pub(super) fn opens_forgotten(
    access: &Access,
    node: &Node,
    paths: &Paths,
    store: &Store,
) -> Option<String> {
    if access.is_empty() {
        return None;
    }
    let own = || node.devices.iter().flat_map(|device| &device.nodes);
    let is_forgotten = |leased: &DeviceNode| !own().any(|node| node.path == leased.path);
    let mut leased = leased_nodes(store).into_iter().filter(is_forgotten);
    leased.find(|n| access.opens(&n.path, device_nodes::numbers(n, paths))).map(|node| node.path)
}

/// Recognises a driver by its name in `/proc/devices`: `nvidia`, `nvidia-frontend`, `nvidia-caps`,
/// `kfd`, `drm`.
fn is_gpu_driver(name: &str) -> bool {
    name.starts_with("nvidia") || matches!(name, "kfd" | "drm")
}

/// Whether sysfs has a GPU node's name for these numbers.
fn is_gpu_in_sysfs(numbers: Numbers, paths: &Paths) -> bool {
    let (Some(major), Some(minor)) = (numbers.major, numbers.minor) else { return false };
    let file = paths.sys.join(format!("dev/char/{major}:{minor}/uevent"));
    let text = kernel_file::read(&file).unwrap_or_default();
    let mut names = text.lines().filter_map(|line| line.strip_prefix("DEVNAME="));
    names.any(|name| is_gpu_node_path(&format!("/dev/{name}")))
}

/// The host's nodes that have a GPU node's name.
fn hosts_nodes(paths: &Paths) -> Vec<SpecDevice> {
    let mut nodes = mounted::nodes(&[SpecMount { devices: true, ..SpecMount::default() }], paths);
    nodes.retain(|node| is_gpu_node_path(&node.path));
    nodes
}

/// The nodes of leased devices. An unreadable lease has none.
fn leased_nodes(store: &Store) -> Vec<DeviceNode> {
    let entries = store.entries().unwrap_or_default().into_iter();
    let leases = entries.filter_map(|entry| match entry {
        Entry::Lease(lease) => Some(lease),
        Entry::Corrupt(_) => None,
    });
    let paths = leases.flat_map(|lease| lease.devices).flat_map(|device| device.nodes);
    paths.map(|path| DeviceNode { path, simulated: None }).collect()
}

#[cfg(test)]
mod tests;
