//! The devices: NVML's data about each GPU, and the kernel's where NVML has none.

use super::answer::{Gpu, NvmlAnswer, Silent};
use super::instances;
use super::nodes;
use super::procfs::KernelGpu;
use super::sources::GpuSources;
use crate::inventory::sysfs;
use crate::model::device::Details;
use crate::model::device::{Device, PciAddress, Vendor};
use crate::model::id::DeviceId;
use crate::model::mig::Mig;
use crate::model::quantity::Bytes;
use crate::model::text::{shown, shown_line};

/// The devices in PCI order, each GPU followed by its MIG instances, and notes about GPUs that are
/// not devices.
pub(super) fn devices(known: &GpuSources<'_>) -> (Vec<Device>, Vec<String>) {
    let (mut devices, mut notes) = (Vec::new(), Vec::new());
    for pci in known.addresses() {
        let of_kernel = known.kernel.iter().find(|gpu| gpu.pci == pci);
        let all = known.answer.map(|answer| answer.gpus.as_slice()).unwrap_or_default();
        let mut told: Vec<Option<&Gpu>> = all.iter().filter(|g| g.pci == pci).map(Some).collect();
        if told.is_empty() {
            told.push(None);
        }
        for of_nvml in told {
            let Some(gpu) = device(known, pci, of_kernel, of_nvml) else { continue };
            let parts = of_nvml.map(|told| instances::devices(known, &gpu, told));
            let parts = parts.unwrap_or_default();
            devices.push(gpu);
            devices.extend(parts.devices);
            notes.extend(parts.notes);
        }
    }
    (devices, notes)
}

fn device(
    known: &GpuSources<'_>,
    pci: PciAddress,
    kernel: Option<&KernelGpu>,
    told: Option<&Gpu>,
) -> Option<Device> {
    let silent = known.silent(pci);
    let identity = told
        .and_then(|gpu| gpu.uuid.as_deref())
        .or_else(|| kernel.and_then(|gpu| gpu.uuid.as_deref()))
        .and_then(|uuid| DeviceId::new(uuid).ok());
    let has_identity = identity.is_some();
    let uuid = identity.or_else(|| DeviceId::new(&pci.gpu_id()).ok())?;
    let minor = told.and_then(|gpu| gpu.minor).or_else(|| kernel.and_then(|gpu| gpu.minor));
    let model = told
        .and_then(|gpu| gpu.name.as_deref().map(shown))
        .or_else(|| kernel.and_then(|gpu| gpu.model.clone()));
    let memory = told.and_then(|gpu| gpu.memory);
    let fault = silent
        .map(|silent| shown_line(&silent.fault))
        .or_else(|| told.and_then(|gpu| gpu.fault.as_deref().map(shown_line)))
        .or_else(|| unheard(known, told))
        .or_else(|| minor.is_none().then(|| "the driver does not tell its minor number".to_owned()))
        .or_else(|| (!has_identity).then(|| UNIDENTIFIED.to_owned()));
    let reasons = health_reasons(known, pci, told, silent);
    let healthy = match (reasons.is_empty(), told.is_some() && fault.is_none()) {
        (false, _) => Some(false),
        (true, true) => Some(true),
        (true, false) => None,
    };
    Some(Device {
        uuid,
        index: 0,
        vendor: Vendor::Nvidia,
        model: model.unwrap_or_else(|| "NVIDIA GPU".to_owned()),
        memory_total_bytes: memory.map(|memory| Bytes(memory.total)),
        memory_reserved_bytes: memory.and_then(|memory| memory.reserved).map(Bytes),
        pci,
        numa_node: sysfs::numa_node(&known.paths.sys.join(format!("bus/pci/devices/{pci}"))),
        kfd_node: None,
        nodes: minor.map(nodes::of_gpu).into_iter().collect(),
        healthy,
        simulated: false,
        mig: told.and_then(|gpu| gpu.mig).unwrap_or_default().then_some(Mig::Enabled),
        details: Details {
            fault,
            health_reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            cuda: known.answer.and_then(NvmlAnswer::cuda_version),
            ..told.map(details).unwrap_or_default()
        },
    })
}

