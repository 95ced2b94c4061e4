//! The probe's answer to its parent: NVML's data as one JSON document. Null means unknown.

use crate::inventory::activity::ProcessKind;
use crate::model::device::{LinkKind, PciAddress};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    Told(T),
    /// The library could not be loaded or initialised.
    Failed(String),
}

/// The node's GPUs.
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
    /// The GPUs that the library has no handle for.
    pub silent: Vec<Silent>,
    /// Pairs of GPUs that PCI Express connects below one host bridge.
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
    /// Its position among NVML's devices, if the address is unknown.
    pub index: Option<u32>,
    pub fault: String,
    /// It has fallen off the bus.
    pub lost: bool,
}

/// Two GPUs, and how PCI Express connects them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Near {
    pub a: PciAddress,
    pub b: PciAddress,
    /// The kind of the connection.
    pub kind: LinkKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    pub pci: PciAddress,
    pub uuid: Option<String>,
    /// The minor number of its node in `/dev`.
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
    /// Whether MIG mode is on; null if the GPU has no such mode.
    pub mig: Option<bool>,
    /// Its MIG instances.
    pub instances: Vec<Instance>,
    /// The active NVLinks, by their other end.
    pub nvlinks: NvLinks,
    pub health: HealthSigns,
    /// The first failure of a call that a working GPU answers.
    pub fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total: u64,
    /// The driver's reserve; null if an old driver does not tell.
    pub reserved: Option<u64>,
    /// The used memory.
    pub used: u64,
    pub free: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub uuid: Option<String>,
    pub gi: Option<u32>,
    pub ci: Option<u32>,
    /// The GPU's name, followed by `MIG` and the profile.
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
    /// The number of links to switches, which connect all GPUs that they reach.
    pub switch: u32,
    /// The number of links to each device, by its address.
    pub direct: Vec<(PciAddress, u32)>,
}

/// Signs that a GPU is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSigns {
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

/// The processes on the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlActivity {
    /// All processes that were reported, also by devices that reported only some.
    pub processes: Vec<NvmlProcess>,
    /// The UUIDs of the devices that reported all their processes.
    pub asked: Vec<String>,
}

/// A process on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmlProcess {
    /// UUID of the device.
    pub device: String,
    /// The process id in the probe's pid namespace.
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
    /// The part of the last sample period in which something computed, in percent.
    pub utilization: Option<u32>,
    pub temperature: Option<u32>,
    pub power: Option<u32>,
}
