//! The devices that daemons serve, and the daemons of others that serve them.

use super::processes::{ControlDaemon, DeviceName, control_daemons};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::{Device, Vendor};
use crate::model::text::shown;
use crate::store::mps_journal::DIRECTORY;

/// The device that an argument names: by its index, its UUID, or the beginning of a UUID. Fails if
/// no device or several are named so.
pub fn device_named(host: &Host, name: &str) -> Result<Device, Failure> {
    let inventory = host.inventory_now(host.config()?)?;
    let devices = &inventory.node.devices;
    let index = name.parse::<u32>().ok();
    let place = index.map_or_else(|| name.to_owned(), |index| index.to_string());
    let is_it = |d: &&Device| d.uuid.as_str() == name || d.place().to_string() == place;
    let begins = |d: &&Device| index.is_none() && d.uuid.as_str().starts_with(name);
    let found: Vec<&Device> = match devices.iter().find(is_it) {
        Some(device) => vec![device],
        None => devices.iter().filter(begins).collect(),
    };
    match found.as_slice() {
        [device] => Ok((*device).clone()),
        [] => Err(Failure::new(Code::BadRequest, format!("there is no device `{}`", shown(name)))
            .hint("`gpulease devices` lists them")),
        _ => Err(Failure::new(
            Code::BadRequest,
            format!("`{}` is the beginning of several devices' UUIDs", shown(name)),
        )
        .hint("give more of it")),
    }
}

/// Root's control daemons that gpulease did not start.
pub fn foreign_daemons(host: &Host) -> Vec<ControlDaemon> {
    let own = host.paths.run.join(DIRECTORY);
    control_daemons(&host.paths).into_iter().filter(|other| !other.pipe.starts_with(&own)).collect()
}

/// One of them that serves this device.
pub fn foreign_daemon_of(host: &Host, device: &DeviceName<'_>) -> Option<ControlDaemon> {
    let found = foreign_daemons(host);
    if found.is_empty() {
        return None;
    }
    // The number of GPUs decides only whether an index names a device. Without an inventory none
    // does.
    let gpus = host.config().and_then(|config| host.inventory_now(config)).map_or(0, |inventory| {
        let is_gpu = |d: &&Device| d.vendor == Vendor::Nvidia && d.instance().is_none();
        inventory.node.devices.iter().filter(is_gpu).count()
    });
    found.into_iter().find(|other| other.serves(device, gpus))
}
