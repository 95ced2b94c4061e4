//! The vendors' drivers, and the component that brings their files into containers.

use crate::config::DriverSetting;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::Inventory;
use crate::inventory::nvidia::KernelModule;
use crate::model::device::Vendor;
use crate::model::driver::{Capability, Driver, DriverFile};
use crate::start::lowlevel::{choose, vendor_of};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct DriversView<'a> {
    pub drivers: Vec<DriverView<'a>>,
    /// The key `driver` of the configuration.
    pub setting: DriverSetting,
    /// The mode that the setting comes to on this node. A container that needs no driver files, by
    /// its image or by its devices, has none all the same.
    pub way: DriverSetting,
    pub notes: &'a [String],
    /// Whether a CDI spec describes a device of this node.
    #[serde(skip)]
    pub has_cdi: bool,
}

/// A vendor's driver. A value that is not known is null.
#[derive(Debug, Serialize)]
pub struct DriverView<'a> {
    pub vendor: Vendor,
    pub version: Option<&'a str>,
    /// Whether NVIDIA's kernel module is the open one.
    pub open: Option<bool>,
    pub cuda: Option<&'a str>,
    pub library: Option<&'a str>,
    pub root: &'a str,
    pub counts: CapabilityCounts,
    pub files: &'a [DriverFile],
}

/// How many of the files belong to each capability.
#[derive(Debug, Default, Serialize)]
pub struct CapabilityCounts {
    compute: usize,
    utility: usize,
    graphics: usize,
    video: usize,
    display: usize,
}

impl CapabilityCounts {
    fn of(files: &[DriverFile]) -> Self {
        let count = |capability| {
            files.iter().filter(|file| file.capabilities.contains(&capability)).count()
        };
        Self {
            compute: count(Capability::Compute),
            utility: count(Capability::Utility),
            graphics: count(Capability::Graphics),
            video: count(Capability::Video),
            display: count(Capability::Display),
        }
    }

    /// Each capability with its number.
    pub const fn each(&self) -> [(Capability, usize); 5] {
        [
            (Capability::Compute, self.compute),
            (Capability::Utility, self.utility),
            (Capability::Graphics, self.graphics),
            (Capability::Video, self.video),
            (Capability::Display, self.display),
        ]
    }
}

impl<'a> DriversView<'a> {
    /// `module` is NVIDIA's, if it is loaded. Fails if the configuration cannot be read.
    pub fn of(
        host: &Host,
        inventory: &'a Inventory,
        module: Option<&'a KernelModule>,
    ) -> Result<Self, Failure> {
        let setting = host.config()?.driver;
        let vendor = choose(host).ok().and_then(|choice| vendor_of(&choice.path));
        Ok(Self {
            drivers: drivers(&inventory.drivers, module),
            setting,
            way: resolved(setting, vendor, inventory),
            notes: &inventory.notes,
            has_cdi: !inventory.cdi.is_empty(),
        })
    }

    /// Whether there are files that gpulease can put into containers.
    pub fn has_files(&self) -> bool {
        self.drivers.iter().any(|driver| !driver.files.is_empty())
    }
}

impl<'a> DriverView<'a> {
    pub fn of(driver: &'a Driver, module: Option<&KernelModule>) -> Self {
        // Only NVIDIA has two kernel modules.
        let module = module.filter(|_| driver.vendor == Vendor::Nvidia);
        Self {
            vendor: driver.vendor,
            version: driver.version.as_deref(),
            open: module.map(|module| module.open),
            cuda: driver.cuda.as_deref(),
            library: driver.library.as_deref(),
            root: &driver.root,
            counts: CapabilityCounts::of(&driver.files),
            files: &driver.files,
        }
    }
}

/// The drivers of the inventory, and NVIDIA's if its module is loaded and no file of it was found.
fn drivers<'a>(known: &'a [Driver], module: Option<&'a KernelModule>) -> Vec<DriverView<'a>> {
    let mut drivers: Vec<DriverView<'a>> =
        known.iter().map(|driver| DriverView::of(driver, module)).collect();
    let is_known = known.iter().any(|driver| driver.vendor == Vendor::Nvidia);
    if let Some(module) = module.filter(|_| !is_known) {
        drivers.push(DriverView {
            vendor: Vendor::Nvidia,
            version: Some(&module.version),
            open: Some(module.open),
            cuda: None,
            library: None,
            root: "/",
            counts: CapabilityCounts::default(),
            files: &[],
        });
    }
    drivers
}

/// `vendor` is the one whose runtime the low-level runtime is.
fn resolved(
    setting: DriverSetting,
    vendor: Option<Vendor>,
    inventory: &Inventory,
) -> DriverSetting {
    let has_files = inventory.drivers.iter().any(|driver| !driver.files.is_empty());
    setting.comes_to(vendor.is_some(), has_files, !inventory.cdi.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::driver::FileKind;
    use crate::paths::Paths;
    use std::fs;

    #[test]
    fn auto_comes_to_what_this_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(paths.proc.join("sys/kernel/random")).unwrap();
        fs::write(paths.proc.join("sys/kernel/random/boot_id"), "5f1c09ab-77de\n").unwrap();
        let config = Config::of(&paths);
        let mut inventory = crate::inventory::scan(&paths, &config).unwrap();
        let file = DriverFile {
            path: "/a/libcuda.so.1.2".into(),
            kind: FileKind::Library,
            names: Vec::new(),
            capabilities: vec![Capability::Compute],
        };
        let files = vec![file];
        let (root, version) = ("/".to_owned(), Some("1.2".to_owned()));
        let vendor = Vendor::Nvidia;
        inventory.drivers =
            vec![Driver { vendor, version, cuda: None, library: None, root, files }];
        let of = |setting, inventory: &Inventory| resolved(setting, None, inventory);
        assert_eq!(of(DriverSetting::Auto, &inventory), DriverSetting::Native);
        assert_eq!(of(DriverSetting::None, &inventory), DriverSetting::None);
        assert_eq!(resolved(DriverSetting::Auto, Some(vendor), &inventory), DriverSetting::Chain);
        inventory.drivers.clear();
        assert_eq!(of(DriverSetting::Auto, &inventory), DriverSetting::None);
        assert_eq!(of(DriverSetting::Native, &inventory), DriverSetting::Native);
    }

    #[test]
    fn a_module_without_files_is_a_driver() {
        let module = KernelModule { version: "550.54.15".to_owned(), open: true };
        let found = drivers(&[], Some(&module));
        assert_eq!((found[0].version, found[0].open), (Some("550.54.15"), Some(true)));
        assert!(drivers(&[], None).is_empty());
    }
}
