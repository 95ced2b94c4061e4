//! Converts a request into amounts of one device.

use crate::model::device::Device;
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{Amount, Request};

/// The share of one device that the request would get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) milli: MilliGpu,
    pub(super) memory: Bytes,
    /// Exclusive or shared.
    pub(super) sharing: Sharing,
}

impl Demand {
    /// An amount that the request leaves open follows in proportion to this device. Memory that
    /// follows from compute is rounded down. Compute that follows from memory stays within the
    /// thousandths that the memory came from. So shares that add up to a device fit on it.
    pub(super) fn on(request: &Request, device: &Device) -> Self {
        let capacity = device.leasable();
        let (milli, memory) = match request.amount {
            Amount::Whole | Amount::Share { compute: None, memory: None } => {
                (MilliGpu::WHOLE, capacity)
            }
            Amount::Share { compute: Some(milli), memory: Some(memory) } => (milli, memory),
            Amount::Share { compute: Some(milli), memory: None } => (milli, milli.of(capacity)),
            Amount::Share { compute: None, memory: Some(memory) } => {
                (memory.proportion_of(capacity), memory)
            }
        };
        Self { milli, memory, sharing: request.sharing }
    }

    /// Whether the demand is more than the whole device has.
    pub(super) fn exceeds(&self, device: &Device) -> bool {
        self.milli > MilliGpu::WHOLE || self.memory > device.leasable()
    }
}
