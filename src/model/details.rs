//! Facts about a device that leasing does not need.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};

/// Facts about a device beyond its identity, its size and its address. Null means unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Why the driver does not answer for the device. A device that cannot be queried is not
    /// leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Why the device cannot be told from another one. A device with such a twin is not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<String>,
    /// Why the device is not healthy, in the driver's terms: an XID, an uncorrectable ECC error, a
    /// RAS count.
    #[serde(rename = "ailment", skip_serializing_if = "Option::is_none")]
    pub health_reason: Option<String>,
    /// The CUDA compute capability (`9.0`), or the name that ROCm's compilers use (`gfx942`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// NVML's brand in lower case (`tesla`, `geforce`), which `NVIDIA_REQUIRE_*` may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// The number of compute units (AMD) or streaming multiprocessors (NVIDIA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_units: Option<u32>,
    /// The number of dies (XCC) that hold an AMD device's compute units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xccs: Option<u32>,
    /// The number of shader engines on each die.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shader_engines: Option<u32>,
    /// The highest CUDA version that NVIDIA's driver supports on the device (`12.4`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// Which partition of an AMD GPU the device is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// The N of `/dev/dri/cardN`. This node is for displays. Computing does not need it, so no
    /// container gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<bool>,
    /// NVIDIA's compute mode as `nvidia-smi -c` spells it: `DEFAULT`, `EXCLUSIVE_PROCESS`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_mode: Option<String>,
    /// Whether ECC memory is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<bool>,
}

impl Details {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A partition of an AMD GPU (`CPX`, `DPX`, …). Each partition is a device of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The identity of the GPU, which all its partitions share.
    pub gpu: DeviceId,
    /// The number of the partition on its GPU, from 0.
    pub index: u32,
    /// Compute and memory mode: `CPX/NPS4`.
    pub mode: String,
}
