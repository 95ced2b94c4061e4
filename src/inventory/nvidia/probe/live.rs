//! The current use of the devices: their processes, and their load.

use super::failure::DeviceProbe;
use super::memory::memory;
use super::mig;
use crate::inventory::activity::ProcessKind;
use crate::inventory::nvidia::answer::{NvmlActivity, NvmlProcess, Used};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;

/// How often a list is requested if it grows at the same time.
const TRIES: u32 = 3;

/// The parts of a GPU that processes can run on.
struct LiveInstances<'nvml> {
    /// The GPU, or in MIG mode its MIG devices.
    devices: Vec<Device<'nvml>>,
    /// The UUID of a GPU in MIG mode, if these are all its MIG devices.
    whole: Option<String>,
}

/// The parts of each GPU that has a handle.
fn all(nvml: &Nvml) -> impl Iterator<Item = LiveInstances<'_>> {
    (0..nvml.device_count().unwrap_or_default())
        .filter_map(|index| nvml.device_by_index(index).ok())
        .map(parts)
}

fn parts(gpu: Device<'_>) -> LiveInstances<'_> {
    if !gpu.mig_mode().is_ok_and(|mode| mode.current == 1) {
        return LiveInstances { devices: vec![gpu], whole: None };
    }
    let positions = gpu.mig_device_count();
    let mut is_all = positions.is_ok();
    let mut devices = Vec::new();
    for device in mig::handles(&gpu, positions.unwrap_or_default()) {
        match device {
            Ok(device) => devices.push(device),
            // A gap.
            Err(NvmlError::NotFound) => {}
            Err(_) => is_all = false,
        }
    }
    LiveInstances { devices, whole: gpu.uuid().ok().filter(|_| is_all) }
}

/// The processes on all devices, and the devices that reported all of theirs. A device that fails
/// to report something may have more processes.
pub(super) fn processes(nvml: &Nvml) -> NvmlActivity {
    let mut running = NvmlActivity::default();
    for LiveInstances { devices, whole } in all(nvml) {
        let mut has_all = true;
        for device in devices {
            let Ok(uuid) = device.uuid() else {
                has_all = false;
                continue;
            };
            if add(&mut running.processes, &uuid, &device) {
                running.asked.push(uuid);
            } else {
                has_all = false;
            }
        }
        running.asked.extend(whole.filter(|_| has_all));
    }
    running
}

/// Adds the processes of one device, and returns whether these are all. A process with several
/// kinds of use gets the last of them in this order.
fn add(found: &mut Vec<NvmlProcess>, uuid: &str, device: &Device<'_>) -> bool {
    // Not all devices can draw or have MPS. Every device can report processes that compute.
    let lists = [
        (ProcessKind::Graphics, or_none(listed(|| device.running_graphics_processes()))),
        (ProcessKind::Compute, listed(|| device.running_compute_processes())),
        (ProcessKind::Mps, or_none(listed(|| device.mps_running_compute_processes()))),
    ];
    let is_all = lists.iter().all(|(_, list)| list.is_ok());
    let mut by_pid: BTreeMap<u32, (ProcessKind, Option<u64>)> = BTreeMap::new();
    for (kind, list) in lists {
        for process in list.unwrap_or_default() {
            let memory = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            let known = by_pid.get(&process.pid).and_then(|(_, memory)| *memory);
            by_pid.insert(process.pid, (kind, memory.max(known)));
        }
    }
    found.extend(by_pid.into_iter().map(|(pid, (kind, memory))| NvmlProcess {
        device: uuid.to_owned(),
        pid,
        kind,
        memory,
    }));
    is_all
}

type ProcessList = Result<Vec<ProcessInfo>, NvmlError>;

fn or_none(list: ProcessList) -> ProcessList {
    match list {
        Err(NvmlError::NotSupported) => Ok(Vec::new()),
        list => list,
    }
}

fn listed(list: impl Fn() -> ProcessList) -> ProcessList {
    for _ in 1..TRIES {
        match list() {
            Err(NvmlError::InsufficientSize(_)) => {}
            told => return told,
        }
    }
    list()
}

/// How much of each device is in use.
pub(super) fn usage(nvml: &Nvml) -> Vec<Used> {
    all(nvml)
        .flat_map(|parts| parts.devices)
        .filter_map(|device| Some((device.uuid().ok()?, device)))
        .map(|(uuid, device)| {
            let mut probe = DeviceProbe::default();
            Used {
                device: uuid,
                memory: probe.may("memory", memory(&device)),
                utilization: probe
                    .may("utilization", device.utilization_rates())
                    .map(|rates| rates.gpu),
                temperature: probe.may("temperature", device.temperature(TemperatureSensor::Gpu)),
                power: probe.may("power", device.power_usage()),
            }
        })
        .collect()
}
