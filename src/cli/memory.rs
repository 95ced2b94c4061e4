//! `gpulease memory`: how much each device has, who has been granted it, and what is in use.
//!
//! The devices are asked for all that they measure at once. What has nothing to do with memory is
//! in the JSON alone.

use super::devices::snapshot;
use super::output::{Answer, Output};
use super::table::Table;
use super::words;
use crate::claim::look::survey;
use crate::claim::processes::GpuUsers;
use crate::claim::sweep::Swept;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::activity::Usage;
use crate::inventory::{amd, nvidia};
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use crate::view::memory::{DeviceMemory, Memory};
use std::collections::BTreeMap;

pub(super) fn memory(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let swept = survey(host)?;
    let free = snapshot(&node, &swept, &GpuUsers::default(), (host, config)).free();
    let usage = usage(&node, &host.paths, config);
    let devices = node.devices.iter().zip(free).map(|(device, (_, free))| {
        // What a GPU in MIG mode has is its instances'.
        let free = device.capacity().filter(|_| !device.is_in_mig_mode()).map(|_| free);
        DeviceMemory::of(device, leased(device, &swept, &node), free, usage.get(&device.uuid))
    });
    let memory = Memory { devices: devices.collect() };
    let rows = &memory.devices;
    let mut text =
        if rows.is_empty() { words::nothing(config, output) } else { in_table(rows, output) };
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::of(text, &memory))
}

/// The sum of the leases on the device itself; those in their grace hold nothing.
fn leased(device: &Device, swept: &Swept, node: &Node) -> Option<Bytes> {
    let capacity = device.capacity()?;
    let holds = swept.holds(None, node);
    let here = holds.iter().filter(|hold| hold.device == device.uuid && !hold.grace);
    let sum = here.map(|hold| hold.memory).fold(Bytes(0), Bytes::saturating_add);
    // An unreadable record holds all that there is.
    Some(sum.min(capacity))
}

/// What each device measures now. On devices that do not exist there is nothing.
fn usage(node: &Node, paths: &Paths, config: &Config) -> BTreeMap<DeviceId, Usage> {
    let is_real_nvidia = |device: &Device| !device.simulated && device.vendor == Vendor::Nvidia;
    let mut usage = amd::usage_with_rocm(paths, &node.devices);
    if node.devices.iter().any(is_real_nvidia) {
        usage.extend(nvidia::usage(paths, config).unwrap_or_default());
    }
    usage.into_iter().map(|usage| (usage.device.clone(), usage)).collect()
}

fn in_table(rows: &[DeviceMemory<'_>], output: &Output) -> String {
    Table::of(rows)
        .right("INDEX", 0, |row| row.device.place().to_string())
        .left("MODEL", 0, |row| words::model(row.device))
        .right("TOTAL", 0, |row| words::memory_or_dash(row.total_bytes))
        .right("RESERVED", 0, |row| words::memory_or_dash(row.reserved_bytes))
        .right("LEASED", 0, |row| words::memory_or_dash(row.leased_bytes))
        .right("USED", 0, |row| words::memory_or_dash(row.used_bytes))
        .right("FREE TO LEASE", 0, |row| words::memory_or_dash(row.free_to_lease_bytes))
        .left("STATE", 1, |row| words::state(row.device))
        .render(false, output)
}
