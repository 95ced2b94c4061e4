//! The MIG devices of a GPU.

use super::failure::DeviceProbe;
use super::memory::memory;
use crate::inventory::nvidia::answer::{Instance, MigSize};
use crate::sys::nvml;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// All MIG devices of a GPU. NVML's positions for them may have gaps.
pub(super) fn ask(gpu: &Device<'_>, probe: &mut DeviceProbe) -> Vec<Instance> {
    let positions = probe.need("MIG device count", gpu.mig_device_count()).unwrap_or_default();
    handles(gpu, positions)
        .filter_map(|device| probe.may("MIG devices", device))
        .map(|device| instance(&device))
        .collect()
}

pub(super) fn handles<'nvml>(
    gpu: &Device<'nvml>,
    positions: u32,
) -> impl Iterator<Item = Result<Device<'nvml>, NvmlError>> {
    (0..positions).map(|position| gpu.mig_device_by_index(position))
}

fn instance(device: &Device<'_>) -> Instance {
    let mut probe = DeviceProbe::default();
    let uuid = probe.need("UUID", device.uuid());
    let gi = probe.need("GPU instance id", nvml::gpu_instance_id(device));
    let ci = probe.need("compute instance id", nvml::compute_instance_id(device));
    let name = probe.may("name", device.name());
    let memory = probe.need("memory", memory(device));
    let size = probe.may("attributes", device.attributes()).map(|attributes| MigSize {
        gpu_slices: attributes.gpu_instance_slice_count,
        compute_slices: attributes.compute_instance_slice_count,
        memory_mib: attributes.memory_size_mb,
        multiprocessors: attributes.multiprocessor_count,
    });
    Instance { uuid, gi, ci, name, memory, size, fault: probe.fault }
}
