//! How a grant is made true, and who enforces it.

use crate::model::device::{Device, Vendor};
use crate::model::isolation::{Enforcement, Isolation, IsolationRecord};
use crate::request::{Amount, Request};

/// What was asked for, in the granted vendor's terms, and what is in effect: the driver keeps MIG
/// instances apart, unless the container is not `confined`; of all else nothing yet but the ledger
/// and the device nodes. AMD has no MPS, so the word means a mask of compute units there.
pub(super) fn record(request: &Request, devices: &[&Device], confined: bool) -> IsolationRecord {
    let instances = !devices.is_empty() && devices.iter().all(|d| d.instance().is_some());
    let (effective, enforcement) = match (instances, confined) {
        (false, _) => (Isolation::None, Enforcement::None),
        (true, false) => (Isolation::Mig, Enforcement::None),
        (true, true) if devices.iter().any(|device| device.simulated) => {
            (Isolation::Mig, Enforcement::Simulated)
        }
        (true, true) => (Isolation::Mig, Enforcement::Driver),
    };
    let amd = !devices.is_empty() && devices.iter().all(|device| device.vendor == Vendor::Amd);
    let (requested, requested_as) = match request.isolation {
        Isolation::Mps if amd => (Isolation::CuMask, Some(Isolation::Mps)),
        Isolation::Auto if request.amount == Amount::Whole => (Isolation::None, None),
        other => (other, None),
    };
    IsolationRecord {
        requested,
        requested_as,
        effective,
        compute_enforcement: enforcement,
        memory_enforcement: enforcement,
        lacks: Vec::new(),
    }
}
