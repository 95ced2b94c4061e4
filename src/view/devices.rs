//! The node's devices, and what is free of them.

use crate::allocator::BusyProcess;
use crate::claim::node_use::{BusyNow, NodeUse};
use crate::model::device::{Device, Partition, PciAddress, Vendor};
use crate::model::id::{DeviceId, LeaseId};
use crate::model::mig::MigInstance;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct DevicesView<'a> {
    pub devices: Vec<DeviceView<'a>>,
    /// Sentences on the processes that could not be looked at.
    pub notes: &'a [String],
    /// The lease records that cannot be read and may hold devices.
    pub unreadable_leases: usize,
}

/// A device. A value that is not known is null.
#[derive(Debug, Serialize)]
pub struct DeviceView<'a> {
    uuid: &'a DeviceId,
    index: u32,
    vendor: Vendor,
    model: &'a str,
    memory_total_bytes: Option<Bytes>,
    memory_reserved_bytes: Option<Bytes>,
    pub memory_capacity_bytes: Option<Bytes>,
    pub memory_free_bytes: Option<Bytes>,
    pub milli_free: MilliGpu,
    pci: PciAddress,
    numa_node: Option<u32>,
    /// Whether it is a GPU in MIG mode, which is not leased itself.
    pub mig_mode: bool,
    /// Which instance of which GPU it is.
    mig: Option<&'a MigInstance>,
    ambiguous: Option<&'a str>,
    queryable: bool,
    fault: Option<&'a str>,
    healthy: Option<bool>,
    ailment: Option<&'a str>,
    /// The processes without a lease; null where no source tells of them.
    pub busy: Option<Vec<BusyProcessView>>,
    pub arch: Option<&'a str>,
    brand: Option<&'a str>,
    compute_units: Option<u32>,
    xccs: Option<u32>,
    pub partition: Option<&'a Partition>,
    persistence: Option<bool>,
    compute_mode: Option<&'a str>,
    ecc: Option<bool>,
    simulated: bool,
    pub leases: Vec<&'a LeaseId>,
    #[serde(skip)]
    pub device: &'a Device,
}

/// A process that computes on a device and belongs to no lease.
#[derive(Debug, Serialize)]
pub struct BusyProcessView {
    pub pid: i32,
    pub name: Option<String>,
}

impl<'a> DevicesView<'a> {
    pub fn of(used: &'a NodeUse, busy: &'a BusyNow) -> Self {
        let devices = used.free().map(|(device, free)| {
            let leases = used.leases_on(device).map(|lease| &lease.id).collect();
            DeviceView::of(device, free, leases, busy.on(device))
        });
        Self {
            devices: devices.collect(),
            notes: &busy.notes,
            unreadable_leases: used.swept.corrupt.len(),
        }
    }
}

impl<'a> DeviceView<'a> {
    fn of(
        device: &'a Device,
        (milli_free, memory_free): (MilliGpu, Bytes),
        leases: Vec<&'a LeaseId>,
        busy: Option<Vec<&BusyProcess>>,
    ) -> Self {
        let details = &device.details;
        Self {
            uuid: &device.uuid,
            index: device.index,
            vendor: device.vendor,
            model: &device.model,
            memory_total_bytes: device.memory_total_bytes,
            memory_reserved_bytes: device.memory_reserved_bytes,
            memory_capacity_bytes: device.capacity(),
            memory_free_bytes: device.capacity().map(|_| memory_free),
            milli_free,
            pci: device.pci,
            numa_node: device.numa_node,
            mig_mode: device.is_in_mig_mode(),
            mig: device.instance(),
            ambiguous: details.ambiguous.as_deref(),
            queryable: details.fault.is_none(),
            fault: details.fault.as_deref(),
            healthy: device.healthy,
            ailment: details.health_reason.as_deref(),
            busy: busy.map(|on| on.into_iter().map(BusyProcessView::of).collect()),
            arch: details.arch.as_deref(),
            brand: details.brand.as_deref(),
            compute_units: details.compute_units,
            xccs: details.xccs,
            partition: details.partition.as_ref(),
            persistence: details.persistence,
            compute_mode: details.compute_mode.as_deref(),
            ecc: details.ecc,
            simulated: device.simulated,
            leases,
            device,
        }
    }
}

impl BusyProcessView {
    fn of(process: &BusyProcess) -> Self {
        Self { pid: process.pid, name: process.name.as_deref().map(shown) }
    }
}
