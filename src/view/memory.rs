//! How much memory each device has, and what is leased, used and free of it.

use crate::claim::node_use::NodeUse;
use crate::inventory::activity::Usage;
use crate::model::device::Device;
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
pub struct MemoryView<'a> {
    pub devices: Vec<DeviceMemory<'a>>,
}

/// The memory of one device. A value that cannot be read is null.
#[derive(Debug, Serialize)]
pub struct DeviceMemory<'a> {
    uuid: &'a DeviceId,
    index: u32,
    mig_index: Option<u32>,
    model: &'a str,
    pub total_bytes: Option<Bytes>,
    pub reserved_bytes: Option<Bytes>,
    pub leased_bytes: Option<Bytes>,
    pub used_bytes: Option<Bytes>,
    pub free_to_lease_bytes: Option<Bytes>,
    busy_percent: Option<u32>,
    temperature_c: Option<i32>,
    power_w: Option<u32>,
    simulated: bool,
    #[serde(skip)]
    pub device: &'a Device,
}

impl<'a> MemoryView<'a> {
    /// `usage` is what the drivers measure now.
    pub fn of(used: &'a NodeUse, usage: &BTreeMap<DeviceId, Usage>) -> Self {
        let devices = used.free().map(|(device, (_, free))| {
            // The memory of a GPU in MIG mode is leased by its instances.
            let free = device.capacity().filter(|_| !device.is_in_mig_mode()).map(|_| free);
            DeviceMemory::of(device, used.leased(device), free, usage.get(&device.uuid))
        });
        Self { devices: devices.collect() }
    }
}

impl<'a> DeviceMemory<'a> {
    fn of(
        device: &'a Device,
        leased: Option<Bytes>,
        free: Option<Bytes>,
        usage: Option<&Usage>,
    ) -> Self {
        Self {
            uuid: &device.uuid,
            index: device.index,
            mig_index: device.place().instance,
            model: &device.model,
            total_bytes: device.memory_total_bytes,
            reserved_bytes: device.memory_reserved_bytes,
            leased_bytes: leased,
            used_bytes: usage.and_then(|usage| usage.used),
            free_to_lease_bytes: free,
            busy_percent: usage.and_then(|usage| usage.busy_percent),
            temperature_c: usage.and_then(|usage| usage.temperature_c),
            power_w: usage.and_then(|usage| usage.power_w),
            simulated: device.simulated,
            device,
        }
    }
}
