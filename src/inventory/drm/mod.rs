//! Intel's GPUs, from DRM's directories alone. Their drivers (i915, xe) show no more there, and
//! only the driver's own library knows the memory of a GPU. So these GPUs are leased as a whole.

use super::found::Found;
use super::pcie;
use super::stamp::Stamp;
use super::sysfs;
use crate::config::{Config, Source};
use crate::model::device::{Details, Device, DeviceNode, PciAddress, Vendor};
use crate::model::driver::Driver;
use crate::model::id::{DeviceId, IdError};
use crate::model::text::shown;
use crate::paths::Paths;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Intel's vendor number on PCI.
const VENDOR: &str = "0x8086";
/// Intel's drivers for GPUs.
const DRIVERS: [&str; 2] = ["i915", "xe"];

/// A GPU that DRM knows.
struct IntelGpu {
    pci: PciAddress,
    directory: PathBuf,
    render_minor: u32,
    /// The first error when reading its files.
    fault: Option<String>,
    device_id: Option<String>,
}

/// Looks for Intel's GPUs.
pub fn find(paths: &Paths, _: &Config) -> Found {
    let class = paths.sys.join("class/drm");
    let mut found = Found::default();
    // Cards and render nodes, and the outputs of cards.
    match Stamp::of_entries(Source::Intel, &class) {
        Ok(stamp) => found.stamps.push(stamp),
        Err(error) => found.notes.push(format!("`{}` cannot be read: {error}", class.display())),
    }
    let mut modules = BTreeSet::new();
    for minor in sysfs::numbered(&class, "renderD") {
        let Some((gpu, driver)) = read(&class, minor) else { continue };
        match gpu.device() {
            Ok(device) if found.devices.iter().any(|other| other.pci == device.pci) => {}
            Ok(device) => {
                modules.insert(driver);
                found.devices.push(device);
            }
            Err(error) => found.notes.push(format!("Intel GPU {} has no name: {error}", gpu.pci)),
        }
    }
    found.links = pcie::links(paths, &found.devices);
    if !found.devices.is_empty() {
        found.from.push(class.display().to_string());
        found.drivers.push(Driver {
            vendor: Vendor::Intel,
            version: version(&paths.sys, &modules),
            cuda: None,
            library: None,
            root: "/".to_owned(),
            files: Vec::new(),
        });
    }
    found
}

/// The GPU behind a render node, with its driver, if it is one of Intel's.
fn read(class: &Path, render_minor: u32) -> Option<(IntelGpu, String)> {
    let directory = fs::canonicalize(class.join(format!("renderD{render_minor}/device"))).ok()?;
    let pci = sysfs::pci_of(&directory)?;
    let driver = sysfs::driver(&directory).filter(|driver| DRIVERS.contains(&driver.as_str()))?;
    let mut fault = None;
    let mut text = |name: &str| match sysfs::text(&directory.join(name)) {
        Ok(text) => text,
        Err(error) => {
            fault.get_or_insert(format!("its driver does not answer: `{name}`: {error}"));
            None
        }
    };
    let vendor = text("vendor");
    let device_id = text("device").map(|id| id.trim_start_matches("0x").to_owned());
    if vendor.is_some_and(|vendor| vendor != VENDOR) {
        return None;
    }
    Some((IntelGpu { pci, directory, render_minor, fault, device_id }, driver))
}

impl IntelGpu {
    /// The device for leases. The kernel shows no id of an Intel GPU, so it is named by its
    /// address. This never fails in practice, because the UUID consists of digits.
    fn device(&self) -> Result<Device, IdError> {
        let model = match &self.device_id {
            Some(id) => format!("Intel GPU [8086:{}]", shown(id)),
            None => "Intel GPU".to_owned(),
        };
        Ok(Device {
            uuid: DeviceId::new(&self.pci.gpu_id())?,
            index: 0,
            vendor: Vendor::Intel,
            model,
            memory_total_bytes: None,
            memory_reserved_bytes: None,
            pci: self.pci,
            numa_node: sysfs::numa_node(&self.directory),
            kfd_node: None,
            nodes: vec![DeviceNode {
                path: format!("/dev/dri/renderD{}", self.render_minor),
                simulated: None,
            }],
            healthy: None,
            simulated: false,
            mig: None,
            details: Details {
                fault: self.fault.clone(),
                card: sysfs::numbered(&self.directory.join("drm"), "card").first().copied(),
                ..Details::default()
            },
        })
    }
}

/// The version of a driver that does not come with the kernel, if there is only one driver.
fn version(sys: &Path, modules: &BTreeSet<String>) -> Option<String> {
    let module = modules.first().filter(|_| modules.len() == 1)?;
    let version = sysfs::text(&sys.join("module").join(module).join("version")).ok().flatten()?;
    Some(shown(&version))
}

#[cfg(test)]
mod tests;
