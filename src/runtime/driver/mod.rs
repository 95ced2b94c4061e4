//! The vendor's driver files of a container with real devices: who brings them, and what goes with
//! them.

mod native;
mod require;
mod target;

use super::ask::Asked;
use crate::config::Driver as Setting;
use crate::failure::Failure;
use crate::injection::{Facts, GRANTED_PREFIX, Injection};
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::driver::Driver;
use crate::model::lease::Lease;
use crate::paths::Paths;
use std::path::Path;

/// What is known of a start when its driver files are decided on.
pub(super) struct Wanted<'a> {
    /// What was asked for, and what the node has.
    pub asked: &'a Asked,
    /// What was granted.
    pub lease: &'a Lease,
    /// The container's spec.
    pub facts: &'a Facts,
    /// Its bundle.
    pub bundle: &'a Path,
    /// The host.
    pub paths: &'a Paths,
}

impl<'a> Wanted<'a> {
    /// The granted devices that exist and are NVIDIA's.
    fn gpus(&self) -> Vec<&'a Device> {
        let granted = self.lease.devices.iter().filter_map(|d| self.asked.node.device(&d.uuid));
        granted.filter(|d| d.vendor == Vendor::Nvidia && !d.simulated).collect()
    }

    /// NVIDIA's driver, if the inventory has one.
    fn driver(&self) -> Option<&'a Driver> {
        self.asked.drivers.iter().find(|driver| driver.vendor == Vendor::Nvidia)
    }
}

/// Who brings the driver files of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody: they are in the image, or not needed.
    None,
    /// We do, with what the inventory found on the host.
    Native,
}

/// What the configuration comes to for one container. AMD's images bring their own, and a device
/// that does not exist has no driver.
fn way(wanted: &Wanted<'_>) -> Result<Way, Failure> {
    if wanted.gpus().is_empty() {
        return Ok(Way::None);
    }
    let has_files = wanted.driver().is_some_and(|driver| !driver.files.is_empty());
    match wanted.asked.config.driver {
        Setting::Native if !has_files => Err(no_files(wanted)),
        Setting::Native => Ok(Way::Native),
        Setting::Auto if has_files => Ok(Way::Native),
        // The configuration does not let the last two through.
        Setting::Auto | Setting::None | Setting::Cdi | Setting::Chain => Ok(Way::None),
    }
}

fn no_files(wanted: &Wanted<'_>) -> Failure {
    let root = wanted.asked.config.driver_root.display();
    let text =
        format!("`driver` is `native`, and there are no files of NVIDIA's driver below `{root}`");
    Failure::new(Code::StaleInventory, text).hint(
        "`gpulease inventory show` says why; with `driver = \"none\"` the image brings its own",
    )
}

/// Adds to an injection, which has the granted nodes already, what the driver needs, and notes who
/// brought it.
///
/// # Errors
/// If the container cannot have the driver's files.
pub(super) fn add(injection: &mut Injection, wanted: &Wanted<'_>) -> Result<(), Failure> {
    mask(injection, wanted);
    let said = match way(wanted)? {
        Way::None => "none".to_owned(),
        Way::Native => native::add(injection, wanted)?,
    };
    injection.annotations.insert(format!("{GRANTED_PREFIX}driver"), said);
    Ok(())
}

/// Hides what procfs tells of GPUs that are not granted. A privileged container sees the host.
fn mask(injection: &mut Injection, wanted: &Wanted<'_>) {
    let granted = wanted.gpus();
    if granted.is_empty() || wanted.facts.privileged {
        return;
    }
    for device in &wanted.asked.node.devices {
        let is_other = device.vendor == Vendor::Nvidia
            && !device.simulated
            && !granted.iter().any(|granted| granted.pci == device.pci);
        let path = format!("/proc/driver/nvidia/gpus/{}", device.pci);
        if is_other && !injection.masked.contains(&path) {
            injection.masked.push(path);
        }
    }
}
