//! The vendor's driver files of a container with real devices: who brings them, and
//! what goes with them.

mod cdi;
pub(super) mod chain;
mod native;
mod places;
mod require;
mod target;

use super::ask::{Ask, Launch};
use crate::config::{Config, DriverSetting};
use crate::failure::Failure;
use crate::injection::{Facts, GRANTED_PREFIX, Injection};
use crate::inventory::Inventory;
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::driver::Driver;
use crate::model::lease::Lease;
use crate::paths::Paths;
use std::path::Path;

/// What is known of a start when its driver files are decided on.
pub(super) struct Wanted<'a> {
    pub ask: &'a Ask,
    pub lease: &'a Lease,
    pub launch: &'a Launch<'a>,
    pub paths: &'a Paths,
}

impl<'a> Wanted<'a> {
    fn inventory(&self) -> &'a Inventory {
        &self.ask.asked.inventory
    }

    fn config(&self) -> &'a Config {
        &self.ask.asked.config
    }

    fn facts(&self) -> &'a Facts {
        &self.ask.spec.facts
    }

    /// The granted devices that exist and are NVIDIA's.
    fn gpus(&self) -> Vec<&'a Device> {
        let node = &self.inventory().node;
        let granted = self.lease.devices.iter().filter_map(|leased| node.device(&leased.uuid));
        granted.filter(|d| d.vendor == Vendor::Nvidia && !d.simulated).collect()
    }

    /// NVIDIA's driver, if the inventory has one.
    fn driver(&self) -> Option<&'a Driver> {
        self.inventory().drivers.iter().find(|driver| driver.vendor == Vendor::Nvidia)
    }

    /// Whether the host's CDI specs name every granted device.
    fn is_named(&self) -> bool {
        let cdi = &self.inventory().cdi;
        self.lease.devices.iter().all(|leased| cdi.device(&leased.uuid).is_some())
    }
}

/// Who brings the driver files of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody: they are in the image, or not needed.
    None,
    /// We do, with what the inventory found on the host.
    Native,
    /// The host's CDI specs say which.
    Cdi,
    /// The low-level runtime, which is the vendor's own.
    Chain,
}

/// What the configuration rules out whatever is granted: `driver` and `runtime` must fit. Fails with
/// `bad-config`, which names both keys.
pub fn permit(
    driver: DriverSetting,
    vendor: Option<Vendor>,
    runtime: &Path,
) -> Result<(), Failure> {
    let runtime = runtime.display();
    match (driver, vendor) {
        (DriverSetting::Chain, None) => Err(Failure::new(
            Code::BadConfig,
            format!(
                "`driver = \"chain\"` leaves the driver files to the low-level runtime, but `runtime` is `{runtime}`, which brings none"
            ),
        )
        .hint("set `runtime` to the path of nvidia-container-runtime, or `driver` to another way")),
        (DriverSetting::None | DriverSetting::Native | DriverSetting::Cdi, Some(vendor)) => Err(Failure::new(
            Code::BadConfig,
            format!(
                "`driver` is `{driver}`, but the low-level runtime, `runtime = \"{runtime}\"`, is {}'s, which puts GPUs into containers by itself",
                vendor.name()
            ),
        )
        .hint("set `driver` to `auto` or `chain`, or `runtime` to the path of runc or crun")),
        _ => Ok(()),
    }
}

/// What the configuration comes to for one container. A device that does not exist has no driver,
/// and AMD's images bring their own. Fails if the way that is configured cannot be gone.
pub(super) fn way(wanted: &Wanted<'_>) -> Result<Way, Failure> {
    let config = wanted.config();
    let serves = |vendor| chain::serves(vendor, config, wanted.lease, &wanted.inventory().node);
    let is_served = wanted.launch.vendor.map(serves).transpose()? == Some(true);
    let is_simulated = wanted.lease.devices.iter().any(|device| device.simulated);
    let has_gpus = !wanted.gpus().is_empty();
    let has_files = wanted.driver().is_some_and(|driver| !driver.files.is_empty());
    match config.driver.comes_to(is_served, has_gpus && has_files, wanted.is_named()) {
        DriverSetting::Chain if is_served => Ok(Way::Chain),
        _ if is_simulated => Ok(Way::None),
        DriverSetting::Native if has_gpus && !has_files => Err(no_files(config)),
        DriverSetting::Native if has_gpus => Ok(Way::Native),
        DriverSetting::Cdi => Ok(Way::Cdi),
        DriverSetting::Native
        | DriverSetting::Auto
        | DriverSetting::None
        | DriverSetting::Chain => Ok(Way::None),
    }
}

fn no_files(config: &Config) -> Failure {
    let root = config.driver_root.display();
    let text =
        format!("`driver` is `native`, and there are no files of NVIDIA's driver below `{root}`");
    Failure::new(Code::StaleInventory, text).hint(
        "`gpulease driver` says what there is; with `driver = \"none\"` the image brings its own",
    )
}

/// Adds to an injection, which has the granted nodes already, what the driver needs, and notes who
/// brought it. Fails if the container cannot have the driver's files.
pub(super) fn add(injection: &mut Injection, wanted: &Wanted<'_>, way: Way) -> Result<(), Failure> {
    if way != Way::Chain {
        mask(injection, wanted);
    }
    let said = match way {
        Way::None => "none".to_owned(),
        Way::Native => native::add(injection, wanted)?,
        Way::Cdi => {
            cdi::add(injection, wanted.inventory(), wanted.lease, wanted.paths)?;
            "cdi".to_owned()
        }
        Way::Chain => "chain".to_owned(),
    };
    injection.annotations.insert(format!("{GRANTED_PREFIX}driver"), said);
    Ok(())
}

/// Hides what procfs tells of GPUs that are not granted. A privileged container sees the host.
fn mask(injection: &mut Injection, wanted: &Wanted<'_>) {
    let granted = wanted.gpus();
    if granted.is_empty() || wanted.facts().privileged {
        return;
    }
    for device in &wanted.inventory().node.devices {
        let is_other = device.vendor == Vendor::Nvidia
            && !device.simulated
            && !granted.iter().any(|granted| granted.pci == device.pci);
        let path = format!("/proc/driver/nvidia/gpus/{}", device.pci);
        if is_other && !injection.masked.contains(&path) {
            injection.masked.push(path);
        }
    }
}
