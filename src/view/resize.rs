//! A lease that was given other amounts of its devices.

use crate::claim::resize::Resized;
use crate::model::id::{ContainerId, DeviceId, LeaseId};
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeasedDevice};
use crate::model::quantity::{Bytes, MilliGpu};
use serde::Serialize;

/// The answer to a resize.
#[derive(Debug, Serialize)]
pub struct LeaseResize<'a> {
    pub resized: ResizedLease<'a>,
}

/// The lease, with its amounts before and after.
#[derive(Debug, Serialize)]
pub struct ResizedLease<'a> {
    id: &'a LeaseId,
    container_id: &'a ContainerId,
    runtime_root: &'a str,
    before: Vec<HeldAmounts<'a>>,
    devices: &'a [LeasedDevice],
    /// The ways in which the new amounts are enforced: `dmem`, `mps`.
    by: Vec<&'static str>,
    /// The limits of what was done.
    pub notes: Vec<&'static str>,
}

/// A lease's amounts of one device.
#[derive(Debug, Serialize)]
struct HeldAmounts<'a> {
    uuid: &'a DeviceId,
    milli: MilliGpu,
    memory_bytes: Option<Bytes>,
}

impl<'a> LeaseResize<'a> {
    pub fn of(resized: &'a Resized) -> Self {
        let Resized { before, lease, dmem, mps } = resized;
        let by = [(*dmem, "dmem"), (*mps, "mps")];
        Self {
            resized: ResizedLease {
                id: &lease.id,
                container_id: &lease.container_id,
                runtime_root: &lease.runtime_root,
                before: amounts(before),
                devices: &lease.devices,
                by: by.into_iter().filter(|(used, _)| *used).map(|(_, name)| name).collect(),
                notes: notes(resized),
            },
        }
    }
}

fn amounts<'a>(lease: &'a Lease) -> Vec<HeldAmounts<'a>> {
    let amounts = |device: &'a LeasedDevice| {
        let LeasedDevice { uuid, milli, memory_bytes, .. } = device;
        HeldAmounts { uuid, milli: *milli, memory_bytes: *memory_bytes }
    };
    lease.devices.iter().map(amounts).collect()
}

fn notes(resized: &Resized) -> Vec<&'static str> {
    if resized.mps {
        return vec![
            "MPS limits processes that start from now on; a process that inherits the container's \
             first CUDA_MPS_ variables keeps their limits where those are lower",
        ];
    }
    if resized.dmem && resized.lease.isolation.effective == Isolation::Mps {
        return vec![
            "the kernel's limit of all processes together is changed; each process keeps the limit \
             of its own CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
        ];
    }
    Vec::new()
}
