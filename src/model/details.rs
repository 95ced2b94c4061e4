//! What is known of a device beyond what leasing needs.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};

/// What is known of a device beyond its identity, size and place. Null is "nobody can say".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Why its driver does not answer for it: a device that cannot be queried is not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Why it cannot be told from another device: one with a twin is not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<String>,
    /// Why it is not healthy, in the driver's terms: an XID, an uncorrectable ECC error, a RAS count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ailment: Option<String>,
    /// CUDA compute capability (`9.0`), or the name by which ROCm's compilers know it (`gfx942`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// NVML's brand in lower case (`tesla`, `geforce`), which `NVIDIA_REQUIRE_*` may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// Compute units (AMD) or streaming multiprocessors (NVIDIA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_units: Option<u32>,
    /// The dies (XCC) that an AMD device's compute units lie on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xccs: Option<u32>,
    /// The shader engines of each of these dies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shader_engines: Option<u32>,
    /// The highest CUDA version that NVIDIA's driver serves it with (`12.4`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The partition of an AMD GPU that the device is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
    /// The N of its `/dev/dri/cardN`, the node for displays, which is not needed to compute and
    /// not given to anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<bool>,
    /// NVIDIA's compute mode as `nvidia-smi -c` spells it: `DEFAULT`, `EXCLUSIVE_PROCESS`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_mode: Option<String>,
    /// Whether ECC is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc: Option<bool>,
}

impl Details {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A partition of an AMD GPU (`CPX`, `DPX`, …), which is a device of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The GPU's own identity, which all its partitions share.
    pub gpu: DeviceId,
    /// Which of them, from 0.
    pub index: u32,
    /// Compute and memory mode: `CPX/NPS4`.
    pub mode: String,
}
