//! The load of AMD's GPUs, from the driver's sensors. [`crate::sys::gpu_users`] finds the processes
//! that use them.

use super::kfd;
use crate::inventory::activity::Usage;
use crate::inventory::sysfs;
use crate::model::device::{Device, Vendor};
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use std::path::Path;

/// The load of the AMD devices. For a partition the driver knows only the memory. Its figures for
/// load and power are the whole GPU's, so they are left out.
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
        // In millionths of a watt. Newer kernels and GPUs only have `power1_input`.
        let micro = value("power1_average").or_else(|| value("power1_input"));
        Self {
            temperature_c: milli.and_then(|milli| i32::try_from(milli.div_euclid(1000)).ok()),
            power_w: micro.and_then(|micro| u32::try_from(micro.div_euclid(1_000_000)).ok()),
        }
    }
}
