//! The GPUs that a plan is for.

use crate::allocator::Hold;
use crate::claim::look::survey;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::{Device, Node, Vendor};
use crate::model::mig::MigProfile;
use crate::model::mig_layout::Geometry;
use crate::model::text::shown;
use crate::view::mig::MigGpuView;
use std::collections::BTreeMap;

/// A GPU to be divided.
pub(super) struct MigTarget {
    pub(super) geometry: &'static Geometry,
    /// Its name for nvidia-smi.
    pub(super) id: String,
    /// `None` for a GPU that is not on this node.
    pub(super) gpu: Option<MigGpuView>,
    pub(super) name: String,
    /// The first line of the plan.
    pub(super) title: String,
    /// The instances that it has and keeps.
    pub(super) kept: Vec<MigProfile>,
    /// Whether MIG mode has to be turned on.
    pub(super) turn_on: bool,
    /// Whether it has instances that have to be destroyed.
    pub(super) destroy: bool,
    pub(super) warnings: Vec<String>,
    /// Whether the GPU exists on this host, so that its shell may run the commands.
    pub(super) is_here: bool,
}

impl MigTarget {
    /// A GPU that is not here, and has no instances.
    pub(super) fn of_model(geometry: &'static Geometry) -> Self {
        Self {
            geometry,
            id: "GPU".to_owned(),
            gpu: None,
            name: geometry.name.to_owned(),
            title: format!("{} on any host: replace GPU below by its index", geometry.name),
            kept: Vec::new(),
            turn_on: true,
            destroy: false,
            warnings: vec![turning_on(geometry)],
            is_here: false,
        }
    }
}

/// The conditions of the command that turns MIG mode on.
fn turning_on(geometry: &Geometry) -> String {
    let reset = if geometry.needs_reset {
        ", and the driver resets it; where it cannot, the mode waits for a reset or a reboot"
    } else {
        "; the mode lasts until the driver is unloaded"
    };
    format!(
        "turning MIG mode on needs an idle GPU, which no process and no service has open{reset}"
    )
}

/// The GPUs of this node that are named.
pub(super) fn find(
    host: &Host,
    names: &[String],
    replace: bool,
) -> Result<Vec<MigTarget>, Failure> {
    let node = host.inventory_now(host.config()?)?.node;
    let holds = match survey(host) {
        Ok(swept) => swept.holds(None, &node),
        // Leases only give a warning, unless instances are destroyed: they must not be leased.
        Err(failure) if replace => return Err(failure),
        Err(_) => Vec::new(),
    };
    let mut gpus: Vec<&Device> = Vec::new();
    for name in names {
        let gpu = named(name, &node)?;
        if gpus.iter().any(|other| other.uuid == gpu.uuid) {
            let text = format!("GPU {} is given twice", gpu.index);
            return Err(Failure::new(Code::BadRequest, text));
        }
        gpus.push(gpu);
    }
    gpus.into_iter().map(|gpu| target(gpu, &node, &holds, replace)).collect()
}

/// By its index, its UUID or the beginning of that.
fn named<'a>(name: &str, node: &'a Node) -> Result<&'a Device, Failure> {
    let gpus = || node.devices.iter().filter(|device| device.instance().is_none());
    let found: Vec<&Device> = match name.parse::<u32>() {
        Ok(index) => gpus().filter(|gpu| gpu.index == index).collect(),
        Err(_) => {
            gpus().filter(|gpu| name.len() > 4 && gpu.uuid.as_str().starts_with(name)).collect()
        }
    };
    match found.as_slice() {
        [gpu] => Ok(*gpu),
        all => {
            let is = if all.is_empty() { "no GPU of this node" } else { "several GPUs" };
            Err(Failure::new(Code::NoMatch, format!("`{}` is {is}", shown(name)))
                .hint("`gpulease devices` lists them; a GPU is named by its index or its UUID"))
        }
    }
}

