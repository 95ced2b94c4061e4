//! All that is known of each device before a choice is made.

use super::demand::Demand;
use super::filter::{Exclusion, ModelPattern, exclusion};
use super::occupancy::{Fit, Occupancy, occupancies};
use super::selectors::{BadSelector, resolve};
use super::snapshot::Snapshot;
use crate::model::device::{Device, Vendor};
use crate::request::{Count, Request};
use std::collections::BTreeSet;

/// One device, held against one request.
#[derive(Debug)]
pub(super) struct Assessed<'a> {
    pub(super) device: &'a Device,
    /// What the request would get here.
    pub(super) demand: Demand,
    /// Why it can never serve, if so.
    pub(super) exclusion: Option<Exclusion>,
    /// Whether it is cordoned, even where another exclusion comes first.
    pub(super) cordoned: bool,
    /// What is held of it.
    pub(super) occupancy: Occupancy,
    /// Whether the demand fits, if the device could serve at all.
    pub(super) fit: Fit,
}

impl Assessed<'_> {
    /// Whether it can serve now.
    pub(super) fn is_usable(&self) -> bool {
        self.exclusion.is_none() && self.fit != Fit::Taken
    }
}

/// A request and every device of the node, in the node's order.
#[derive(Debug)]
pub(super) struct Assessment<'a> {
    pub(super) snapshot: &'a Snapshot<'a>,
    pub(super) request: &'a Request,
    pub(super) devices: Vec<Assessed<'a>>,
}

impl<'a> Assessment<'a> {
    /// # Errors
    /// The first selector that does not name exactly one device.
    pub(super) fn new(
        snapshot: &'a Snapshot<'a>,
        request: &'a Request,
    ) -> Result<Self, BadSelector<'a>> {
        let named = resolve(snapshot.node, &request.devices)?;
        let model = request.model.as_deref().map(ModelPattern::new);
        let devices = snapshot.node.devices.iter().enumerate().zip(occupancies(snapshot)).map(
            |((position, device), occupancy)| {
                let demand = Demand::on(request, device);
                let cordoned = snapshot.cordoned.contains(&device.uuid);
                let named = named.as_ref().is_none_or(|named| named.contains(&position));
                Assessed {
                    device,
                    exclusion: exclusion(request, model.as_ref(), device, named, cordoned, &demand),
                    cordoned,
                    fit: occupancy.fit(device, &demand),
                    demand,
                    occupancy,
                }
            },
        );
        Ok(Self { snapshot, request, devices: devices.collect() })
    }

    /// Whether a set may hold devices of several vendors: only if the request says which devices
    /// it wants, by name or by `all`. A container that asks for "2" wants two of a kind.
    pub(super) fn may_mix_vendors(&self) -> bool {
        !self.request.devices.is_empty() || self.request.count == Count::All
    }

    /// The vendors among the devices.
    pub(super) fn vendors(&self) -> BTreeSet<Vendor> {
        self.devices.iter().map(|assessed| assessed.device.vendor).collect()
    }

    /// How many of the devices that pass `test` one set could have.
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

    /// Whether `count = all` means this device: every one that the request's choice leaves, save
    /// those that are cordoned. A cordoned device that the request names is meant all the same:
    /// what was asked for by name is not left out in silence.
    pub(super) fn all_means(&self, assessed: &Assessed<'_>) -> bool {
        let chosen = !assessed.exclusion.is_some_and(Exclusion::is_by_choice);
        chosen && (!assessed.cordoned || !self.request.devices.is_empty())
    }

    /// Whether leases alone stand in the way: without any, the request would be met.
    pub(super) fn could_be_met(&self) -> bool {
        match self.request.count {
            Count::Exactly(count) => self.reach(|a| a.exclusion.is_none()) >= count as usize,
            Count::All => {
                let mut meant = self.devices.iter().filter(|a| self.all_means(a)).peekable();
                meant.peek().is_some() && meant.all(|a| a.exclusion.is_none())
            }
        }
    }
}
