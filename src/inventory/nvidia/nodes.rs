//! NVIDIA's device nodes in `/dev`.

use crate::model::device::DeviceNode;
use crate::paths::Paths;

/// The nodes that every container with a GPU needs to talk to the driver. `/dev/nvidia-modeset` is
/// for displays and not among them.
const CONTROL: [&str; 3] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"];

/// The nodes of [`CONTROL`] that CUDA cannot work without.
pub(super) const NEEDED: [&str; 2] = ["nvidiactl", "nvidia-uvm"];

/// The control nodes that exist.
pub(super) fn control(paths: &Paths) -> Vec<DeviceNode> {
    let there = CONTROL.iter().filter(|name| paths.dev.join(name).exists());
    there.map(|name| node(name)).collect()
}

/// A note if a node is missing that CUDA needs. The driver makes the nodes when they are first
/// used.
pub(super) fn missing(paths: &Paths) -> Option<String> {
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|name| !paths.dev.join(name).exists())
        .map(|name| format!("/dev/{name}"))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "there is no {}, which CUDA needs: run `nvidia-modprobe -c 0 -u` as root",
            missing.join(" and no ")
        )
    })
}

pub(super) fn of_gpu(minor: u32) -> DeviceNode {
    node(&format!("nvidia{minor}"))
}

pub(super) fn of_capability(minor: u32) -> DeviceNode {
    node(&format!("nvidia-caps/nvidia-cap{minor}"))
}

fn node(name: &str) -> DeviceNode {
    DeviceNode { path: format!("/dev/{name}"), simulated: None }
}
