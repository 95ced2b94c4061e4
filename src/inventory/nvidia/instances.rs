//! The MIG instances of a GPU.

use super::answer::{Gpu, Instance, MigSize};
use super::nodes;
use super::sources::GpuSources;
use crate::model::device::{Details, Device, DeviceNode};
use crate::model::id::DeviceId;
use crate::model::mig::{Mig, MigInstance, MigProfile};
use crate::model::quantity::Bytes;
use crate::model::text::{shown, shown_line};

/// The parts of a GPU.
#[derive(Default)]
pub(super) struct Parts {
    /// The instances that can be leased, or have a fault.
    pub(super) devices: Vec<Device>,
    /// Notes about other instances.
    pub(super) notes: Vec<String>,
}

/// The instances of `gpu`, by NVML's data about it.
pub(super) fn devices(known: &GpuSources<'_>, gpu: &Device, told: &Gpu) -> Parts {
    let mut parts = Parts::default();
    for instance in &told.instances {
        match device(known, gpu, told, instance) {
            Ok(device) => parts.devices.push(device),
            Err(why) => parts.notes.push(format!(
                "MIG device `{}` of GPU {} is not leased: {why}",
                shown(instance.uuid.as_deref().unwrap_or("without a UUID")),
                gpu.pci
            )),
        }
    }
    parts
}

fn device(
    known: &GpuSources<'_>,
    gpu: &Device,
    told: &Gpu,
    instance: &Instance,
) -> Result<Device, String> {
    let why = |what: &str| instance.fault.as_deref().map_or_else(|| what.to_owned(), shown_line);
    let uuid = instance.uuid.as_deref().ok_or_else(|| why("it has no UUID"))?;
    let uuid = DeviceId::new(uuid).map_err(|error| error.to_string())?;
    let gi = instance.gi.ok_or_else(|| why("its GPU instance is not known"))?;
    let ci = instance.ci.ok_or_else(|| why("its compute instance is not known"))?;
    let profile = profile(instance, told).ok_or_else(|| why("its profile is not known"))?;
    if profile.is_shared() {
        // They share memory, so one lease could take what another was promised.
        return Err(format!("`{profile}` shares the memory of GPU instance {gi} with others"));
    }
    let (nodes, missing) = nodes(known, told.minor, gi, ci);
    let fault = instance.fault.as_deref().map(shown_line).or(missing).or(gpu.details.fault.clone());
    // A fault of the GPU affects all its instances; a fault of an instance affects no other.
    let mut reasons: Vec<String> = gpu.details.health_reason.iter().cloned().collect();
    reasons.extend(known.errors(gpu.pci, Some(gi)));
    let healthy = if reasons.is_empty() { gpu.healthy } else { Some(false) };
    Ok(Device {
        uuid,
        model: format!("{} MIG {profile}", gpu.model),
        memory_total_bytes: instance.memory.map(|memory| Bytes(memory.total)),
        memory_reserved_bytes: instance.memory.and_then(|memory| memory.reserved).map(Bytes),
        nodes,
        healthy: if fault.is_some() && healthy == Some(true) { None } else { healthy },
        mig: Some(Mig::Instance(MigInstance {
            parent: gpu.uuid.clone(),
            profile,
            index: 0,
            gi,
            ci,
        })),
        details: Details {
            fault,
            health_reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            compute_units: instance.size.map(|size| size.multiprocessors).filter(|n| *n > 0),
            ..gpu.details.clone()
        },
        ..gpu.clone()
    })
}

/// The nodes of an instance's two capabilities: for its GPU instance and for its compute instance.
fn nodes(
    known: &GpuSources<'_>,
    gpu: Option<u32>,
    gi: u32,
    ci: u32,
) -> (Vec<DeviceNode>, Option<String>) {
    let Some(gpu) = gpu else { return (Vec::new(), None) };
    let names = [format!("gpu{gpu}/gi{gi}/access"), format!("gpu{gpu}/gi{gi}/ci{ci}/access")];
    let minor = |name: &String| known.minors.get(name).copied();
    let missing = names.iter().find(|name| minor(name).is_none());
    let fault =
        missing.map(|name| format!("the driver has no capability `{name}` in mig-minors for it"));
    (names.iter().filter_map(minor).map(nodes::of_capability).collect(), fault)
}

/// The profile in the instance's name: `NVIDIA A100-SXM4-40GB MIG 1g.5gb`. Old drivers give an
/// instance its GPU's name; then the profile is computed from the size.
fn profile(instance: &Instance, gpu: &Gpu) -> Option<MigProfile> {
    let named = instance.name.as_deref().and_then(|name| name.rsplit_once("MIG "));
    named
        .and_then(|(_, profile)| MigProfile::new(profile.trim()).ok())
        .or_else(|| MigProfile::new(&sized(instance.size?, gpu.memory?.total)?).ok())
}

/// The profile of a size. Its gigabytes are not the instance's memory, but the GPU's by the eighths
/// of it that the instance has, rounded up: 4864 MiB of 40 GB are one eighth, `5gb`.
fn sized(size: MigSize, total: u64) -> Option<String> {
    let memory = u128::from(size.memory_mib) << 20;
    let eighths = (memory * 8).div_ceil(u128::from(total.max(1)));
    let gigabytes = u128::from(total).div_ceil(1 << 30);
    let share = (gigabytes * eighths + 4) / 8;
    let MigSize { gpu_slices, compute_slices, .. } = size;
    if gpu_slices == 0 || compute_slices == 0 || share == 0 {
        return None;
    }
    let compute =
        if compute_slices < gpu_slices { format!("{compute_slices}c.") } else { String::new() };
    Some(format!("{compute}{gpu_slices}g.{share}gb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_nvidias_names() {
        let of = |gpu_slices, compute_slices, memory_mib, total| {
            let size = MigSize { gpu_slices, compute_slices, memory_mib, multiprocessors: 14 };
            sized(size, total).unwrap_or_default()
        };
        // An A100 with 40 GB, and an H100 with 80, as they tell their memory.
        let (a100, h100) = (42_505_273_344, 85_520_809_984);
        assert_eq!(of(1, 1, 4864, a100), "1g.5gb");
        assert_eq!(of(2, 2, 9856, a100), "2g.10gb");
        assert_eq!(of(3, 3, 19_968, a100), "3g.20gb");
        assert_eq!(of(7, 7, 40_192, a100), "7g.40gb");
        assert_eq!(of(3, 1, 19_968, a100), "1c.3g.20gb");
        assert_eq!(of(1, 1, 9984, h100), "1g.10gb");
        assert_eq!(of(1, 1, 20_096, h100), "1g.20gb");
        assert_eq!(of(7, 7, 81_152, h100), "7g.80gb");
        assert_eq!(of(0, 0, 4864, a100), "");
        assert_eq!(of(1, 1, 4864, 0).as_str(), "");
    }
}
