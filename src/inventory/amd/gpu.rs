//! A GPU or a partition, and the device that it is for leases.

use super::drm::DrmDevice;
use super::kfd::KfdNode;
use crate::model::device::{Details, Device, DeviceNode, Partition, Vendor};
use crate::model::id::{DeviceId, IdError};
use crate::model::quantity::Bytes;
use crate::model::text::shown;

/// A GPU, or one partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AmdGpu {
    /// The KFD node; `None` for a GPU whose node cannot be read.
    pub kfd: Option<KfdNode>,
    /// The DRM device.
    pub drm: DrmDevice,
    /// The minor number of the render node.
    pub render_minor: u32,
    /// The number of the partition on its GPU, from 0; `None` for a whole GPU.
    pub partition: Option<u32>,
    /// Whether another GPU has the same unique id.
    pub ambiguous: bool,
    /// Why the GPU cannot be queried.
    pub fault: Option<String>,
}

impl AmdGpu {
    fn kfd<T>(&self, value: impl Fn(&KfdNode) -> Option<T>) -> Option<T> {
        self.kfd.as_ref().and_then(value)
    }

    /// The unique id by KFD, else by DRM. Both show the same number.
    pub(super) fn unique_id(&self) -> Option<u64> {
        self.kfd(|kfd| kfd.unique_id).or(self.drm.unique_id)
    }

    /// The identity of the GPU, also for its partitions: ROCm's `GPU-` with sixteen digits. A GPU
    /// without an id is named by its address.
    pub(super) fn gpu_id(&self) -> String {
        match self.unique_id().filter(|_| !self.ambiguous) {
            Some(id) => format!("GPU-{id:016x}"),
            None => self.drm.pci.gpu_id(),
        }
    }

    /// The canonical identity. All partitions of a GPU have the same unique id, so a partition's
    /// identity is the GPU's with the number of the partition.
    fn uuid(&self) -> Result<DeviceId, IdError> {
        let gpu = self.gpu_id();
        match self.partition {
            Some(number) => DeviceId::new(&format!("{gpu}-{number}")),
            None => DeviceId::new(&gpu),
        }
    }

    /// Whether the GPU is in a partition mode. There may still be just one partition.
    pub(super) fn is_in_partition_mode(&self) -> bool {
        self.drm.compute_partition.as_deref().is_some_and(|mode| !mode.eq_ignore_ascii_case("SPX"))
    }

    /// Video memory in bytes. Only KFD knows the memory of a partition. For an APU, sysfs shows
    /// only the part that the firmware has reserved. So KFD's figure counts for partitions, where
    /// sysfs has none, and where KFD's is larger (AMD's own rule, `rocm_smi_vram.h`).
    fn memory(&self) -> Option<u64> {
        let kfd = self.kfd(|kfd| kfd.memory);
        match self.drm.vram_total.filter(|bytes| *bytes > 0) {
            Some(sysfs) if self.partition.is_none() => Some(kfd.unwrap_or_default().max(sysfs)),
            _ => kfd,
        }
    }

    /// The compilers' name, `gfx942`, which has the minor and the stepping in hexadecimal.
    fn gfx(&self) -> Option<String> {
        let version = self.kfd(|kfd| kfd.gfx_target_version).filter(|v| *v < 1_000_000)?;
        Some(format!("gfx{}{:x}{:x}", version / 10_000, version / 100 % 100, version % 100))
    }

    /// The model's name, or what is known instead.
    fn model(&self) -> String {
        if let Some(name) = &self.drm.product_name {
            return shown(name);
        }
        let mut model = "AMD ".to_owned() + self.gfx().as_deref().unwrap_or("GPU");
        if let Some(id) = self.kfd(|kfd| kfd.device_id).or(self.drm.device_id) {
            model += &format!(" [1002:{id:04x}]");
        }
        model
    }

    /// The partition mode, `CPX/NPS4`, as far as it is known.
    fn mode(&self) -> String {
        let compute = shown(self.drm.compute_partition.as_deref().unwrap_or("unknown"));
        match &self.drm.memory_partition {
            Some(memory) => format!("{compute}/{}", shown(memory)),
            None => compute,
        }
    }

    /// The device for leases. It only has the render node: the card node is for displays, and
    /// computing does not need it. This never fails in practice, because the UUID consists of
    /// digits.
    pub(super) fn device(&self) -> Result<Device, IdError> {
        let health_reason = self.drm.ras.as_ref().and_then(super::ras::Counts::health_reason);
        let gpu = DeviceId::new(&self.gpu_id())?;
        let partition = self.partition.map(|index| Partition { gpu, index, mode: self.mode() });
        Ok(Device {
            uuid: self.uuid()?,
            index: 0,
            vendor: Vendor::Amd,
            model: self.model(),
            memory_total_bytes: self.memory().map(Bytes),
            memory_reserved_bytes: None,
            pci: self.drm.pci,
            numa_node: self.drm.numa_node,
            kfd_node: self.kfd(|kfd| Some(kfd.node)),
            nodes: vec![DeviceNode {
                path: format!("/dev/dri/renderD{}", self.render_minor),
                simulated: None,
            }],
            healthy: self.drm.ras.as_ref().map(|_| health_reason.is_none()),
            simulated: false,
            mig: None,
            details: Details {
                fault: self.fault.clone(),
                health_reason,
                arch: self.gfx(),
                compute_units: self.kfd(|kfd| kfd.compute_units),
                xccs: self.kfd(|kfd| kfd.xccs),
                shader_engines: self.kfd(|kfd| kfd.shader_engines),
                partition,
                card: self.drm.card,
                ..Details::default()
            },
        })
    }
}
