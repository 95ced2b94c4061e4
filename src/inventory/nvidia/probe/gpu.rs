//! NVML's data about one GPU.

use super::failure::DeviceProbe;
use super::memory::memory;
use super::{links, mig};
use crate::inventory::nvidia::answer::{Gpu, HealthSigns};
use crate::model::device::PciAddress;
use crate::sys::nvml;
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{ComputeMode, EccCounter, MemoryError};

pub(super) fn ask(pci: PciAddress, device: &Device<'_>) -> Gpu {
    let mut probe = DeviceProbe::default();
    let uuid = probe.need("UUID", device.uuid());
    let minor = probe.need("minor number", device.minor_number());
    let name = probe.need("name", device.name());
    let memory = probe.need("memory", memory(device));
    let capability = probe
        .may("compute capability", device.cuda_compute_capability())
        .map(|c| (c.major, c.minor));
    let brand = probe.may("brand", device.brand());
    let brand = brand.map(|brand| format!("{brand:?}").to_ascii_lowercase());
    let cores = probe.may("core count", device.num_cores());
    let compute_mode = probe.may("compute mode", device.compute_mode());
    let persistence = probe.may("persistence mode", device.is_in_persistent_mode());
    let ecc = probe.may("ECC mode", device.is_ecc_enabled()).map(|ecc| ecc.currently_enabled);
    // Mode 1 is on. The pending mode takes effect at the next reset.
    let mig = probe.may("MIG mode", device.mig_mode()).map(|mode| mode.current == 1);
    let instances = if mig == Some(true) { mig::ask(device, &mut probe) } else { Vec::new() };
    let nvlinks = links::nvlinks(device);
    let signs = health_signs(device, &mut probe);
    Gpu {
        pci,
        uuid,
        minor,
        name,
        memory,
        capability,
        brand,
        cores,
        compute_mode: compute_mode.map(|mode| mode_name(mode).to_owned()),
        persistence,
        ecc,
        mig,
        instances,
        nvlinks,
        health: HealthSigns { lost: probe.is_lost, ..signs },
        fault: probe.fault,
    }
}

/// The mode's name for `nvidia-smi -c`.
const fn mode_name(mode: ComputeMode) -> &'static str {
    match mode {
        ComputeMode::Default => "DEFAULT",
        ComputeMode::ExclusiveThread => "EXCLUSIVE_THREAD",
        ComputeMode::Prohibited => "PROHIBITED",
        ComputeMode::ExclusiveProcess => "EXCLUSIVE_PROCESS",
    }
}

fn health_signs(device: &Device<'_>, probe: &mut DeviceProbe) -> HealthSigns {
    let errors = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    let rows = probe.may("remapped rows", nvml::remapped_rows(device));
    HealthSigns {
        lost: false,
        uncorrected: probe.may("ECC errors", errors),
        remap_pending: rows.map(|rows| rows.is_pending),
        remap_failed: rows.map(|rows| rows.has_failed),
        // GPUs before Ampere retire pages instead of remapping rows.
        retirement_pending: probe.may("retired pages", device.are_pages_pending_retired()),
    }
}
