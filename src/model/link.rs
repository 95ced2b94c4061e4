//! How devices reach each other.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};

/// The kind of a link between two devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    NvLink,
    /// AMD Infinity Fabric (xGMI).
    Xgmi,
    /// PCI Express, by one switch at most (`PIX` in `nvidia-smi topo -m`).
    Pcie,
    /// PCI Express, by several switches below one host bridge (`PXB`).
    #[serde(rename = "pcie-multi")]
    PcieMulti,
    /// PCI Express, by a host bridge (`PHB`).
    #[serde(rename = "host-bridge")]
    HostBridge,
}

impl LinkKind {
    /// The spelling in records and in devices files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NvLink => "nvlink",
            Self::Xgmi => "xgmi",
            Self::Pcie => "pcie",
            Self::PcieMulti => "pcie-multi",
            Self::HostBridge => "host-bridge",
        }
    }
}

/// A direct link between two GPUs, recorded once for the pair, whatever partitions they have: eight
/// GPUs in eight partitions each would have two thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// One end: see [`Device::package`](super::device::Device::package).
    pub a: DeviceId,
    pub b: DeviceId,
    pub kind: LinkKind,
    /// Parallel links (NVLink bricks); 1 where the notion does not apply.
    pub lanes: u32,
}
