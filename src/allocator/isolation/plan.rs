//! What a request would get on a device.

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

/// The CUDA compute capability from which MPS limits its clients: Volta's (NVIDIA, "Multi-Process
/// Service", "Volta MPS execution resource provisioning").
const VOLTA: (u32, u32) = (7, 0);

/// How a share, or a whole device, is made true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Plan {
    pub(in super::super) effective: Isolation,
    /// Who enforces the share of compute, and
    pub(in super::super) compute: Enforcement,
    pub(in super::super) memory: Enforcement,
    /// MPS itself holds its clients to this share.
    pub(in super::super) pinned: bool,
}

/// A plan, and what speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct PlanVerdict {
    pub(in super::super) plan: Plan,
    /// Whether it holds as much as the request requires.
    pub(in super::super) met: bool,
    /// What rules it out while those are there who may not be driven away.
    pub(in super::super) conflict: Option<Conflict>,
    /// Whether it goes with those who are there.
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

    /// The first way in the order of preference that holds what has to hold, among those ways that
    /// go best with the shares that are there. `masked` are those of them that have a mask.
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

    /// A whole device: of a GPU the device cgroup gives its node to nobody else, and the driver
    /// keeps instances and partitions apart.
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

    /// A share that is made true in this way.
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

    /// Who enforces a limit, given who would of a device that exists and a
    /// container that is confined.
    fn label(&self, device: &Device, by: Enforcement) -> Enforcement {
        match by {
            _ if !self.requester.confined => Enforcement::None,
            by if device.simulated && by.holds() => Enforcement::Simulated,
            by => by,
        }
    }

    /// Whether what the request names an amount of is held, if it has to be.
    fn is_met(&self, plan: Plan) -> bool {
        let (compute, memory) = self.must_hold();
        (!compute || plan.compute.holds()) && (!memory || plan.memory.holds())
    }

    /// Which limits have to hold: those of compute, those of memory.
    pub(super) fn must_hold(&self) -> (bool, bool) {
        match (self.request.enforcement, self.request.amount) {
            (Enforce::Required, Amount::Share { compute, memory }) => {
                (compute.is_some(), memory.is_some())
            }
            (Enforce::Required, Amount::Whole) => (true, true),
            (Enforce::Preferred, _) => (false, false),
        }
    }

    /// Whether MPS itself is to limit compute: with the device closed to all but its server, and
    /// the limit that it has for every client. It costs the others, so only where it is required.
    fn pins(&self, device: &Device) -> bool {
        let closed = self
            .facilities
            .mps
            .as_ref()
            .is_ok_and(|mps| mps.daemons == MpsDaemons::PerDevice && mps.exclusive.is_ok());
        self.must_hold().0 && closed && capability(device).is_some_and(|has| has >= VOLTA)
    }

    /// The region of dmem that a share's memory is limited in.
    fn region(&self, device: &Device) -> Option<&'a str> {
        region(self.facilities.dmem.as_ref().ok()?, device).ok()
    }

    /// The region in which a share's memory is to be limited. A whole device has all of its memory.
    pub(in super::super) fn limited_region(
        &self,
        device: &Device,
        demand: &Demand,
        plan: Plan,
    ) -> Option<String> {
        let limited = demand.sharing == Sharing::Shared && plan.effective != Isolation::None;
        self.region(device).filter(|_| limited && device.instance().is_none()).map(str::to_owned)
    }

    /// How a share is made true here, the best way first. A word that means nothing on this device
    /// is read as the best that it has.
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

    /// Whether a share gets another isolation than the one that was asked for by name.
    pub(in super::super) fn replaces(&self, demand: &Demand, plan: Plan) -> bool {
        let asked = self.request.isolation;
        demand.sharing == Sharing::Shared && asked != Isolation::Auto && asked != plan.effective
    }

    /// Whether MPS can be had. Who asks for it by name is believed that the device has
    /// it where nobody knows.
    pub(super) fn can_mps(&self, device: &Device) -> bool {
        let able = match capability(device) {
            Some(has) => has >= VOLTA,
            None => self.request.isolation == Isolation::Mps,
        };
        able && self.facilities.mps.is_ok() && self.is_for_one() && self.requester.uid.is_some()
    }

    /// A process talks to one MPS daemon, and the daemons are those of one device each.
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

    /// The compute units of a share by masks.
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

/// The CUDA compute capability, where it is known.
pub(super) fn capability(device: &Device) -> Option<(u32, u32)> {
    device.details.arch.as_deref().and_then(version)
}

/// The most clients that MPS serves on a device: 16 before Volta, then 48, and 60 by the drivers
/// of CUDA 13.1 (NVIDIA, "Multi-Process Service", "Client limits"). Where nobody knows, the least.
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
