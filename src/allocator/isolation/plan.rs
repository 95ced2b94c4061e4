//! Plans how a request would be enforced on a device.

use super::super::demand::Demand;
use super::super::occupancy::{Fit, Occupancy};
use super::super::snapshot::{Hold, Requester, Snapshot};
use super::cu_mask::Shape;
use super::dmem_region::region;
use super::mode::{Client, Conflict, SharesOnDevice};
use crate::model::cu_set::CuSet;
use crate::model::device::{Device, Vendor};
use crate::model::facilities::{Facilities, MpsDaemons};
use crate::model::isolation::{Enforcement, Isolation};
use crate::model::lease::Sharing;
use crate::request::{Amount, Count, Enforce, Request};

/// The CUDA compute capability from which on MPS limits its clients: Volta's (NVIDIA,
/// "Multi-Process Service", "Volta MPS execution resource provisioning").
const VOLTA: (u32, u32) = (7, 0);

/// How a share, or a whole device, is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Plan {
    pub(in super::super) effective: Isolation,
    /// The enforcer of the share of compute.
    pub(in super::super) compute: Enforcement,
    pub(in super::super) memory: Enforcement,
    /// Whether MPS itself limits its clients to this share.
    pub(in super::super) pinned: bool,
}

/// A plan, and what rules it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct PlanVerdict {
    pub(in super::super) plan: Plan,
    /// Whether it enforces as much as the request requires.
    pub(in super::super) met: bool,
    /// Why it cannot join the leases on the device that are not in their grace.
    pub(in super::super) conflict: Option<Conflict>,
    /// Whether it can join the shares on the device.
    pub(in super::super) fit: Fit,
}

/// A request, and all that is the same for each device.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Planner<'a> {
    pub(super) request: &'a Request,
    pub(super) facilities: &'a Facilities,
    pub(super) requester: Requester,
}

impl<'a> Planner<'a> {
    pub(in super::super) fn new(snapshot: &'a Snapshot<'a>, request: &'a Request) -> Self {
        Self { request, facilities: &snapshot.facilities, requester: snapshot.requester }
    }

    /// The best plan for the device. Among the isolations that fit the shares on the device best,
    /// it is the first in the order of preference that enforces all required limits. `masked` are
    /// the holds that have a mask.
    pub(in super::super) fn verdict(
        &self,
        device: &Device,
        demand: &Demand,
        occupancy: &Occupancy,
        masked: &[&Hold],
    ) -> PlanVerdict {
        if demand.sharing == Sharing::Exclusive || device.instance().is_some() {
            let met = self.requester.confined || self.request.enforcement != Enforce::Required;
            return PlanVerdict { plan: self.whole(device), met, conflict: None, fit: Fit::Free };
        }
        let (first, second) = self.ways(device);
        let look = |effective| {
            let plan = self.share(device, effective);
            let against = |shares: &SharesOnDevice, grace: bool| {
                self.conflict(device, demand, plan, shares, masked, grace)
            };
            let conflict = against(&occupancy.firm.shares, false);
            let fit = match conflict {
                Some(_) => Fit::Taken,
                None if against(&occupancy.with_grace.shares, true).is_some() => Fit::TakesGrace,
                None => Fit::Free,
            };
            PlanVerdict { plan, met: self.is_met(plan), conflict, fit }
        };
        let first = look(first);
        match second.map(look) {
            Some(second) if second.met && (!first.met || second.fit < first.fit) => second,
            _ => first,
        }
    }

    /// The plan for a whole device. The device cgroup opens a GPU's node to no other container; the
    /// driver separates instances and partitions.
    fn whole(&self, device: &Device) -> Plan {
        let (effective, by) = if device.instance().is_some() {
            (Isolation::Mig, Enforcement::Driver)
        } else if device.details.partition.is_some() {
            (Isolation::Partition, Enforcement::Driver)
        } else {
            (Isolation::None, Enforcement::Kernel)
        };
        let by = self.label(device, by);
        Plan { effective, compute: by, memory: by, pinned: false }
    }

    /// The plan for a share with this isolation.
    fn share(&self, device: &Device, effective: Isolation) -> Plan {
        let pinned = effective == Isolation::Mps && self.pins(device);
        let compute = if pinned { Enforcement::Driver } else { Enforcement::Advisory };
        let memory = match effective {
            Isolation::None => Enforcement::Advisory,
            _ if self.region(device).is_some() => Enforcement::Kernel,
            _ => Enforcement::Advisory,
        };
        let label = |by| self.label(device, by);
        Plan { effective, compute: label(compute), memory: label(memory), pinned }
    }

    /// The label of a limit. `by` enforces it on a real device and a confined container.
    fn label(&self, device: &Device, by: Enforcement) -> Enforcement {
        match by {
            _ if !self.requester.confined => Enforcement::None,
            by if device.simulated && by.holds() => Enforcement::Simulated,
            by => by,
        }
    }

    /// Whether the plan enforces each limit that has to be enforced.
    fn is_met(&self, plan: Plan) -> bool {
        let (compute, memory) = self.must_hold();
        (!compute || plan.compute.holds()) && (!memory || plan.memory.holds())
    }

    /// Which limits have to be enforced: compute, memory.
    pub(super) fn must_hold(&self) -> (bool, bool) {
        match (self.request.enforcement, self.request.amount) {
            (Enforce::Required, Amount::Share { compute, memory }) => {
                (compute.is_some(), memory.is_some())
            }
            (Enforce::Required, Amount::Whole) => (true, true),
            (Enforce::Preferred, _) => (false, false),
        }
    }

