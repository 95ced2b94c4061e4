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
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn memory(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let swept = survey(host)?;
    let free = snapshot(&node, &swept, &GpuUsers::default(), (host, config)).free();
    let usage = usage(&node, &host.paths, config);
    let rows: Vec<Row<'_>> = node
        .devices
        .iter()
        .zip(free)
        .map(|(device, (_, free))| Row {
            device,
            leased: leased(device, &swept, &node),
            usage: usage.get(&device.uuid),
            // What a GPU in MIG mode has is its instances'.
            free: device.capacity().filter(|_| !device.is_in_mig_mode()).map(|_| free),
        })
        .collect();
    let json = Value::Array(rows.iter().map(Row::json).collect());
    let mut text =
        if rows.is_empty() { words::nothing(config, output) } else { in_table(&rows, output) };
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::new(text, json))
}

/// One device's memory; `None` is "nobody can say".
struct Row<'a> {
    device: &'a Device,
    leased: Option<Bytes>,
    usage: Option<&'a Usage>,
    free: Option<Bytes>,
}

impl Row<'_> {
    fn used(&self) -> Option<Bytes> {
        self.usage?.used
    }

    fn json(&self) -> Value {
        let Device { uuid, index, model, memory_total_bytes, memory_reserved_bytes, .. } =
            self.device;
        json!({
            "uuid": uuid,
            "index": index,
            "mig_index": self.device.place().instance,
            "model": model,
            "total_bytes": memory_total_bytes,
            "reserved_bytes": memory_reserved_bytes,
            "leased_bytes": self.leased,
            "used_bytes": self.used(),
            "free_to_lease_bytes": self.free,
            "busy_percent": self.usage.and_then(|usage| usage.busy_percent),
            "temperature_c": self.usage.and_then(|usage| usage.temperature_c),
            "power_w": self.usage.and_then(|usage| usage.power_w),
            "simulated": self.device.simulated,
        })
    }
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

fn in_table(rows: &[Row<'_>], output: &Output) -> String {
    Table::of(rows)
        .right("INDEX", 0, |row| row.device.place().to_string())
        .left("MODEL", 0, |row| words::model(row.device))
        .right("TOTAL", 0, |row| words::memory_or_dash(row.device.memory_total_bytes))
        .right("RESERVED", 0, |row| words::memory_or_dash(row.device.memory_reserved_bytes))
        .right("LEASED", 0, |row| words::memory_or_dash(row.leased))
        .right("USED", 0, |row| words::memory_or_dash(row.used()))
        .right("FREE TO LEASE", 0, |row| words::memory_or_dash(row.free))
        .left("STATE", 1, |row| words::state(row.device))
        .render(false, output)
}
