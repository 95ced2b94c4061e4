//! Collects the facts about each device before a choice is made.

use super::demand::Demand;
use super::filter::{DeviceStanding, Exclusion, ModelPattern, exclusion};
use super::isolation::{Conflict, PlanVerdict, Planner};
use super::occupancy::{Fit, Occupancy, occupancies};
use super::selectors::{BadSelector, resolve};
use super::snapshot::{Hold, Snapshot};
use crate::model::device::{Device, Node, Vendor};
use crate::model::order;
use crate::request::{Count, MigChoice, Request, RequestSource};
use std::collections::BTreeSet;

/// One device, compared with one request.
#[derive(Debug)]
pub(super) struct Assessed<'a> {
    pub(super) device: &'a Device,
    /// The amounts that the request would get here.
    pub(super) demand: Demand,
    /// Why the device can never serve the request, if it cannot.
    pub(super) exclusion: Option<Exclusion>,
    /// Whether it is cordoned, even if another exclusion comes first.
    pub(super) cordoned: bool,
    /// Whether processes without a lease compute on it, even if the request may share it with them.
    pub(super) busy: bool,
    /// How much of it is held.
    pub(super) occupancy: Occupancy,
    /// The holds on it that have compute units of their own.
    pub(super) masked: Vec<&'a Hold>,
    /// How the share would be enforced; `None` if the device is ruled out already.
    pub(super) verdict: Option<PlanVerdict>,
    /// Whether the demand fits, if the device can serve at all.
    pub(super) fit: Fit,
}

impl Assessed<'_> {
    /// Whether it can serve now.
    pub(super) fn is_usable(&self) -> bool {
        self.exclusion.is_none() && self.fit != Fit::Taken
    }

    /// Why it cannot join the shares on the device, although there is room for it.
    pub(super) fn conflict(&self) -> Option<Conflict> {
        let has_room = self.occupancy.fit(self.device, &self.demand) != Fit::Taken;
        self.verdict?.conflict.filter(|_| has_room)
    }
}

/// A request and every device of the node, in the node's order.
#[derive(Debug)]
pub(super) struct Assessment<'a> {
    pub(super) snapshot: &'a Snapshot<'a>,
    pub(super) request: &'a Request,
    pub(super) planner: Planner<'a>,
    pub(super) devices: Vec<Assessed<'a>>,
}

