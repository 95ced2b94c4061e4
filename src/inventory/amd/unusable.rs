//! AMD's GPUs that PCI knows and KFD does not: without a driver, given to a virtual machine,
//! hidden, or broken.

use super::drm;
use super::gpu::AmdGpu;
use super::kfd::KfdTopology;
use crate::inventory::sysfs;
use crate::model::device::PciAddress;
use crate::model::text::shown;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// AMD's vendor number on PCI.
const VENDOR: &str = "0x1002";
/// PCI classes of GPUs: display controllers, and processing accelerators.
const CLASSES: [&str; 2] = ["0x03", "0x12"];

/// Says why each of them cannot be leased. GPUs with a driver whose KFD node cannot be read are
/// devices with a fault, and are returned.
pub(super) fn find(
    sys: &Path,
    topology: &KfdTopology,
    known: &[AmdGpu],
    notes: &mut Vec<String>,
) -> Vec<AmdGpu> {
    let mut broken = Vec::new();
    for unread in &topology.unread {
        let node = unread.node;
        notes.push(if unread.error.kind() == ErrorKind::PermissionDenied {
            format!("KFD node {node} is hidden, by a device cgroup it seems: {}", unread.error)
        } else {
            format!("KFD node {node} cannot be read: {}", unread.error)
        });
    }
    let failed = topology.unread.iter().find(|u| u.error.kind() != ErrorKind::PermissionDenied);
    for (pci, directory) in on_pci(sys) {
        if known.iter().any(|gpu| gpu.drm.pci == pci)
            || topology.gpus.iter().any(|node| node.location == Some(pci))
        {
            continue;
        }
        let driver = sysfs::driver(&directory);
        let render = sysfs::numbered(&directory.join("drm"), "renderD").first().copied();
        let why = match (driver.as_deref(), failed, render) {
            (None, _, _) => "no driver is bound to it".to_owned(),
            (Some("amdgpu"), Some(failed), Some(render_minor)) => {
                let fault = format!("KFD does not answer for it: {}", failed.error);
                let drm = drm::of_pci(pci, directory);
                broken.push(AmdGpu {
                    kfd: None,
                    drm,
                    render_minor,
                    partition: None,
                    ambiguous: false,
                    fault: Some(fault),
                });
                continue;
            }
            (Some("amdgpu"), _, _) => "the driver has it, but KFD does not know it".to_owned(),
            (Some(other), _, _) => format!("the driver bound to it is {}", shown(other)),
        };
        notes.push(format!("AMD GPU {pci} cannot be leased: {why}"));
    }
    broken
}

/// AMD's GPUs on PCI, in order.
fn on_pci(sys: &Path) -> Vec<(PciAddress, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sys.join("bus/pci/devices")).into_iter().flatten().flatten() {
        let Some(pci) = sysfs::pci_of(&entry.path()) else { continue };
        let read = |name: &str| sysfs::text(&entry.path().join(name)).ok().flatten();
        let is_gpu =
            read("class").is_some_and(|class| CLASSES.iter().any(|gpu| class.starts_with(gpu)));
        if is_gpu && read("vendor").as_deref() == Some(VENDOR) {
            // If the link cannot be resolved, the device is looked at through it.
            let directory = fs::canonicalize(entry.path()).unwrap_or_else(|_| entry.path());
            found.push((pci, directory));
        }
    }
    found.sort();
    found
}
