//! How devices reach each other.

use super::id::DeviceId;
use super::spelled::spelled;
use serde::{Deserialize, Serialize};

spelled! {
    /// The kind of a link between two devices.
    pub enum LinkKind {
        NvLink = "nvlink",
        /// AMD Infinity Fabric (xGMI).
        Xgmi = "xgmi",
        /// PCI Express, by one switch at most (`PIX` in `nvidia-smi topo -m`).
        Pcie = "pcie",
        /// PCI Express, by several switches below one host bridge (`PXB`).
        PcieMulti = "pcie-multi",
        /// PCI Express, by a host bridge (`PHB`).
        HostBridge = "host-bridge",
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
