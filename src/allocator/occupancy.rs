//! What is held of each device, and whether a demand still fits.

use super::demand::Demand;
use super::snapshot::{Hold, Snapshot};
use crate::model::device::Device;
use crate::model::id::DeviceId;
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MilliGpu};
use std::collections::BTreeMap;

/// The sum of some holds on one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    milli: MilliGpu,
    memory: Bytes,
    held: bool,
    exclusively: bool,
}

impl Tally {
    fn add(&mut self, hold: &Hold) {
        self.milli = self.milli.saturating_add(hold.milli);
        self.memory = self.memory.saturating_add(hold.memory);
        self.held = true;
        self.exclusively |= hold.sharing == Sharing::Exclusive;
    }

    /// Whether somebody has the device to themselves.
    pub(super) const fn is_exclusive(&self) -> bool {
        self.exclusively
    }

    /// Compute and memory that nobody holds. An exclusive hold leaves nothing, however small the
    /// share that it records.
    pub(super) fn free(&self, device: &Device) -> (MilliGpu, Bytes) {
        if self.exclusively {
            return (MilliGpu(0), Bytes(0));
        }
        (MilliGpu::WHOLE.saturating_sub(self.milli), device.capacity().saturating_sub(self.memory))
    }

    /// Whether the demand fits beside these holds.
    pub(super) fn admits(&self, device: &Device, demand: &Demand) -> bool {
        let (milli, memory) = self.free(device);
        let company = match demand.sharing {
            Sharing::Exclusive => !self.held,
            Sharing::Shared => !self.exclusively,
        };
        company && demand.milli <= milli && demand.memory <= memory
    }
}

/// Whether a demand fits on a device now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Yes, and leases in their grace keep what they had.
    Free,
    /// Yes, at the cost of leases in their grace.
    TakesGrace,
    /// No.
    Taken,
}

/// What is held of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    /// By leases that nobody may take away.
    pub(super) firm: Tally,
    /// By these and by leases in their grace.
    pub(super) with_grace: Tally,
}

impl Occupancy {
    pub(super) fn fit(&self, device: &Device, demand: &Demand) -> Fit {
        if self.with_grace.admits(device, demand) {
            Fit::Free
        } else if self.firm.admits(device, demand) {
            Fit::TakesGrace
        } else {
            Fit::Taken
        }
    }
}

impl Snapshot<'_> {
    /// Compute and memory of each device that nobody holds, in the node's order. What a lease
    /// still has in its grace is free: it goes to whoever needs it.
    #[must_use]
    pub fn free(&self) -> Vec<(MilliGpu, Bytes)> {
        let devices = self.node.devices.iter().zip(occupancies(self));
        devices.map(|(device, occupancy)| occupancy.firm.free(device)).collect()
    }
}

/// The occupancy of each device, in the node's order. Holds on devices that the node does not
/// have are left out: nothing here can be given away twice because of them.
pub(super) fn occupancies(snapshot: &Snapshot<'_>) -> Vec<Occupancy> {
    let mut all = vec![Occupancy::default(); snapshot.node.devices.len()];
    let positions: BTreeMap<&DeviceId, usize> =
        snapshot.node.devices.iter().enumerate().map(|(i, device)| (&device.uuid, i)).collect();
    for hold in &snapshot.holds {
        let Some(occupancy) = positions.get(&hold.device).and_then(|i| all.get_mut(*i)) else {
            continue;
        };
        if !hold.grace {
            occupancy.firm.add(hold);
        }
        occupancy.with_grace.add(hold);
    }
    all
}
