//! How a share is asked to be made true, and how true it got.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Ways to make a share true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Nothing but the ledger.
    None,
    /// The driver's own turns between processes.
    TimeSlicing,
    /// NVIDIA's Multi-Process Service.
    Mps,
    /// NVIDIA's Multi-Instance GPU.
    Mig,
    /// AMD's compute partitions.
    Partition,
    /// AMD's compute-unit masks.
    CuMask,
    /// The best that the device has.
    Auto,
}

impl Isolation {
    /// Every value, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::None,
        Self::TimeSlicing,
        Self::Mps,
        Self::Mig,
        Self::Partition,
        Self::CuMask,
        Self::Auto,
    ];

    /// The spelling in annotations, records and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::TimeSlicing => "time-slicing",
            Self::Mps => "mps",
            Self::Mig => "mig",
            Self::Partition => "partition",
            Self::CuMask => "cu-mask",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who makes a limit hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// Nobody: the share exists in the ledger only.
    None,
    /// Nobody, because the device does not exist; what is in effect would be enforced by one that
    /// does.
    Simulated,
    /// A setting that the workload can undo.
    Advisory,
    /// The vendor's driver.
    Driver,
    /// The kernel.
    Kernel,
}

/// What was asked for and what a lease got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationRecord {
    /// What the request said, translated to the granted vendor (`mps` on AMD is `cu-mask`).
    pub requested: Isolation,
    /// The request's own word, where the translation changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_as: Option<Isolation>,
    /// What is in effect.
    pub effective: Isolation,
    /// Who enforces the compute share.
    pub compute_enforcement: Enforcement,
    /// Who enforces the memory share.
    pub memory_enforcement: Enforcement,
}
