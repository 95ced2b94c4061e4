//! The variables that a granted container gets: what shows it its devices, and what holds it to its
//! shares.

use super::interpret::{Ask, Launch};
use crate::injection;
use crate::model::device::Device;
use crate::model::lease::Lease;
use crate::request::Source;
use std::collections::BTreeMap;

/// By name; `None` for one that is taken out. Where a vendor's runtime gives all that is granted, it
/// goes by variables of its own.
pub(super) fn of_lease(
    ask: &Ask,
    launch: &Launch<'_>,
    lease: &Lease,
) -> BTreeMap<String, Option<String>> {
    let (asked, present) = (&ask.asked, &ask.spec.facts.env);
    // Devices that the engine injected are leased as they stand: so is their environment.
    if asked.request.source == Source::Injected {
        return BTreeMap::new();
    }
    let node = &asked.inventory.node;
    let devices: Vec<&Device> = lease.devices.iter().filter_map(|d| node.device(&d.uuid)).collect();
    let capabilities = asked.request.capabilities.as_deref();
    let mut env = match launch.vendor {
        Some(vendor) if devices.iter().all(|device| device.vendor == vendor) => {
            injection::chained(vendor, &devices, capabilities, present)
        }
        _ => injection::visibility(&devices, capabilities, present),
    };
    env.extend(injection::limits(lease, &devices, present));
    env
}
