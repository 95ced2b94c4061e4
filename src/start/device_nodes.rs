//! Device nodes at the moment of a start. The numbers and the group of a real node are read from
//! the host now, because majors are assigned when modules load. A simulated node must not exist on
//! the host.

use crate::failure::Failure;
use crate::injection::{HostNode, READ_WRITE, ResolvedNode};
use crate::model::code::Code;
use crate::model::device::{Device, DeviceNode, Node};
use crate::model::lease::Lease;
use crate::model::order;
use crate::paths::Paths;
use crate::sys::char_drivers;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// The nodes of a lease: those of its devices, and the control nodes of its vendors.
pub(super) fn granted(
    lease: &Lease,
    node: &Node,
    paths: &Paths,
) -> Result<Vec<ResolvedNode>, Failure> {
    let devices: Vec<&Device> = lease.devices.iter().filter_map(|d| node.device(&d.uuid)).collect();
    of_devices(&devices, node, paths)
}

/// The nodes of these devices, after the control nodes of their vendors. Fails if one does not
/// exist, or if a simulated one does.
pub fn of_devices(
    devices: &[&Device],
    node: &Node,
    paths: &Paths,
) -> Result<Vec<ResolvedNode>, Failure> {
    let vendors = order::set(devices.iter().map(|device| device.vendor));
    let control = vendors.iter().flat_map(|vendor| node.control_of(*vendor));
    let own = devices.iter().flat_map(|device| node.nodes_of(device));
    control.chain(own).map(|node| resolve(node, paths)).collect()
}

fn resolve(node: &DeviceNode, paths: &Paths) -> Result<ResolvedNode, Failure> {
    let Some(numbers) = node.simulated else { return real(node, paths) };
    let place = paths.sys.join("dev/char").join(format!("{}:{}", numbers.major, numbers.minor));
    if place.exists() {
        return Err(Failure::new(
            Code::BadInventory,
            format!(
                "the simulated node `{}` has the number {}:{}, which is a real device of this host",
                node.path, numbers.major, numbers.minor
            ),
        )
        .hint("give simulated nodes a major of 1024 or more: Linux does not assign those"));
    }
    Ok(ResolvedNode {
        path: node.path.clone(),
        major: numbers.major,
        minor: numbers.minor,
        file_mode: 0o666,
        uid: Some(0),
        gid: Some(0),
        access: READ_WRITE.to_owned(),
    })
}

/// A node that exists on the host, with its numbers.
pub(super) fn real(node: &DeviceNode, paths: &Paths) -> Result<ResolvedNode, Failure> {
    let fault = |what: String| {
        Failure::new(Code::StaleInventory, format!("the device node `{}` {what}", node.path))
            .hint("load the driver, or correct the path in the devices file")
    };
    let metadata = fs::metadata(paths.node(&node.path))
        .map_err(|error| fault(format!("cannot be used: {error}")))?;
    let (major, minor) = char_drivers::numbers(&metadata)
        .ok_or_else(|| fault("is not a character device".into()))?;
    Ok(ResolvedNode {
        path: node.path.clone(),
        major,
        minor,
        file_mode: metadata.mode() & 0o777,
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        access: READ_WRITE.to_owned(),
    })
}

/// The groups that own a node which others cannot write. The container's user needs them.
pub(super) fn gids(nodes: &[ResolvedNode]) -> Vec<u32> {
    let needed = nodes.iter().filter(|node| node.file_mode & 0o006 != 0o006);
    let mut gids: Vec<u32> = needed.filter_map(|node| node.gid.filter(|gid| *gid != 0)).collect();
    order::sort(&mut gids);
    gids.dedup();
    gids
}

/// Every GPU node of the host that the lease does not include. With the numbers, a node under
/// another name is recognised too. A GPU's display node goes with the GPU: the engine may have
/// given it to the container that has the GPU.
pub(super) fn hidden_from(lease: &Lease, node: &Node, paths: &Paths) -> Vec<HostNode> {
    let devices: Vec<&Device> = lease.devices.iter().filter_map(|d| node.device(&d.uuid)).collect();
    let control = devices.iter().flat_map(|device| node.control_of(device.vendor));
    let own = devices.iter().flat_map(|device| node.nodes_of(device));
    let granted: Vec<&str> = control.chain(own).map(|node| node.path.as_str()).collect();
    hidden_but(node, &granted, paths)
}

/// Every GPU node of the host except those with these paths.
pub(super) fn hidden_but(node: &Node, granted: &[&str], paths: &Paths) -> Vec<HostNode> {
    let is_granted = |node: &DeviceNode| granted.contains(&node.path.as_str());
    let cards = node.devices.iter().filter(|device| !device.nodes.iter().any(is_granted));
    let cards: Vec<DeviceNode> = cards.filter_map(Device::card_node).collect();
    node.nodes()
        .chain(&cards)
        .filter(|node| !is_granted(node))
        .map(|node| HostNode { path: node.path.clone(), numbers: numbers(node, paths) })
        .collect()
}

/// The numbers of a node now, or after it is made. Fails if the node does not exist and its future
/// numbers are unknown.
pub(super) fn current(node: &DeviceNode, paths: &Paths) -> Result<(u32, u32), Failure> {
    let made = resolve(node, paths).map(|node| (node.major, node.minor));
    made.or_else(|failure| to_be_made(node, paths).ok_or(failure))
}

/// The numbers of a node now, or after it is made; `None` if there are none.
pub(super) fn numbers(node: &DeviceNode, paths: &Paths) -> Option<(u32, u32)> {
    current(node, paths).ok()
}

/// Programs make NVIDIA's nodes, perhaps the container's own. The kernel makes the others; their
/// names do not change either.
fn to_be_made(node: &DeviceNode, paths: &Paths) -> Option<(u32, u32)> {
    const NAMES: [(&str, &[&str]); 4] = [
        ("/dev/nvidia", &["nvidia", "nvidia-frontend"]),
        ("/dev/nvidia-caps/nvidia-cap", &["nvidia-caps"]),
        ("/dev/dri/card", &["drm"]),
        ("/dev/dri/renderD", &["drm"]),
    ];
    if node.simulated.is_some() {
        return None;
    }
    let minor = |prefix| node.path.strip_prefix(prefix)?.parse().ok();
    let (minor, names) = NAMES.iter().find_map(|(prefix, names)| Some((minor(prefix)?, *names)))?;
    let drivers = char_drivers::registered(paths).ok()?;
    let driver = drivers.iter().find(|driver| names.contains(&driver.name.as_str()))?;
    Some((driver.major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_made_yet_has_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(&paths.proc).unwrap();
        let number =
            |path: &str| numbers(&DeviceNode { path: path.to_owned(), simulated: None }, &paths);
        assert_eq!(number("/dev/nvidia3"), None);
        let drivers = "Character devices:\n  1 mem\n195 nvidia-frontend\n235 nvidia-caps\n\
                       226 drm\n508 nvidia-uvm\n\nBlock devices:\n195 nvidia\n";
        fs::write(paths.proc.join("devices"), drivers).unwrap();
        assert_eq!(number("/dev/nvidia3"), Some((195, 3)));
        assert_eq!(number("/dev/nvidia-caps/nvidia-cap66"), Some((235, 66)));
        assert_eq!(number("/dev/dri/renderD129"), Some((226, 129)));
        for other in ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/dri/by-path", "/dev/nvidia"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
