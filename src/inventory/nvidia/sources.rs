//! The data that all sources have about the node's GPUs.

use super::answer::{NvmlAnswer, Silent};
use super::procfs::KernelGpu;
use super::xid::Xid;
use crate::model::device::PciAddress;
use crate::paths::Paths;
use std::collections::{BTreeMap, BTreeSet};

/// The data of all sources.
pub(super) struct GpuSources<'a> {
    /// The paths of the host.
    pub paths: &'a Paths,
    /// The kernel module's GPUs.
    pub kernel: &'a [KernelGpu],
    /// NVML's answer, if it answered.
    pub answer: Option<&'a NvmlAnswer>,
    /// The errors in the kernel's log.
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

    /// NVML's data about a GPU that it has no handle for.
    pub(super) fn silent(&self, pci: PciAddress) -> Option<&Silent> {
        self.answer?.silent.iter().find(|silent| silent.pci == Some(pci))
    }

    /// The errors of a GPU, or of one of its instances.
    pub(super) fn errors(&self, pci: PciAddress, gi: Option<u32>) -> Vec<String> {
        let mut errors: Vec<String> = Vec::new();
        for xid in self.xids.iter().filter(|xid| xid.pci == pci && xid.gi == gi) {
            let error = xid.description();
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        // The last errors are the most useful, and a broken GPU fills the log.
        errors.split_off(errors.len().saturating_sub(2))
    }
}
