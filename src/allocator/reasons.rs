//! Puts into words why one device was not granted.

use super::assess::{Assessed, Assessment};
use super::filter::Exclusion;
use super::isolation::Conflict;
use super::occupancy::Fit;
use super::refusal::Why;
use super::snapshot::{BusyProcess, Hold, Snapshot};
use crate::model::device::Device;
use crate::model::lease::Sharing;
use crate::model::order;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown;
use crate::request::{Amount, MigChoice};

/// A reason names at most this many holders.
const HOLDERS_MAX: usize = 3;

/// The reason for one device, or `fits`. An exclusion by choice has the same text for every device,
/// so that a message can group those devices.
pub(super) fn reason(assessment: &Assessment<'_>, assessed: &Assessed<'_>) -> String {
    match why(assessed) {
        Why::Fits => "fits".to_owned(),
        Why::Taken | Why::OtherUser => taken(assessment, assessed),
        Why::Excluded(exclusion) => excluded(assessment, assessed, exclusion),
    }
}

pub(super) fn why(assessed: &Assessed<'_>) -> Why {
    match assessed.exclusion {
        // The lease that holds the device says more than the processes on it.
        None | Some(Exclusion::Busy) if assessed.fit == Fit::Taken => {
            let is_exclusive = assessed.occupancy.firm.is_exclusive();
            match assessed.conflict() {
                Some(Conflict::User { .. }) if !is_exclusive => Why::OtherUser,
                _ => Why::Taken,
            }
        }
        Some(exclusion) => Why::Excluded(exclusion),
        None => Why::Fits,
    }
}

fn excluded(assessment: &Assessment<'_>, assessed: &Assessed<'_>, exclusion: Exclusion) -> String {
    let request = assessment.request;
    let capacity = assessed.device.leasable();
    match exclusion {
        Exclusion::NotNamed => "not named by the request".to_owned(),
        Exclusion::Vendor => match request.vendor {
            Some(vendor) => format!("not made by {}", vendor.name()),
            None => "made by another vendor".to_owned(),
        },
        Exclusion::Model => {
            format!("its model is not like `{}`", shown(request.model.as_deref().unwrap_or("")))
        }
        Exclusion::Kind if assessed.device.instance().is_some() => {
            "a MIG instance, but the request is for a GPU".to_owned()
        }
        Exclusion::Kind => match (&request.mig, assessed.device.is_in_mig_mode()) {
            (MigChoice::Instances(_), false) => {
                "not in MIG mode, but the request is for a MIG instance".to_owned()
            }
            _ => "in MIG mode: its instances are leased, not the GPU".to_owned(),
        },
        Exclusion::Profile => {
            let profile = assessed.device.instance().map(|instance| instance.profile.as_str());
            format!("a MIG instance of the profile {}", profile.unwrap_or("?"))
        }
        Exclusion::NoShares => "a MIG instance, which is leased whole, not in shares".to_owned(),
        Exclusion::Partition => match request.amount {
            Amount::Whole => "not a partition of an AMD GPU".to_owned(),
            Amount::Share { .. } => "the request is for a partition, which is leased \
                                     whole"
                .to_owned(),
        },
        Exclusion::MinMemory => {
            let total = assessed.device.memory_total_bytes.unwrap_or_default();
            let (has, least) = apart(total, request.min_memory.unwrap_or_default());
            format!("has {has} of memory, at least {least} requested")
        }
        Exclusion::Ambiguous => {
            let why = assessed.device.details.ambiguous.as_deref().unwrap_or("?");
            format!("cannot be told apart from another device: {}", shown(why))
        }
        Exclusion::Unqueryable => match &assessed.device.details.fault {
            Some(fault) => format!("its driver does not answer for it: {}", shown(fault)),
            None => "its driver does not answer for it".to_owned(),
        },
        Exclusion::UnknownMemory => {
            "the size of its memory is unknown, so it is only leased whole".to_owned()
        }
        Exclusion::Unhealthy => match &assessed.device.details.health_reason {
            Some(reason) => format!("reported unhealthy: {}", shown(reason)),
            None => "reported unhealthy".to_owned(),
        },
        Exclusion::Cordoned => "cordoned: taken out of service by an administrator".to_owned(),
        Exclusion::TooSmall if assessed.demand.milli > MilliGpu::WHOLE => {
            format!("has {} of compute, {} requested", MilliGpu::WHOLE, assessed.demand.milli)
        }
        Exclusion::TooSmall => {
            let (has, asked) = apart(capacity, assessed.demand.memory);
            format!("has {has} to lease, {asked} requested")
        }
        Exclusion::Unmet => assessed.verdict.map_or_else(String::new, |verdict| {
            assessment.planner.unmet(assessed.device, verdict.plan)
        }),
        Exclusion::Busy => busy(&assessment.snapshot.busy.of(assessed.device)),
    }
}

