//! The node's devices and what holds them now: leases, and processes without a lease. It is for
//! display: nothing is locked, so the leases need not be of one moment.

use super::Ctx;
use super::busy::BusyProcesses;
use super::look::survey;
use super::processes::GpuUsers;
use super::sweep::Swept;
use crate::allocator::{BusyDevices, BusyProcess, Hold, Snapshot};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::lease::{Lease, LeaseState};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::policy::Busy;

/// The node's devices with the leases on them.
#[derive(Debug)]
pub struct NodeUse {
    pub node: Node,
    pub swept: Swept,
    holds: Vec<Hold>,
}

impl NodeUse {
    /// Fails if the configuration, the devices or the leases cannot be read.
    pub fn look(host: &Host) -> Result<Self, Failure> {
        let node = host.inventory_now(host.config()?)?.node;
        let swept = survey(host)?;
        let holds = swept.holds(None, &node);
        Ok(Self { node, swept, holds })
    }

    /// Each device with the compute and the memory that no lease holds.
    pub fn free(&self) -> impl Iterator<Item = (&Device, (MilliGpu, Bytes))> {
        let free = Snapshot { holds: self.holds.clone(), ..Snapshot::idle(&self.node) }.free();
        self.node.devices.iter().zip(free)
    }

    /// The leases that hold a part of the device, or of the GPU that the device is an instance of.
    /// Leases in their grace hold nothing.
    pub fn leases_on(&self, device: &Device) -> impl Iterator<Item = &Lease> {
        let gpu = device.instance().map(|instance| &instance.parent);
        let is_it = move |uuid: &DeviceId| *uuid == device.uuid || Some(uuid) == gpu;
        self.swept.leases.iter().filter(move |lease| {
            lease.state != LeaseState::Grace && lease.devices.iter().any(|one| is_it(&one.uuid))
        })
    }

    /// The memory that leases hold on the device itself, or `None` where its size is not known. A
    /// lease record that cannot be read holds all of it.
    pub fn leased(&self, device: &Device) -> Option<Bytes> {
        let capacity = device.capacity()?;
        let here = self.holds.iter().filter(|hold| hold.device == device.uuid && !hold.grace);
        let sum = here.map(|hold| hold.memory).fold(Bytes(0), Bytes::saturating_add);
        Some(sum.min(capacity))
    }
}

/// The processes without a lease, as they count for what is granted.
#[derive(Debug)]
pub struct BusyNow {
    devices: BusyDevices,
    policy: Busy,
    /// The gaps in the list, as sentences without a full stop.
    pub notes: Vec<String>,
}

impl BusyNow {
    /// Fails if the configuration cannot be read.
    pub fn look(host: &Host, used: &NodeUse) -> Result<Self, Failure> {
        let config = host.config()?;
        let users = GpuUsers::that_count(&used.node, &host.paths, config);
        let policy = config.policy.busy;
        let busy = BusyProcesses { users: &users.list, policy };
        let devices = used.swept.busy_devices(busy, Ctx::of(host));
        Ok(Self { devices, policy, notes: users.notes })
    }

    /// The processes on the device; `None` where no source tells of them.
    pub fn on(&self, device: &Device) -> Option<Vec<&BusyProcess>> {
        let is_looked_at = self.policy != Busy::Ignore && device.vendor != Vendor::Intel;
        // On a device that does not exist there is no process.
        (device.simulated || is_looked_at).then(|| self.devices.of(device))
    }
}
