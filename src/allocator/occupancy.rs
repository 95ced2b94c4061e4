//! How much of each device is held, and whether a demand still fits.

use super::demand::Demand;
use super::isolation::SharesOnDevice;
use super::snapshot::{Hold, Snapshot};
use crate::model::device::Device;
use crate::model::lease::Sharing;
use crate::model::order;
use crate::model::quantity::{Bytes, MilliGpu};

/// The sum of some holds on one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    milli: MilliGpu,
    memory: Bytes,
    held: bool,
    exclusively: bool,
    /// How the shares among them are enforced.
    pub(super) shares: SharesOnDevice,
}

impl Tally {
    fn add(&mut self, hold: &Hold) {
        self.milli = self.milli.saturating_add(hold.milli);
        self.memory = self.memory.saturating_add(hold.memory);
        self.held = true;
        self.exclusively |= hold.sharing == Sharing::Exclusive;
        self.shares.add(hold);
    }

    /// Adds a hold on the same hardware under another device's name. It leaves nothing of this
    /// device.
    const fn add_kin(&mut self, kin: Self) {
        self.held |= kin.held;
        self.exclusively |= kin.held;
    }

    /// Whether an exclusive lease, or one on the same hardware, holds the device.
    pub(super) const fn is_exclusive(&self) -> bool {
        self.exclusively
    }

    /// Free compute and memory. An exclusive hold leaves nothing, however small the share that it
    /// records.
    pub(super) fn free(&self, device: &Device) -> (MilliGpu, Bytes) {
        if self.exclusively {
            return (MilliGpu(0), Bytes(0));
        }
        (MilliGpu::WHOLE.saturating_sub(self.milli), device.leasable().saturating_sub(self.memory))
    }

    /// Whether the demand fits beside these holds.
    pub(super) fn admits(&self, device: &Device, demand: &Demand) -> bool {
        let (milli, memory) = self.free(device);
        let joins = match demand.sharing {
            Sharing::Exclusive => !self.held,
            Sharing::Shared => !self.exclusively,
        };
        joins && demand.milli <= milli && demand.memory <= memory
    }
}

/// Whether a demand fits on a device now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It fits, and leases in their grace keep their devices.
    Free,
    /// It fits, but leases in their grace lose their devices.
    TakesGrace,
    Taken,
}

/// How much of one device is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Occupancy {
    /// Held by leases that are not in their grace.
    pub(super) firm: Tally,
    /// Held by all leases, with those in their grace.
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

impl Occupancy {
    const fn add_kin(&mut self, kin: Self) {
        self.firm.add_kin(kin.firm);
        self.with_grace.add_kin(kin.with_grace);
    }
}

impl Snapshot<'_> {
    /// Free compute and memory of each device, in the node's order. Whatever a lease in its grace
    /// held counts as free, because any request may take it. A GPU in MIG mode has nothing free:
    /// its capacity belongs to its instances.
    pub fn free(&self) -> Vec<(MilliGpu, Bytes)> {
        let devices = self.node.devices.iter().zip(occupancies(self).of);
        devices
            .map(|(device, occupancy)| match device.is_in_mig_mode() {
                true => (MilliGpu(0), Bytes(0)),
                false => occupancy.firm.free(device),
            })
            .collect()
    }
}

/// How much of each device is held, in the node's order.
pub(super) struct Occupancies<'a> {
    pub(super) of: Vec<Occupancy>,
    /// The holds that have compute units of their own.
    pub(super) masked: Vec<Vec<&'a Hold>>,
}

/// The occupancy of each device. Holds on devices that the node does not have are left out: they
/// can not lead to a double grant.
pub(super) fn occupancies<'a>(snapshot: &'a Snapshot<'_>) -> Occupancies<'a> {
    let mut all = vec![Occupancy::default(); snapshot.node.devices.len()];
    let mut masked = vec![Vec::new(); snapshot.node.devices.len()];
    let devices = snapshot.node.devices.iter().enumerate();
    let positions = order::map(devices.map(|(position, device)| (&device.uuid, position)));
    for hold in &snapshot.holds {
        let Some(position) = positions.get(&hold.device).copied() else { continue };
        let Some(occupancy) = all.get_mut(position) else { continue };
        if !hold.grace {
            occupancy.firm.add(hold);
        }
        occupancy.with_grace.add(hold);
        if hold.kind.cus.is_some()
            && let Some(masked) = masked.get_mut(position)
        {
            masked.push(hold);
        }
    }
    share_with_kin(&snapshot.node.devices, &mut all);
    Occupancies { of: all, masked }
}

/// Passes holds on between a GPU in MIG mode and its instances. An engine may have given a
/// container the node of such a GPU: that lease holds all instances. A lease of one instance keeps
/// others from the GPU, but not from the other instances.
fn share_with_kin(devices: &[Device], all: &mut [Occupancy]) {
    let mut gpu = (0, Occupancy::default());
    for (position, device) in devices.iter().enumerate() {
        let own = all.get(position).copied().unwrap_or_default();
        if device.instance().is_none() {
            gpu = (position, own);
            continue;
        }
        if let Some(instance) = all.get_mut(position) {
            instance.add_kin(gpu.1);
        }
        if let Some(gpu) = all.get_mut(gpu.0) {
            gpu.add_kin(own);
        }
    }
}