impl<'a> Assessment<'a> {
    /// Fails with the first selector that does not name exactly one device.
    pub(super) fn new(
        snapshot: &'a Snapshot<'a>,
        request: &'a Request,
    ) -> Result<Self, BadSelector<'a>> {
        let instances = matches!(request.mig, MigChoice::Instances(_));
        let named = resolve(snapshot.node, &request.devices, instances)?;
        let names = |position: usize| named.as_ref().is_none_or(|n| n.contains(&position));
        let model = request.model.as_deref().map(ModelPattern::new);
        let planner = Planner::new(snapshot, request);
        let held = occupancies(snapshot);
        let held = held.of.into_iter().zip(held.masked);
        let devices = snapshot.node.devices.iter().enumerate().zip(held).map(
            |((position, device), (occupancy, masked))| {
                let demand = Demand::on(request, device);
                let busy = is_busy(snapshot, request, device);
                // A request that names a device gets it, in spite of processes without a lease.
                let by_name = named.is_some() && names(position);
                let standing = DeviceStanding {
                    named: names(position),
                    injected: named.is_some()
                        && request.source == RequestSource::Injected
                        && !has_named_instance(snapshot.node, position, names),
                    cordoned: is_cordoned(snapshot, device),
                    busy: busy && (snapshot.busy.refuse || !by_name),
                };
                let exclusion = exclusion(request, model.as_ref(), device, standing, &demand);
                let is_out = exclusion.is_some_and(|exclusion| exclusion < Exclusion::Unmet);
                let verdict =
                    (!is_out).then(|| planner.verdict(device, &demand, &occupancy, &masked));
                let is_unmet = verdict.is_some_and(|verdict| !verdict.met);
                let fit = verdict.map_or(Fit::Free, |verdict| verdict.fit);
                Assessed {
                    device,
                    exclusion: if is_unmet { Some(Exclusion::Unmet) } else { exclusion },
                    cordoned: standing.cordoned,
                    busy,
                    fit: occupancy.fit(device, &demand).max(fit),
                    demand,
                    occupancy,
                    masked,
                    verdict,
                }
            },
        );
        Ok(Self { snapshot, request, planner, devices: devices.collect() })
    }

    /// Whether a set may have devices of several vendors. It may only if the request says which
    /// devices it wants, by name or by `all`. A container that requests "2" wants two of a kind.
    pub(super) fn may_mix_vendors(&self) -> bool {
        !self.request.devices.is_empty() || self.request.count == Count::All
    }

    /// The vendors of the node's devices.
    pub(super) fn vendors(&self) -> BTreeSet<Vendor> {
        order::set(self.devices.iter().map(|assessed| assessed.device.vendor))
    }

    /// The size of the largest set that devices which pass `test` can form.
    pub(super) fn reach(&self, test: impl Fn(&Assessed<'_>) -> bool) -> usize {
        let count = |vendor: Option<Vendor>| {
            let of_vendor = |a: &&Assessed<'_>| vendor.is_none_or(|v| v == a.device.vendor);
            self.devices.iter().filter(of_vendor).filter(|assessed| test(assessed)).count()
        };
        if self.may_mix_vendors() {
            count(None)
        } else {
            self.vendors().into_iter().map(|vendor| count(Some(vendor))).max().unwrap_or(0)
        }
    }

    /// Whether `count = all` means this device. It means every device that the request's choice
    /// leaves, except cordoned ones. A device that the request names is meant even if it is
    /// cordoned: a named device is never left out in silence.
    pub(super) fn all_means(&self, assessed: &Assessed<'_>) -> bool {
        let named = !self.request.devices.is_empty();
        match assessed.exclusion {
            // The device is meant, and the request fails because of it.
            Some(Exclusion::Kind) if named && assessed.device.is_in_mig_mode() => true,
            exclusion => {
                let chosen = !exclusion.is_some_and(Exclusion::is_by_choice);
                chosen && (!assessed.cordoned || named)
            }
        }
    }

    /// Whether the request concerns devices of this kind. A request for GPUs does not concern MIG
    /// instances, and a request for instances concerns nothing else.
    pub(super) fn is_about(&self, device: &Device) -> bool {
        match self.request.mig {
            MigChoice::Gpus => device.instance().is_none(),
            MigChoice::Instances(_) => device.instance().is_some(),
            MigChoice::Either => true,
        }
    }

    /// Whether the request would be met on this node without any lease and without processes that
    /// have none.
    pub(super) fn could_be_met(&self) -> bool {
        self.is_met_by(|exclusion| exclusion == Exclusion::Busy)
    }

    /// Whether the request fails only because limits that it requires cannot be enforced.
    pub(super) fn lacks_enforcement(&self) -> bool {
        self.is_met_by(|exclusion| exclusion >= Exclusion::Unmet) && !self.could_be_met()
    }

    /// Whether the request would be met on a node without leases if these exclusions did not count.
    fn is_met_by(&self, is_none: impl Fn(Exclusion) -> bool) -> bool {
        let could_serve = |a: &Assessed<'_>| a.exclusion.is_none_or(&is_none);
        match self.request.count {
            Count::Exactly(count) => self.reach(could_serve) >= count as usize,
            Count::All => {
                let mut meant = self.devices.iter().filter(|a| self.all_means(a)).peekable();
                meant.peek().is_some() && meant.all(could_serve)
            }
        }
    }
}

/// Whether the device, or the GPU that it is a part of, is out of service.
fn is_cordoned(snapshot: &Snapshot<'_>, device: &Device) -> bool {
    let is = |uuid| snapshot.cordoned.contains(uuid);
    is(&device.uuid) || device.instance().is_some_and(|instance| is(&instance.parent))
}

/// Whether processes without a lease compute on the device. A device that the engine has given away
/// is leased in spite of them: the container has it either way.
fn is_busy(snapshot: &Snapshot<'_>, request: &Request, device: &Device) -> bool {
    request.source != RequestSource::Injected && !snapshot.busy.of(device).is_empty()
}

/// Whether an instance of the GPU at this position is named.
fn has_named_instance(node: &Node, gpu: usize, names: impl Fn(usize) -> bool) -> bool {
    let behind = node.devices.iter().enumerate().skip(gpu.saturating_add(1));
    behind
        .take_while(|(_, device)| device.instance().is_some())
        .any(|(position, _)| names(position))
}