/// A container without the UUID could not be told which GPU it has.
const UNIDENTIFIED: &str = "its UUID is not known before the GPU is used for the first time: run \
                            nvidia-smi";

/// NVML answers, but does not know this GPU.
fn unheard(known: &GpuSources<'_>, told: Option<&Gpu>) -> Option<String> {
    (known.answer.is_some() && told.is_none()).then(|| "NVML does not know it".to_owned())
}

fn details(gpu: &Gpu) -> Details {
    Details {
        arch: gpu.capability.map(|(major, minor)| format!("{major}.{minor}")),
        brand: gpu.brand.clone(),
        compute_units: gpu.cores.zip(gpu.capability).and_then(|(cores, of)| units(cores, of)),
        persistence: gpu.persistence,
        compute_mode: gpu.compute_mode.clone(),
        ecc: gpu.ecc,
        ..Details::default()
    }
}

/// The number of streaming multiprocessors. NVML counts their cores, of which each has as many as
/// CUDA's programming guide says ("arithmetic instructions", 32-bit floating point).
fn units(cores: u32, capability: (i32, i32)) -> Option<u32> {
    let in_each = match capability {
        (5, _) | (6, 1 | 2) | (8, 6..) | (9 | 10 | 12, _) => 128,
        (6, 0) | (7, _) | (8, 0) => 64,
        _ => return None,
    };
    Some(cores / in_each).filter(|units| *units > 0)
}

fn health_reasons(
    known: &GpuSources<'_>,
    pci: PciAddress,
    told: Option<&Gpu>,
    silent: Option<&Silent>,
) -> Vec<String> {
    let mut all = Vec::new();
    let signs = told.map(|gpu| gpu.health).unwrap_or_default();
    if signs.lost || silent.is_some_and(|silent| silent.lost) {
        all.push("the GPU is lost: reset it, or reboot".to_owned());
    }
    all.extend(known.errors(pci, None));
    if let Some(count) = signs.uncorrected.filter(|count| *count > 0) {
        all.push(format!("uncorrectable ECC errors since the driver was loaded: {count}"));
    }
    if signs.remap_failed == Some(true) {
        all.push("a row of memory could not be remapped: replace the GPU".to_owned());
    }
    if signs.remap_pending == Some(true) {
        all.push("a row of memory is to be remapped: reset the GPU".to_owned());
    }
    if signs.retirement_pending == Some(true) {
        all.push("a page of memory is to be retired: reset the GPU".to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Input, Policy, parse};
    use std::collections::BTreeMap;

    #[test]
    fn multiprocessors_of_known_gpus() {
        // From NVIDIA's data sheets: P100, T4, A100, A10, L40S, H100 SXM, B200's kind.
        for (cores, capability, sms) in [
            (3584, (6, 0), 56),
            (2560, (7, 5), 40),
            (6912, (8, 0), 108),
            (9216, (8, 6), 72),
            (18176, (8, 9), 142),
            (16896, (9, 0), 132),
        ] {
            assert_eq!(units(cores, capability), Some(sms), "{capability:?}");
        }
        assert_eq!(units(1536, (3, 0)), None);
        assert_eq!(units(0, (9, 0)), None);
    }

    #[test]
    fn a_gpu_without_a_uuid_can_be_named_all_the_same() {
        let pci = PciAddress { domain: 0x10000, bus: 0x1b, device: 0x1f, function: 7 };
        assert_eq!(pci.gpu_id(), "GPU-10000-1b-1f.7");
        let pci = PciAddress { domain: 0, bus: 0x1b, device: 0, function: 0 };
        assert_eq!(pci.gpu_id(), "GPU-0000-1b-00.0");
        let annotations =
            BTreeMap::from([("gpulease/devices".to_owned(), "GPU-0000-1b".to_owned())]);
        let input = Input { annotations: &annotations, env: &[], container_name: None };
        assert!(matches!(parse(&input, &Policy::default()), Ok(Some(_))));
    }
}
