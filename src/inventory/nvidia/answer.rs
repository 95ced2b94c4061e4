//! What the probe tells its parent: NVML's words as one JSON document. Null is "it does not say".

use crate::inventory::activity::ProcessKind;
use crate::model::device::{LinkKind, PciAddress};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    Told(T),
    /// It could not be loaded, or not initialised.
    Failed(String),
}

/// What the node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlAnswer {
    /// The version of the kernel module.
    pub driver: Option<String>,
    /// The version of the library.
    pub nvml: Option<String>,
    /// The highest CUDA version, as `1000 * major + 10 * minor`.
    pub cuda: Option<i32>,
    /// The GPUs that have an address.
    pub gpus: Vec<Gpu>,
    /// What the library says of those that it has no handle for.
    pub silent: Vec<Silent>,
    /// Pairs that PCI Express joins below one host bridge.
    pub near: Vec<Near>,
}

impl NvmlAnswer {
    /// The highest CUDA version as it is written: `12.4`.
    pub(super) fn cuda_version(&self) -> Option<String> {
        let version = self.cuda.filter(|version| *version > 0)?;
        Some(format!("{}.{}", version / 1000, version % 1000 / 10))
    }
}

/// A GPU that cannot be asked anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// Its address, where that is known.
    pub pci: Option<PciAddress>,
    /// Its position among NVML's devices, where the address is not.
    pub index: Option<u32>,
    pub fault: String,
    /// It has fallen off the bus.
    pub lost: bool,
}

/// Two GPUs and how near they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    pub a: PciAddress,
    pub b: PciAddress,
    /// By what they are joined.
    pub kind: LinkKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    pub pci: PciAddress,
    pub uuid: Option<String>,
    /// Of its node in `/dev`.
    pub minor: Option<u32>,
    pub name: Option<String>,
    pub memory: Option<Memory>,
    /// CUDA compute capability, major and minor.
    pub capability: Option<(i32, i32)>,
    /// NVML's brand in lower case.
    pub brand: Option<String>,
    pub cores: Option<u32>,
    /// As `nvidia-smi -c` spells it.
    pub compute_mode: Option<String>,
    /// Whether persistence mode is on.
    pub persistence: Option<bool>,
    /// Whether ECC is on.
    pub ecc: Option<bool>,
    /// Whether MIG mode is on; null for one that has no such mode.
    pub mig: Option<bool>,
    /// What MIG has made of it.
    pub instances: Vec<Instance>,
    /// Active NVLinks, by what is at the other end.
    pub nvlinks: NvLinks,
    pub ailments: Ailments,
    /// The first failure of a call that a working GPU answers.
    pub fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total: u64,
    /// What the driver keeps; null where an old one does not say.
    pub reserved: Option<u64>,
    /// What is in use.
    pub used: u64,
    pub free: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub uuid: Option<String>,
    pub gi: Option<u32>,
    pub ci: Option<u32>,
    /// The GPU's name with `MIG` and the profile behind it.
    pub name: Option<String>,
    pub memory: Option<Memory>,
    pub size: Option<MigSize>,
    /// The first failure of a call that a working one answers.
    pub fault: Option<String>,
}

/// The size of a MIG device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigSize {
    /// Slices of the GPU instance.
    pub gpu_slices: u32,
    /// Slices of the compute instance.
    pub compute_slices: u32,
    pub memory_mib: u64,
    pub multiprocessors: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvLinks {
    /// How many go to switches, which join all GPUs that they reach.
    pub switch: u32,
    /// How many go to each device at another address.
    pub direct: Vec<(PciAddress, u32)>,
}

/// Signs of a broken GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ailments {
    /// It has fallen off the bus, or needs a reset.
    pub lost: bool,
    /// Errors that ECC could not correct, since the driver was loaded.
    pub uncorrected: Option<u64>,
    /// A row of memory will be replaced at the next reset.
    pub remap_pending: Option<bool>,
    /// A row of memory could not be replaced.
    pub remap_failed: Option<bool>,
    /// A page of memory will be retired at the next reset.
    pub retirement_pending: Option<bool>,
}

/// What runs on the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlActivity {
    /// All that was told of, by a device that told all or only a part.
    pub processes: Vec<NvmlProcess>,
    /// UUIDs of the devices that told all: nothing else runs on them.
    pub asked: Vec<String>,
}

/// What runs on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlProcess {
    /// UUID of the device.
    pub device: String,
    /// Its id, as this host numbers it.
    pub pid: u32,
    pub kind: ProcessKind,
    /// The memory that it has, in bytes.
    pub memory: Option<u64>,
}

/// How much of a device is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// UUID of the device.
    pub device: String,
    pub memory: Option<Memory>,
    /// Per cent of the last moment in which something computed on it.
    pub utilization: Option<u32>,
    pub temperature: Option<u32>,
    pub power: Option<u32>,
}
