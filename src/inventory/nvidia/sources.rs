//! What is known of the node's GPUs, by all that tell of them.

use super::answer::{NvmlAnswer, Silent};
use super::procfs::KernelGpu;
use super::xid::Xid;
use crate::model::device::PciAddress;
use crate::paths::Paths;
use std::collections::{BTreeMap, BTreeSet};

/// All that is known of the node's GPUs.
pub(super) struct GpuSources<'a> {
    /// Roots of the host.
    pub paths: &'a Paths,
    /// The kernel module's GPUs.
    pub kernel: &'a [KernelGpu],
    /// NVML's answer, if it answered.
    pub answer: Option<&'a NvmlAnswer>,
    /// What the kernel's log has against them.
    pub xids: &'a [Xid],
    /// Minor numbers of MIG's capabilities.
    pub minors: &'a BTreeMap<String, u32>,
}

impl GpuSources<'_> {
    pub(super) fn addresses(&self) -> BTreeSet<PciAddress> {
        let told = self.answer.iter().flat_map(|answer| {
            let silent = answer.silent.iter().filter_map(|silent| silent.pci);
            answer.gpus.iter().map(|gpu| gpu.pci).chain(silent)
        });
        self.kernel.iter().map(|gpu| gpu.pci).chain(told).collect()
    }

    /// What NVML says of a GPU that it has no handle for.
    pub(super) fn silent(&self, pci: PciAddress) -> Option<&Silent> {
        self.answer?.silent.iter().find(|silent| silent.pci == Some(pci))
    }

    /// What is wrong with a GPU, or with one of its instances and not with the whole.
    pub(super) fn errors(&self, pci: PciAddress, gi: Option<u32>) -> Vec<String> {
        let mut errors: Vec<String> = Vec::new();
        for xid in self.xids.iter().filter(|xid| xid.pci == pci && xid.gi == gi) {
            let ailment = xid.ailment();
            if !errors.contains(&ailment) {
                errors.push(ailment);
            }
        }
        // The last ones tell most; a broken GPU fills the log.
        errors.split_off(errors.len().saturating_sub(2))
    }
}
