//! How GPUs are divided into MIG instances, and the commands that do it.

use crate::model::device::Device;
use crate::model::id::DeviceId;
use crate::model::mig::MigProfile;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct MigPlansView {
    pub plans: Vec<MigPlanView>,
}

/// The plan for one GPU.
#[derive(Debug, Serialize)]
pub struct MigPlanView {
    /// Null for a GPU that is not on this node.
    pub gpu: Option<MigGpuView>,
    /// The name of the model in the tables of placements.
    pub geometry: &'static str,
    /// The instances that it has and keeps.
    pub kept: Vec<MigProfile>,
    pub instances: Vec<MigInstanceView>,
    /// Empty where a shell of this host would change another GPU than the one that is planned for.
    pub commands: Vec<String>,
    /// The commands in that case.
    pub commands_for_a_real_gpu: Vec<String>,
    pub warnings: Vec<String>,
    /// The first line of the text.
    #[serde(skip)]
    pub title: String,
}

/// The GPU that is divided.
#[derive(Debug, Clone, Serialize)]
pub struct MigGpuView {
    index: u32,
    uuid: DeviceId,
    model: String,
    mig_mode: bool,
    simulated: bool,
}

impl MigGpuView {
    pub fn of(gpu: &Device) -> Self {
        Self {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            model: gpu.model.clone(),
            mig_mode: gpu.is_in_mig_mode(),
            simulated: gpu.simulated,
        }
    }
}

/// An instance that is made.
#[derive(Debug, Serialize)]
pub struct MigInstanceView {
    pub profile: MigProfile,
    /// The slot of memory at which it begins; null where nvidia-smi chooses it.
    pub start: Option<u32>,
    /// The number of its slots.
    pub slots: u32,
}
