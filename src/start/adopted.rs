//! Checks the GPU nodes that an engine has put into a spec. They are leased as they are, so their
//! numbers must be this host's. An engine may keep the numbers of the container's creation, and a
//! driver that is loaded again, for instance at a reboot, may have other numbers.

use super::device_nodes;
use crate::failure::Failure;
use crate::injection::{Facts, SpecDevice, is_gpu_node_path};
use crate::model::code::Code;
use crate::model::device::{DeviceNode, Node};
use crate::paths::Paths;

/// Compares each GPU node of a spec with the host. Fails with `stale-inventory` if one has another
/// number or does not exist.
pub(super) fn check(facts: &Facts, node: &Node, paths: &Paths) -> Result<(), Failure> {
    facts.device_paths.iter().try_for_each(|device| check_one(device, node, paths))
}

fn check_one(device: &SpecDevice, node: &Node, paths: &Paths) -> Result<(), Failure> {
    // For runc and crun, a missing number is zero.
    let is = (device.major.unwrap_or(0), device.minor.unwrap_or(0));
    let wide = |(major, minor): (u32, u32)| (i64::from(major), i64::from(minor));
    let of_devices = || node.devices.iter().flat_map(|device| &device.nodes);
    let control = node.control.iter().flat_map(|control| &control.nodes);
    let known = of_devices().chain(control).find(|known| known.path == device.path);
    let host = match known {
        Some(known) => device_nodes::current(known, paths)?,
        None if is_gpu_node_path(&device.path) => {
            let unlisted = DeviceNode { path: device.path.clone(), simulated: None };
            match device_nodes::numbers(&unlisted, paths) {
                Some(numbers) => numbers,
                None => return Ok(()),
            }
        }
        None => return Ok(()),
    };
    // `--device /dev/nvidia1:/dev/nvidia0` puts a GPU under the name of another one.
    let is_another = || of_devices().any(|o| device_nodes::numbers(o, paths).map(wide) == Some(is));
    if wide(host) == is || (of_devices().any(|own| own.path == device.path) && is_another()) {
        return Ok(());
    }
    let text = format!(
        "the node `{}` has the number {}:{} in config.json, but {}:{} on this host: its driver was \
         loaded again after the container was created",
        device.path, is.0, is.1, host.0, host.1
    );
    Err(Failure::new(Code::StaleInventory, text)
        .hint("create the container again: its engine keeps the old numbers"))
}
