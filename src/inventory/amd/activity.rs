//! Who uses AMD's GPUs, and how much: KFD's list of its processes, and the driver's sensors.

use super::kfd;
use crate::inventory::activity::{GpuProcess, ProcessKind, Usage};
use crate::inventory::sysfs;
use crate::model::device::{Device, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The processes that compute on AMD devices. KFD lists each process with all GPUs that it could
/// use; it uses one if it has memory or a queue there. Who draws is not KFD's to know.
#[must_use]
pub fn processes(paths: &Paths, devices: &[Device]) -> Vec<GpuProcess> {
    let mut by_gpu_id: BTreeMap<u64, &DeviceId> = BTreeMap::new();
    for device in of_amd(devices) {
        let id = device.kfd_node.and_then(|node| kfd::gpu_id(&paths.sys, node));
        by_gpu_id.extend(id.map(|id| (id, &device.uuid)));
    }
    let mut found = Vec::new();
    let all = paths.sys.join("class/kfd/kfd/proc");
    for pid in sysfs::numbered(&all, "") {
        let directory = all.join(pid.to_string());
        let Ok(pid) = i32::try_from(pid) else { continue };
        let queues = queues(&directory.join("queues"));
        for (id, device) in &by_gpu_id {
            let memory = sysfs::number(&directory.join(format!("vram_{id}"))).ok().flatten();
            if memory.is_none_or(|bytes| bytes == 0) && !queues.contains(id) {
                continue;
            }
            found.push(GpuProcess {
                device: (*device).clone(),
                pid,
                kind: ProcessKind::Compute,
                memory: memory.map(Bytes),
            });
        }
    }
    found.sort();
    found
}

/// The GPUs that a process has a queue on.
fn queues(directory: &Path) -> Vec<u64> {
    let queues = fs::read_dir(directory).into_iter().flatten().flatten();
    queues.filter_map(|queue| sysfs::number(&queue.path().join("gpuid")).ok()?).collect()
}

/// How much the AMD devices are used. Of a partition the driver knows the memory; the load and the
/// power that it tells are the whole GPU's, and so not said.
#[must_use]
pub fn usage(paths: &Paths, devices: &[Device]) -> Vec<Usage> {
    of_amd(devices).map(|device| of_device(&paths.sys, device)).collect()
}

fn of_device(sys: &Path, device: &Device) -> Usage {
    let gpu = sysfs::pci_directory(sys, device.pci);
    let number = |name: &str| sysfs::number(&gpu.as_ref()?.join(name)).ok()?;
    let sensors = gpu.as_ref().map(|gpu| Sensors::of(&gpu.join("hwmon"))).unwrap_or_default();
    let is_whole = device.details.partition.is_none();
    let of_node = || kfd::used_memory(sys, device.kfd_node?);
    let of_gpu = || number("mem_info_vram_used");
    Usage {
        device: device.uuid.clone(),
        used: if is_whole { of_gpu().or_else(of_node) } else { of_node() }.map(Bytes),
        busy_percent: number("gpu_busy_percent")
            .filter(|percent| is_whole && *percent <= 100)
            .and_then(|percent| u32::try_from(percent).ok()),
        temperature_c: sensors.temperature_c,
        power_w: sensors.power_w.filter(|_| is_whole),
    }
}

fn of_amd(devices: &[Device]) -> impl Iterator<Item = &Device> {
    devices.iter().filter(|device| device.vendor == Vendor::Amd && !device.simulated)
}

/// What hwmon measures.
#[derive(Default)]
struct Sensors {
    temperature_c: Option<i32>,
    power_w: Option<u32>,
}

impl Sensors {
    fn of(hwmon: &Path) -> Self {
        let Some(first) = sysfs::numbered(hwmon, "hwmon").first().copied() else {
            return Self::default();
        };
        let directory = hwmon.join(format!("hwmon{first}"));
        let value =
            |name: &str| -> Option<i64> { sysfs::text(&directory.join(name)).ok()??.parse().ok() };
        // MI300X has no sensor at its edge. Temperatures are in thousandths of a degree.
        let labelled = |wanted: &str| {
            let label = |sensor: &u32| {
                sysfs::text(&directory.join(format!("temp{sensor}_label"))).ok().flatten()
            };
            let sensor = (1..=3_u32).find(|sensor| label(sensor).as_deref() == Some(wanted))?;
            value(&format!("temp{sensor}_input"))
        };
        let milli = labelled("edge").or_else(|| labelled("junction"));
        // In millionths of a watt; newer kernels and GPUs have the latter.
        let micro = value("power1_average").or_else(|| value("power1_input"));
        Self {
            temperature_c: milli.and_then(|milli| i32::try_from(milli.div_euclid(1000)).ok()),
            power_w: micro.and_then(|micro| u32::try_from(micro.div_euclid(1_000_000)).ok()),
        }
    }
}
