//! Chooses the component that brings a vendor's driver files into a container, and adds them.

mod cdi;
pub(super) mod chain;
mod library_dir;
mod native;
mod places;
mod require;

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

/// The start for which driver files are chosen.
pub(super) struct DriverRequest<'a> {
    pub ask: &'a Ask,
    pub lease: &'a Lease,
    pub launch: &'a Launch<'a>,
    pub paths: &'a Paths,
}

impl<'a> DriverRequest<'a> {
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

/// The component that brings the driver files of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DriverMode {
    /// None: they are in the image, or not needed.
    None,
    /// gpulease, from the files that the inventory found on the host.
    Native,
    /// gpulease, by the edits of the host's CDI specs.
    Cdi,
    /// The low-level runtime, which is the vendor's own.
    Chain,
}

/// Fails with `bad-config`, which names both keys, if `driver` does not fit `runtime`, whatever is
/// granted.
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

/// The mode for one container, by the configuration. Simulated devices have no driver, and AMD's
/// images bring their own. Fails if the configured mode needs files that are missing.
pub(super) fn mode(request: &DriverRequest<'_>) -> Result<DriverMode, Failure> {
    let config = request.config();
    let serves = |vendor| chain::serves(vendor, config, request.lease, &request.inventory().node);
    let is_served = request.launch.vendor.map(serves).transpose()? == Some(true);
    let is_simulated = request.lease.devices.iter().any(|device| device.simulated);
    let has_gpus = !request.gpus().is_empty();
    let has_files = request.driver().is_some_and(|driver| !driver.files.is_empty());
    match config.driver.comes_to(is_served, has_gpus && has_files, request.is_named()) {
        DriverSetting::Chain if is_served => Ok(DriverMode::Chain),
        _ if is_simulated => Ok(DriverMode::None),
        DriverSetting::Native if has_gpus && !has_files => Err(no_files(config)),
        DriverSetting::Native if has_gpus => Ok(DriverMode::Native),
        DriverSetting::Cdi => Ok(DriverMode::Cdi),
        DriverSetting::Native
        | DriverSetting::Auto
        | DriverSetting::None
        | DriverSetting::Chain => Ok(DriverMode::None),
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

/// Adds the driver files to an injection, which has the granted nodes already, and an annotation of
/// the mode. Fails if the container cannot have the files.
pub(super) fn add(
    injection: &mut Injection,
    request: &DriverRequest<'_>,
    mode: DriverMode,
) -> Result<(), Failure> {
    if mode != DriverMode::Chain {
        mask(injection, request);
    }
    let said = match mode {
        DriverMode::None => "none".to_owned(),
        DriverMode::Native => native::add(injection, request)?,
        DriverMode::Cdi => {
            cdi::add(injection, request.inventory(), request.lease, request.paths)?;
            "cdi".to_owned()
        }
        DriverMode::Chain => "chain".to_owned(),
    };
    injection.annotations.insert(format!("{GRANTED_PREFIX}driver"), said);
    Ok(())
}

/// Hides the procfs directories of GPUs that are not granted. A privileged container sees the
/// host's.
fn mask(injection: &mut Injection, request: &DriverRequest<'_>) {
    let granted = request.gpus();
    if granted.is_empty() || request.facts().privileged {
        return;
    }
    for device in &request.inventory().node.devices {
        let is_other = device.vendor == Vendor::Nvidia
            && !device.simulated
            && !granted.iter().any(|granted| granted.pci == device.pci);
        let path = format!("/proc/driver/nvidia/gpus/{}", device.pci);
        if is_other && !injection.masked.contains(&path) {
            injection.masked.push(path);
        }
    }
}