/// `busy: process 4711 (python3) computes on it without a lease`.
fn busy(busy: &[&BusyProcess]) -> String {
    let (processes, compute) = match busy.len() {
        1 => ("process", "computes"),
        _ => ("processes", "compute"),
    };
    let names = busy.iter().take(HOLDERS_MAX).map(|process| match &process.name {
        Some(name) => format!("{} ({})", process.pid, shown(name)),
        None => process.pid.to_string(),
    });
    let mut text = names.collect::<Vec<_>>().join(", ");
    if let Some(rest) = busy.len().checked_sub(HOLDERS_MAX).filter(|rest| *rest > 0) {
        text.push_str(&format!(" and {rest} more"));
    }
    format!("busy: {processes} {text} {compute} on it without a lease")
}

fn taken(assessment: &Assessment<'_>, assessed: &Assessed<'_>) -> String {
    let held_exclusively = assessed.occupancy.firm.is_exclusive();
    let holders = holders(assessment, assessed, held_exclusively);
    if held_exclusively {
        return format!("held exclusively by {holders}");
    }
    if let Some(conflict) = assessed.conflict() {
        return format!("{}; held by {holders}", conflict.reason());
    }
    let (free_milli, free_memory) = assessed.occupancy.firm.free(assessed.device);
    if assessed.demand.sharing == Sharing::Exclusive {
        let asked = match assessment.request.amount {
            Amount::Whole => "requested whole",
            Amount::Share { .. } => "requested exclusively",
        };
        return format!("{free_milli} and {free_memory} free, {asked}; held by {holders}");
    }
    let demand = &assessed.demand;
    let (free_text, memory_text) = apart(free_memory, demand.memory);
    let asked = match (demand.milli > free_milli, demand.memory > free_memory) {
        (true, true) => format!("{} and {memory_text}", demand.milli),
        (true, false) => demand.milli.to_string(),
        (false, _) => memory_text,
    };
    format!("{free_milli} and {free_text} free, {asked} requested; held by {holders}")
}

/// Names the leases that hold the device: `lease l-1 of …, lease l-2 of … and 4 more`. They are
/// sorted by name, so that the text does not depend on the order in which leases are read.
fn holders(assessment: &Assessment<'_>, assessed: &Assessed<'_>, exclusive_only: bool) -> String {
    let holds = assessment.snapshot.holds.iter().filter(|hold| {
        let counts = !exclusive_only || hold.sharing == Sharing::Exclusive;
        let here = counts && hold.device == assessed.device.uuid;
        !hold.grace && (here || is_kin(assessment.snapshot, assessed.device, hold))
    });
    let mut names: Vec<&str> = holds.map(|hold| hold.holder.as_str()).collect();
    order::sort(&mut names);
    names.dedup();
    let mut text = names.iter().take(HOLDERS_MAX).copied().collect::<Vec<_>>().join(", ");
    if let Some(rest) = names.len().checked_sub(HOLDERS_MAX).filter(|rest| *rest > 0) {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

/// Whether the hold is on an instance of this GPU, or on the GPU of this instance.
fn is_kin(snapshot: &Snapshot<'_>, device: &Device, hold: &Hold) -> bool {
    match device.instance() {
        Some(instance) => instance.parent == hold.device,
        None if device.is_in_mig_mode() => {
            let held = snapshot.node.device(&hold.device).and_then(Device::instance);
            held.is_some_and(|instance| instance.parent == device.uuid)
        }
        None => false,
    }
}

/// Two amounts as text. Different amounts always have different texts.
fn apart(a: Bytes, b: Bytes) -> (String, String) {
    let (a_text, b_text) = (a.to_string(), b.to_string());
    if a != b && a_text == b_text {
        (format!("{} bytes", a.0), format!("{} bytes", b.0))
    } else {
        (a_text, b_text)
    }
}
