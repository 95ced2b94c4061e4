//! Chooses among the devices that fit.
//!
//! Devices are ranked, the best first, by
//! 1. whether they are free of processes without a lease (a named device is taken in spite of
//!    them),
//! 2. whether the requested isolation is possible on them, without a replacement,
//! 3. whether the same container held them a moment ago,
//! 4. whether no lease in its grace has to give them up,
//! 5. the requested strategy,
//! 6. their position in PCI order.
//!
//! A set has the best-ranked devices of one vendor, or of any vendor if the request allows it. The
//! same order decides between the sets of two vendors, with sums in place of single values.

use super::assess::{Assessed, Assessment};
use super::isolation::Plan;
use super::occupancy::Fit;
use super::snapshot::{Grant, GrantedDevice};
use super::topology;
use crate::model::device::{Device, Vendor};
use crate::model::mig::DeviceNumber;
use crate::model::order;
use crate::request::{Strategy, Topology};

/// The whole of a device. Parts are in billionths of it.
const WHOLE: u64 = 1_000_000_000;

/// The order among devices that fit: the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    busy: bool,
    replaced: bool,
    not_preferred: bool,
    takes_grace: bool,
    by_strategy: u64,
}

#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    rank: Rank,
    assessed: &'a Assessed<'a>,
}

/// The best set of `count` devices, if there is one.
pub(super) fn exactly(assessment: &Assessment<'_>, count: usize) -> Option<Grant> {
    let set = if assessment.may_mix_vendors() {
        best_set(assessment, None, count)
    } else {
        let vendors = assessment.vendors().into_iter();
        let sets = vendors.filter_map(|vendor| best_set(assessment, Some(vendor), count));
        sets.min_by_key(|set| set_order(set))
    };
    set.map(|set| grant(assessment, set.iter().map(|candidate| candidate.assessed)))
}

/// All devices that `all` means, if there are any and each of them fits.
pub(super) fn all(assessment: &Assessment<'_>) -> Option<Grant> {
    let meant = || assessment.devices.iter().filter(|assessed| assessment.all_means(assessed));
    let available = meant().next().is_some() && meant().all(Assessed::is_usable);
    available.then(|| grant(assessment, meant()))
}

