//! The answer that a container would get now.

use super::failure::FailureView;
use super::request::RequestView;
use crate::allocator::{Grant, GrantedDevice};
use crate::model::device::{Device, Node};
use crate::model::isolation::{Enforcement, Isolation, IsolationRecord};
use crate::request::{Amount, Request};
use crate::start::SpecFault;
use crate::start::planned::{PlannedOutcome, PlannedStart};
use serde::Serialize;

/// A planned start: at most one of `grant` and `refusal` is there.
#[derive(Debug, Default, Serialize)]
pub struct StartPlan<'a> {
    /// Null if the container requests nothing.
    request: Option<RequestView<'a>>,
    pub grant: Option<PlannedGrant<'a>>,
    refusal: Option<FailureView<'a>>,
    /// The host's id of the container's user.
    user: Option<u32>,
    /// Without a request: the engine has put devices, mounts or hooks into the spec, none of which is
    /// a GPU that gpulease leases.
    injected: Option<bool>,
    /// Without a request: the spec is edited all the same.
    cleaned: Option<bool>,
    spec_fault: Option<&'a SpecFault>,
}

#[derive(Debug, Serialize)]
pub struct PlannedGrant<'a> {
    pub devices: Vec<PlannedDevice<'a>>,
    isolation: &'a IsolationRecord,
}

/// A granted device, with what the inventory knows of it.
#[derive(Debug, Serialize)]
pub struct PlannedDevice<'a> {
    #[serde(flatten)]
    pub granted: &'a GrantedDevice,
    model: Option<&'a str>,
    simulated: Option<bool>,
    #[serde(skip)]
    pub device: Option<&'a Device>,
}

impl<'a> StartPlan<'a> {
    pub fn of(start: &'a PlannedStart) -> Self {
        let plan = Self { spec_fault: start.spec_fault.as_ref(), ..Self::default() };
        match &start.outcome {
            PlannedOutcome::NoRequest { injected } => {
                Self { injected: Some(*injected), cleaned: Some(false), ..plan }
            }
            PlannedOutcome::Cleaned { .. } => {
                Self { injected: Some(false), cleaned: Some(true), ..plan }
            }
            PlannedOutcome::Granted(planned, grant) => Self {
                request: Some(RequestView::of(&planned.asked.request)),
                grant: Some(PlannedGrant::of(grant, &planned.asked.inventory.node)),
                user: planned.user,
                ..plan
            },
            PlannedOutcome::Refused(planned, refusal) => Self {
                request: Some(RequestView::of(&planned.asked.request)),
                refusal: Some(FailureView::of(refusal)),
                user: planned.user,
                ..plan
            },
        }
    }
}

impl<'a> PlannedGrant<'a> {
    fn of(grant: &'a Grant, node: &'a Node) -> Self {
        let devices = grant.devices.iter().map(|granted| {
            let device = node.device(&granted.uuid);
            PlannedDevice {
                granted,
                model: device.map(|device| device.model.as_str()),
                simulated: device.map(|device| device.simulated),
                device,
            }
        });
        Self { devices: devices.collect(), isolation: &grant.isolation }
    }
}

/// The isolation in effect and who enforces it, in a sentence. The isolation that was requested is
/// named where it is another one.
pub fn isolation_text(request: &Request, grant: &Grant) -> String {
    let isolation = &grant.isolation;
    let enforced = match [isolation.compute_enforcement, isolation.memory_enforcement] {
        [compute, memory] if compute == memory => format!("compute and memory {}", by(compute)),
        [compute, memory] => format!("compute {}, memory {}", by(compute), by(memory)),
    };
    let word = isolation.requested_as.unwrap_or(isolation.requested);
    let is_other =
        word != isolation.effective && !matches!(word, Isolation::Auto | Isolation::None);
    let requested = match (is_other, request.amount) {
        (false, _) => String::new(),
        (true, Amount::Whole) if isolation.effective == Isolation::None => {
            format!(": {word} is for shares, and a whole device is asked for")
        }
        (true, _) => format!(" in place of {word}"),
    };
    // The isolation of a mixed set is that of its weakest device.
    let others: Vec<String> = grant
        .devices
        .iter()
        .filter(|device| device.cu_mask.is_some() && isolation.effective != Isolation::CuMask)
        .map(|device| format!(", and {} on GPU {}", Isolation::CuMask, device.place()))
        .collect();
    format!("{}{}{requested}; {enforced}", isolation.effective, others.concat())
}

const fn by(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::None => "not enforced",
        Enforcement::Simulated => "would be enforced on a real device",
        Enforcement::Advisory => "enforced by the workload's good will",
        Enforcement::Driver => "enforced by the driver",
        Enforcement::Kernel => "enforced by the kernel",
    }
}
