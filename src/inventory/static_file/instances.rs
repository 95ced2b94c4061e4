//! The MIG instances of a GPU.

use super::check::{Located, check_uuid, memory};
use super::nodes::NodeChecker;
use super::raw::{RawInstance, RawNode};
use crate::model::device::{Details, Device};
use crate::model::id::DeviceId;
use crate::model::mig::{CI_MAX, GI_MAX, Mig, MigInstance, SLICES_MAX};
use crate::model::quantity::Bytes;
use toml::Spanned;

/// The directory of the driver's capability nodes.
const CAPABILITIES: &str = "/dev/nvidia-caps/";

/// The parts of a GPU that the instances so far use.
#[derive(Default)]
struct Taken {
    slices: u32,
    memory: Bytes,
    ids: Vec<(u32, DeviceId)>,
}

/// The instances of the last device of `known`, which also contains all other devices so far.
pub(super) fn build(
    raw: Vec<RawInstance>,
    known: &[Device],
    checker: &mut NodeChecker,
) -> Result<Vec<Device>, Located> {
    let Some(gpu) = known.last() else { return Ok(Vec::new()) };
    let mut taken = Taken::default();
    let mut instances: Vec<Device> = Vec::with_capacity(raw.len());
    for raw in raw {
        let uuid = raw.uuid.get_ref();
        check_uuid(&raw.uuid, "MIG-", known.iter().chain(&instances), || {
            format!("the UUID `{uuid}` of a MIG instance does not begin with `MIG-`")
        })?;
        taken.add(&raw, gpu)?;
        instances.push(convert(raw, gpu, checker)?);
    }
    Ok(instances)
}

impl Taken {
    /// Adds an instance, if the GPU has room for it.
    fn add(&mut self, raw: &RawInstance, gpu: &Device) -> Result<(), Located> {
        let profile = raw.profile.get_ref();
        if profile.is_shared() {
            let problem = format!(
                "the profile `{profile}` is a part of a GPU instance whose memory its parts share; \
                 only instances with memory of their own can be leased"
            );
            return Err((raw.profile.span(), problem));
        }
        let (uuid, parent) = (raw.uuid.get_ref(), &gpu.uuid);
        let gi = at_most("gi", &raw.gi, GI_MAX)?;
        if let Some((_, other)) = self.ids.iter().find(|(taken, _)| *taken == gi) {
            let problem = format!(
                "the GPU instance {gi} of `{parent}` is given twice: `{other}` is it as well"
            );
            return Err((raw.gi.span(), problem));
        }
        self.ids.push((gi, uuid.clone()));
        self.slices = self.slices.saturating_add(profile.slices());
        if self.slices > SLICES_MAX {
            let problem = format!(
                "with `{uuid}` the instances of `{parent}` have {} compute slices, and a GPU has at \
                 most {SLICES_MAX}",
                self.slices
            );
            return Err((raw.profile.span(), problem));
        }
        let memory = memory(&raw.memory_mib, uuid)?;
        self.memory = self.memory.saturating_add(memory);
        let total = gpu.memory_total_bytes.unwrap_or_default();
        if self.memory > total {
            let (sum, total) = (self.memory.mib(), total.mib());
            let problem = format!(
                "with `{uuid}` the instances of `{parent}` have {sum} MiB of memory, and it has \
                 {total} MiB"
            );
            return Err((raw.memory_mib.span(), problem));
        }
        Ok(())
    }
}

/// Makes the device, with NVML's kind of name: `NVIDIA A100-SXM4-40GB MIG 1g.5gb`. It is numbered
/// later.
fn convert(raw: RawInstance, gpu: &Device, checker: &mut NodeChecker) -> Result<Device, Located> {
    let uuid = raw.uuid.into_inner();
    let ci = raw.ci.as_ref().map_or(Ok(0), |ci| at_most("ci", ci, CI_MAX))?;
    let is_capability = |node: &&Spanned<RawNode>| node.get_ref().path.starts_with(CAPABILITIES);
    let count = raw.nodes.get_ref().iter().filter(is_capability).count();
    if count != 2 {
        let problem = format!(
            "the MIG instance `{uuid}` has {count} of its two `nodes` below `{CAPABILITIES}`, that \
             of its GPU instance and that of its compute instance"
        );
        return Err((raw.nodes.span(), problem));
    }
    let nodes = checker.convert(raw.nodes.into_inner(), &format!("MIG instance `{uuid}`"))?;
    let profile = raw.profile.into_inner();
    let healthy =
        if gpu.healthy == Some(false) { gpu.healthy } else { raw.healthy.or(gpu.healthy) };
    Ok(Device {
        uuid,
        model: format!("{} MIG {profile}", gpu.model),
        memory_total_bytes: Some(Bytes::from_mib(raw.memory_mib.into_inner())),
        memory_reserved_bytes: Some(Bytes(0)),
        nodes,
        healthy,
        mig: Some(Mig::Instance(MigInstance {
            parent: gpu.uuid.clone(),
            profile,
            index: 0,
            gi: raw.gi.into_inner(),
            ci,
        })),
        // An instance has only some of its GPU's compute units.
        details: Details { compute_units: None, ..gpu.details.clone() },
        ..gpu.clone()
    })
}

fn at_most(key: &str, given: &Spanned<u32>, max: u32) -> Result<u32, Located> {
    let number = *given.get_ref();
    let problem = || format!("`{key}` is {number}, allowed are 0 to {max}");
    if number <= max { Ok(number) } else { Err((given.span(), problem())) }
}
