//! Links between GPUs.

use super::id::DeviceId;
use super::spelled::spelled;
use serde::{Deserialize, Serialize};

spelled! {
    /// The kind of a link between two devices.
    pub enum LinkKind {
        NvLink = "nvlink",
        /// AMD Infinity Fabric (xGMI).
        Xgmi = "xgmi",
        /// PCI Express, through at most one switch (`PIX` in `nvidia-smi topo -m`).
        Pcie = "pcie",
        /// PCI Express, through several switches below one host bridge (`PXB`).
        PcieMulti = "pcie-multi",
        /// PCI Express, through a host bridge (`PHB`).
        HostBridge = "host-bridge",
    }
}

/// A direct link between two GPUs, recorded once for the pair. Partitions have no links of their
/// own: eight GPUs with eight partitions each would have two thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// One of the two GPUs: see [`Device::package`](super::device::Device::package).
    pub a: DeviceId,
    pub b: DeviceId,
    pub kind: LinkKind,
    /// The number of parallel links (NVLink bricks); 1 for kinds that have no such number.
    pub lanes: u32,
}
