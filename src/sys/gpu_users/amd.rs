//! AMD: KFD has a directory for each of its processes, with the memory that the process uses on
//! each of its GPUs, and its queues (Linux, `drivers/gpu/drm/amd/amdkfd/kfd_process.c`).

use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use crate::sys::kernel_file::line;
use crate::sys::proc_stat::pids;
use std::fs;
use std::path::Path;

/// Each process with each device that it computes on, and the memory that it uses there.
pub(super) fn look(node: &Node, paths: &Paths) -> Vec<(i32, DeviceId, Option<Bytes>)> {
    let kfd = paths.sys.join("class/kfd/kfd");
    let processes = kfd.join("proc");
    let gpu_id = |device: &Device| {
        let node = device.kfd_node?.to_string();
        let id = line(&kfd.join("topology/nodes").join(node).join("gpu_id"))?;
        // 0 is a CPU.
        id.parse::<u32>().ok().filter(|id| *id != 0)
    };
    let is_real = |device: &&Device| device.vendor == Vendor::Amd && !device.simulated;
    let (mut devices, mut found) = (None, Vec::new());
    // The directory outlives its process by a moment.
    for pid in pids(&processes).filter(|pid| paths.proc.join(pid.to_string()).exists()) {
        // The devices are looked up at the first process, because mostly there is none.
        let devices: &Vec<(u32, &Device)> = devices.get_or_insert_with(|| {
            let real = node.devices.iter().filter(is_real);
            real.filter_map(|device| Some((gpu_id(device)?, device))).collect()
        });
        let process = processes.join(pid.to_string());
        let queues = queues(&process.join("queues"));
        for (id, device) in devices {
            let used = line(&process.join(format!("vram_{id}")));
            let used: Option<u64> = used.and_then(|used| used.parse().ok());
            if used.is_some_and(|used| used > 0) || queues.contains(id) {
                found.push((pid, device.uuid.clone(), used.map(Bytes)));
            }
        }
    }
    found
}

/// The GPUs on which a process has a queue.
fn queues(directory: &Path) -> Vec<u32> {
    let queues = fs::read_dir(directory).into_iter().flatten().flatten();
    queues.filter_map(|queue| line(&queue.path().join("gpuid"))?.parse().ok()).collect()
}