fn grant<'a>(assessment: &Assessment<'_>, set: impl Iterator<Item = &'a Assessed<'a>>) -> Grant {
    let set: Vec<&Assessed<'_>> = set.collect();
    let planner = &assessment.planner;
    let set = set.into_iter();
    let set: Vec<(&Assessed<'_>, Plan)> =
        set.filter_map(|assessed| Some((assessed, assessed.verdict?.plan))).collect();
    let isolation = planner.record(&set);
    let pinned = set.iter().any(|(_, plan)| plan.pinned);
    let granted = |(assessed, plan): (&Assessed<'_>, Plan)| GrantedDevice {
        uuid: assessed.device.uuid.clone(),
        index: assessed.device.index,
        mig_index: assessed.device.place().instance,
        vendor: assessed.device.vendor,
        milli: assessed.demand.milli,
        memory: assessed.device.capacity().map(|_| assessed.demand.memory),
        sharing: assessed.demand.sharing,
        cu_mask: planner.cu_mask(assessed.device, &assessed.demand, plan, &assessed.masked),
        dmem_region: planner.limited_region(assessed.device, &assessed.demand, plan),
    };
    let mut devices: Vec<GrantedDevice> = set.into_iter().map(granted).collect();
    order::sort_by_key(&mut devices, GrantedDevice::place);
    Grant { devices, isolation, pinned }
}

/// Compares the sets of two vendors. The better set has fewer busy devices, then fewer with a
/// replaced isolation, more preferred ones, fewer that a lease in its grace gives up, the better
/// sum by the strategy, the lower positions.
fn set_order(set: &[Candidate<'_>]) -> (usize, usize, usize, usize, u64, Vec<DeviceNumber>) {
    let mut places: Vec<DeviceNumber> = set.iter().map(|c| c.assessed.device.place()).collect();
    order::sort(&mut places);
    (
        set.iter().filter(|c| c.rank.busy).count(),
        set.iter().filter(|c| c.rank.replaced).count(),
        set.iter().filter(|c| c.rank.not_preferred).count(),
        set.iter().filter(|c| c.rank.takes_grace).count(),
        set.iter().map(|c| c.rank.by_strategy).fold(0, u64::saturating_add),
        places,
    )
}

fn best_set<'a>(
    assessment: &'a Assessment<'_>,
    vendor: Option<Vendor>,
    count: usize,
) -> Option<Vec<Candidate<'a>>> {
    let of_vendor = |a: &&Assessed<'_>| vendor.is_none_or(|vendor| vendor == a.device.vendor);
    let usable = assessment.devices.iter().filter(of_vendor).filter(|a| a.is_usable());
    let mut candidates: Vec<Candidate<'a>> =
        usable.map(|a| Candidate { rank: rank(assessment, a), assessed: a }).collect();
    order::sort_by_key(&mut candidates, |candidate| {
        (candidate.rank, candidate.assessed.device.place())
    });
    let worst_taken = candidates.get(count.checked_sub(1)?)?.rank;
    // Links decide only among devices of equal rank, those that rank with the last one taken. All
    // whole devices rank equal. Among shares, a better linked set is not worth breaking into
    // another empty device.
    let sure = candidates.partition_point(|candidate| candidate.rank < worst_taken);
    let equal = candidates.partition_point(|candidate| candidate.rank <= worst_taken);
    candidates.truncate(equal);
    if assessment.request.topology == Topology::Preferred && count > 1 && count < equal {
        let pool = candidates.split_off(sure);
        let devices = |set: &[Candidate<'a>]| -> Vec<&'a Device> {
            set.iter().map(|candidate| candidate.assessed.device).collect()
        };
        let links = &assessment.snapshot.node.links;
        let best =
            topology::best_linked(links, &devices(&candidates), &devices(&pool), count - sure);
        candidates.extend(best.into_iter().filter_map(|position| pool.get(position)));
    }
    candidates.truncate(count);
    Some(candidates)
}

fn rank(assessment: &Assessment<'_>, assessed: &Assessed<'_>) -> Rank {
    Rank {
        busy: assessed.busy,
        replaced: assessed
            .verdict
            .is_some_and(|verdict| assessment.planner.replaces(&assessed.demand, verdict.plan)),
        not_preferred: !assessment.snapshot.prefer.contains(&assessed.device.uuid),
        takes_grace: assessed.fit == Fit::TakesGrace,
        by_strategy: match assessment.request.strategy {
            Strategy::BestFit => left_over(assessed),
            Strategy::WorstFit => (2 * WHOLE).saturating_sub(left_over(assessed)),
            Strategy::FirstFit => 0,
        },
    }
}

/// The part of the device that the grant would leave free, in billionths: compute and memory, each
/// as a fraction of the device, added up.
///
/// The sum is used, not the larger fraction: over random demands it packs equally well or slightly
/// better, and it still orders two devices whose scarcer half is the same. Leases in their grace
/// count as gone: most of them end, and a device that is about to be empty is worth keeping empty.
/// The part that an exclusive share leaves free counts too, because it is wasted: the smaller it
/// is, the better.
///
/// A MIG instance is leased whole. If several instances serve, the smallest one is taken and the
/// larger ones stay free, so here the size is the measure.
fn left_over(assessed: &Assessed<'_>) -> u64 {
    if assessed.device.instance().is_some() {
        return assessed.device.leasable().mib();
    }
    let (milli, memory) = assessed.occupancy.firm.free(assessed.device);
    let milli = milli.saturating_sub(assessed.demand.milli);
    let memory = memory.saturating_sub(assessed.demand.memory);
    let fraction = |part: u64, whole: u64| {
        let scaled = u128::from(part) * u128::from(WHOLE);
        let fraction = scaled.checked_div(u128::from(whole)).unwrap_or(0);
        u64::try_from(fraction).unwrap_or(WHOLE)
    };
    fraction(u64::from(milli.0), 1000)
        .saturating_add(fraction(memory.0, assessed.device.leasable().0))
}