    /// Whether MPS itself limits compute. It then closes the device to all but its server and sets
    /// one limit for every client. Other clients pay for that, so it is done only if the request
    /// requires it.
    fn pins(&self, device: &Device) -> bool {
        let closed = self
            .facilities
            .mps
            .as_ref()
            .is_ok_and(|mps| mps.daemons == MpsDaemons::PerDevice && mps.exclusive.is_ok());
        self.must_hold().0 && closed && capability(device).is_some_and(|has| has >= VOLTA)
    }

    /// The region of dmem in which a share's memory is limited.
    fn region(&self, device: &Device) -> Option<&'a str> {
        region(self.facilities.dmem.as_ref().ok()?, device).ok()
    }

    /// The region in which to limit a share's memory. A whole device has all of its memory.
    pub(in super::super) fn limited_region(
        &self,
        device: &Device,
        demand: &Demand,
        plan: Plan,
    ) -> Option<String> {
        let limited = demand.sharing == Sharing::Shared && plan.effective != Isolation::None;
        self.region(device).filter(|_| limited && device.instance().is_none()).map(str::to_owned)
    }

    /// The isolations for a share of this device, the best first. An isolation that the device does
    /// not have stands for the best that it has.
    fn ways(&self, device: &Device) -> (Isolation, Option<Isolation>) {
        let best = match device.vendor {
            Vendor::Nvidia if self.can_mps(device) => Some(Isolation::Mps),
            Vendor::Amd if device.details.compute_units.is_some() => Some(Isolation::CuMask),
            _ => None,
        };
        match (self.request.isolation, best) {
            (Isolation::None, _) => (Isolation::None, None),
            (Isolation::TimeSlicing, _) | (_, None) => (Isolation::TimeSlicing, None),
            (Isolation::Mps, Some(best)) => (best, None),
            (Isolation::CuMask, Some(Isolation::CuMask)) => (Isolation::CuMask, None),
            (_, Some(best)) => (best, Some(Isolation::TimeSlicing)),
        }
    }

    /// Whether a share gets another isolation than the one that the request names.
    pub(in super::super) fn replaces(&self, demand: &Demand, plan: Plan) -> bool {
        let asked = self.request.isolation;
        demand.sharing == Sharing::Shared && asked != Isolation::Auto && asked != plan.effective
    }

    /// Whether MPS is possible. If the device's capability is unknown, a request that names MPS is
    /// trusted to know.
    pub(super) fn can_mps(&self, device: &Device) -> bool {
        let able = match capability(device) {
            Some(has) => has >= VOLTA,
            None => self.request.isolation == Isolation::Mps,
        };
        able && self.facilities.mps.is_ok() && self.is_for_one() && self.requester.uid.is_some()
    }

    /// A process talks to one MPS daemon, and a daemon serves one device.
    pub(super) fn is_for_one(&self) -> bool {
        self.request.count == Count::Exactly(1)
    }

    fn conflict(
        &self,
        device: &Device,
        demand: &Demand,
        plan: Plan,
        shares: &SharesOnDevice,
        masked: &[&Hold],
        grace: bool,
    ) -> Option<Conflict> {
        shares.against(plan.effective).or_else(|| match plan.effective {
            Isolation::Mps => shares.refuses(Client {
                share: demand.milli,
                pinned: plan.pinned,
                user: self.requester.uid,
                common: self
                    .facilities
                    .mps
                    .as_ref()
                    .is_ok_and(|mps| mps.daemons == MpsDaemons::PerDevice),
                most: clients(device),
            }),
            Isolation::CuMask => {
                let shape = Shape::of(device)?;
                let wanted = shape.wanted(demand.milli)?;
                let free = shape.free(&masks(masked, |hold| grace || !hold.grace));
                (free < wanted).then_some(Conflict::Units { free, wanted })
            }
            _ => None,
        })
    }

    /// The compute units of a share that a mask enforces.
    pub(in super::super) fn cu_mask(
        &self,
        device: &Device,
        demand: &Demand,
        plan: Plan,
        masked: &[&Hold],
    ) -> Option<CuSet> {
        let shape = Shape::of(device).filter(|_| plan.effective == Isolation::CuMask)?;
        let firm = masks(masked, |hold| !hold.grace);
        shape.choose(shape.wanted(demand.milli)?, &firm, &masks(masked, |hold| hold.grace))
    }
}

fn masks<'h>(masked: &[&'h Hold], counts: impl Fn(&Hold) -> bool) -> Vec<&'h CuSet> {
    let holds = masked.iter().filter(|hold| counts(hold));
    holds.filter_map(|hold| hold.kind.cus.as_ref()).collect()
}

/// The CUDA compute capability, if it is known.
pub(super) fn capability(device: &Device) -> Option<(u32, u32)> {
    device.details.arch.as_deref().and_then(version)
}

/// The most clients that MPS serves on a device: 16 before Volta, then 48, and 60 by the drivers of
/// CUDA 13.1 (NVIDIA, "Multi-Process Service", "Client limits"). If the capability is unknown, 16.
fn clients(device: &Device) -> u32 {
    let cuda = device.details.cuda.as_deref().and_then(version);
    match capability(device) {
        Some(has) if has >= VOLTA && cuda >= Some((13, 1)) => 60,
        Some(has) if has >= VOLTA => 48,
        _ => 16,
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
