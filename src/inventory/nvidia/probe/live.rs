//! What goes on: who runs on the devices, and how much of them is in use.

use super::failure::Asker;
use super::{gpu, mig};
use crate::inventory::nvidia::answer::{Kind, Process, Used};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;

/// How often a list is asked for that grows while it is.
const TRIES: u32 = 3;

/// Every device that work can run on: a GPU, or the MIG devices of one in MIG mode.
fn all(nvml: &Nvml) -> Vec<(String, Device<'_>)> {
    let gpus = (0..nvml.device_count().unwrap_or_default())
        .filter_map(|index| nvml.device_by_index(index).ok());
    let mut all = Vec::new();
    for gpu in gpus {
        if gpu.mig_mode().is_ok_and(|mode| mode.current == 1) {
            all.extend(mig::handles(&gpu, gpu.mig_device_count().unwrap_or_default()).flatten());
        } else {
            all.push(gpu);
        }
    }
    all.into_iter().filter_map(|device| Some((device.uuid().ok()?, device))).collect()
}

/// The processes on all devices. What a device does not tell is left out: it may well run some.
pub(super) fn processes(nvml: &Nvml) -> Vec<Process> {
    let mut found = Vec::new();
    for (uuid, device) in all(nvml) {
        let lists = [
            (Kind::Graphics, listed(|| device.running_graphics_processes())),
            (Kind::Compute, listed(|| device.running_compute_processes())),
            (Kind::Mps, listed(|| device.mps_running_compute_processes())),
        ];
        let mut by_pid: BTreeMap<u32, (Kind, Option<u64>)> = BTreeMap::new();
        for (kind, list) in lists {
            for process in list {
                let memory = match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                };
                let known = by_pid.get(&process.pid).and_then(|(_, memory)| *memory);
                by_pid.insert(process.pid, (kind, memory.max(known)));
            }
        }
        found.extend(by_pid.into_iter().map(|(pid, (kind, memory))| Process {
            device: uuid.clone(),
            pid,
            kind,
            memory,
        }));
    }
    found
}

fn listed(list: impl Fn() -> Result<Vec<ProcessInfo>, NvmlError>) -> Vec<ProcessInfo> {
    for _ in 0..TRIES {
        match list() {
            Ok(processes) => return processes,
            Err(NvmlError::InsufficientSize(_)) => {}
            Err(_) => break,
        }
    }
    Vec::new()
}

/// How much of each device is in use.
pub(super) fn usage(nvml: &Nvml) -> Vec<Used> {
    all(nvml)
        .into_iter()
        .map(|(uuid, device)| {
            let mut asker = Asker::default();
            Used {
                device: uuid,
                memory: asker.may("memory", gpu::memory(&device)),
                utilization: asker
                    .may("utilization", device.utilization_rates())
                    .map(|rates| rates.gpu),
                temperature: asker.may("temperature", device.temperature(TemperatureSensor::Gpu)),
                power: asker.may("power", device.power_usage()),
            }
        })
        .collect()
}
