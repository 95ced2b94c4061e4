//! AMD: KFD has a directory for each process that computes, with how much memory it has on each GPU
//! (Linux, `drivers/gpu/drm/amd/amdkfd/kfd_process.c`).

use super::{Found, pids, small};
use crate::model::device::{Device, Node, Vendor};
use crate::model::quantity::Bytes;
use crate::paths::Paths;

pub(super) fn look(node: &Node, paths: &Paths, found: &mut Found) {
    let kfd = paths.sys.join("class/kfd/kfd");
    let processes = kfd.join("proc");
    let gpu_id = |device: &Device| {
        let node = device.kfd_node?.to_string();
        let id = small(&kfd.join("topology/nodes").join(node).join("gpu_id"))?;
        // 0 is a CPU.
        id.parse::<u32>().ok().filter(|id| *id != 0)
    };
    let is_real = |device: &&Device| device.vendor == Vendor::Amd && !device.simulated;
    let mut devices = None;
    // The directory outlives its process by a moment.
    for pid in pids(&processes).filter(|pid| paths.proc.join(pid.to_string()).exists()) {
        // Only once there is anybody: most of the time there is nobody.
        let devices: &Vec<(u32, &Device)> = devices.get_or_insert_with(|| {
            let real = node.devices.iter().filter(is_real);
            real.filter_map(|device| Some((gpu_id(device)?, device))).collect()
        });
        for (id, device) in devices {
            let used = small(&processes.join(pid.to_string()).join(format!("vram_{id}")));
            let used = used.and_then(|used| used.parse().ok()).filter(|used| *used > 0);
            if let Some(used) = used {
                found.entry(pid).or_default().insert(device.uuid.clone(), Some(Bytes(used)));
            }
        }
    }
}