fn target(gpu: &Device, node: &Node, holds: &[Hold], replace: bool) -> Result<MigTarget, Failure> {
    let name = format!("GPU {}", gpu.index);
    let gib = gpu.memory_total_bytes.map(|total| total.mib().saturating_add(512) / 1024);
    let geometry = Geometry::of(&gpu.model, gib).filter(|_| gpu.vendor == Vendor::Nvidia);
    let Some(geometry) = geometry else {
        let text =
            format!("{name}, {}, is not a model with MIG that gpulease knows", shown(&gpu.model));
        return Err(Failure::new(Code::NoMatch, text).hint(match gpu.vendor {
            Vendor::Nvidia => "`nvidia-smi mig -lgip` lists the instances that it can have, if any",
            _ => "only NVIDIA's GPUs have MIG; `amd-smi set --compute-partition` divides AMD's",
        }));
    };
    let instances: Vec<&Device> = node
        .devices
        .iter()
        .filter(|device| device.instance().is_some_and(|mig| mig.parent == gpu.uuid))
        .collect();
    let is_its = |hold: &&Hold| {
        hold.device == gpu.uuid || instances.iter().any(|device| device.uuid == hold.device)
    };
    let held = holds.iter().filter(|hold| !hold.grace).find(is_its);
    let destroy = replace && !instances.is_empty();
    if let (true, Some(hold)) = (destroy, held) {
        let place = instances.iter().find(|device| device.uuid == hold.device);
        let place = place.map_or_else(|| name.clone(), |device| format!("MIG {}", device.place()));
        return Err(Failure::new(
            Code::AlreadyLeased,
            format!("{place} is held by {}", hold.holder),
        )
        .hint("stop its container first, or plan without --replace"));
    }
    let turn_on = !gpu.is_in_mig_mode();
    let kept = if destroy { Vec::new() } else { gpu_instances(&instances) };
    Ok(MigTarget {
        geometry,
        id: smi_id(gpu, node),
        gpu: Some(MigGpuView::of(gpu)),
        title: title(gpu),
        name,
        warnings: warnings(gpu, geometry, held.filter(|_| turn_on), !kept.is_empty()),
        kept,
        turn_on,
        destroy,
        is_here: !gpu.simulated,
    })
}

fn title(gpu: &Device) -> String {
    let simulated = if gpu.simulated { " (simulated: it does not exist)" } else { "" };
    format!("GPU {}, {}{simulated}", gpu.index, shown(&gpu.model))
}

fn warnings(gpu: &Device, geometry: &Geometry, held: Option<&Hold>, keeps: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if gpu.simulated {
        warnings.push(
            "this GPU does not exist: do not run the commands on this host, they would change a \
             real GPU"
                .to_owned(),
        );
    }
    if !gpu.is_in_mig_mode() {
        warnings.push(turning_on(geometry));
    }
    if let Some(hold) = held {
        warnings.push(format!("the GPU is held by {}", hold.holder));
    }
    if keeps {
        warnings.push(
            "the slots of its instances are not known: nvidia-smi fails if there is no room; \
             `nvidia-smi mig -lgi` shows them"
                .to_owned(),
        );
    }
    warnings
}

/// The GPU instances of MIG devices. Several devices can be compute instances of one, as
/// `1c.3g.20gb`.
fn gpu_instances(instances: &[&Device]) -> Vec<MigProfile> {
    let migs = instances.iter().filter_map(|device| device.instance());
    let by_id: BTreeMap<u32, &MigProfile> = migs.map(|mig| (mig.gi, &mig.profile)).collect();
    let whole = |profile: &MigProfile| {
        let name = profile.as_str();
        let name = name.split_once('.').filter(|_| profile.is_shared()).map_or(name, |(_, n)| n);
        MigProfile::new(name).ok()
    };
    by_id.into_values().filter_map(whole).collect()
}

/// nvidia-smi has the same indices if the node has only NVIDIA's GPUs.
fn smi_id(gpu: &Device, node: &Node) -> String {
    let others = node.devices.iter().any(|device| device.vendor != Vendor::Nvidia);
    if others { gpu.uuid.to_string() } else { gpu.index.to_string() }
}
