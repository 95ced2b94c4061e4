//! Hints for a request that fails because other leases hold the devices, or because limits would
//! not be enforced.

use super::assess::{Assessed, Assessment};
use super::filter::Exclusion;
use super::isolation::Conflict;
use super::occupancy::Fit;
use crate::model::device::Device;
use crate::model::isolation::Isolation;
use crate::request::{Amount, Count, Enforce, MigChoice, Request};

/// A hint offers at most this many ways out.
const WAYS_MAX: usize = 3;

/// Says how to change a request that other leases stand against.
pub(super) fn capacity_hint(assessment: &Assessment<'_>) -> String {
    let is_busy = |a: &Assessed<'_>| a.exclusion == Some(Exclusion::Busy) && a.fit != Fit::Taken;
    if assessment.devices.iter().any(is_busy) {
        return busy_hint(assessment.snapshot.busy.refuse);
    }
    let is_out = |a: &Assessed<'_>| a.exclusion.is_some_and(|e| e != Exclusion::Busy);
    let is_taken = |a: &&Assessed<'_>| !is_out(a) && a.fit == Fit::Taken;
    let taken = || assessment.devices.iter().filter(is_taken);
    let is_shared = taken().any(|assessed| !is_exclusive(assessment.request, assessed));
    let mut ways: Vec<String> = Vec::new();
    for assessed in taken() {
        let way = match assessed.conflict() {
            Some(conflict) => way_out(assessment.request, conflict),
            None => less(assessment.request, is_shared).map(|less| format!("ask for {less}")),
        };
        if let Some(way) = way.filter(|way| ways.len() < WAYS_MAX && !ways.contains(way)) {
            ways.push(way);
        }
    }
    ways.push("wait until leases end and start the container again".to_owned());
    format!("\"gpulease leases\" shows the holders; {}", ways.join(", or "))
}

/// Whether no share of the device is left: its holder has all of it. A MIG instance has no shares.
fn is_exclusive(request: &Request, assessed: &Assessed<'_>) -> bool {
    let is_gpu = !matches!(request.mig, MigChoice::Instances(_));
    is_gpu && assessed.occupancy.firm.is_exclusive()
}

/// A smaller request, if there is one that fits better. `is_shared` says whether shares of the
/// devices are left.
fn less(request: &Request, is_shared: bool) -> Option<&'static str> {
    let is_instance = matches!(request.mig, MigChoice::Instances(_));
    match (request.count, request.amount) {
        (Count::Exactly(1), _) if is_instance => Some("an instance of another profile"),
        (Count::Exactly(1), _) if !is_shared => None,
        (Count::Exactly(1), Amount::Whole) => Some("a share of a device"),
        (Count::Exactly(1), Amount::Share { .. }) => Some("a smaller share"),
        (_, Amount::Share { .. }) if is_shared => Some("fewer devices or a smaller share"),
        _ => Some("fewer devices"),
    }
}

/// How the share could join the shares on the device now, other than by waiting.
fn way_out(request: &Request, conflict: Conflict) -> Option<String> {
    match conflict {
        // A required limit allows one isolation only, and `auto` found none that is possible here.
        Conflict::Mode { .. }
            if request.isolation == Isolation::Auto || request.enforcement == Enforce::Required =>
        {
            None
        }
        // A set of devices is always time-sliced, whatever isolation it requests.
        Conflict::Mode { now, .. } if now == request.isolation => {
            Some("ask for one device".to_owned())
        }
        Conflict::Mode { now, .. } => {
            Some(format!("ask for gpulease/isolation={now}, or leave out gpulease/isolation"))
        }
        Conflict::User { served, .. } => Some(format!(
            "run the container as user {served}, or give each lease an MPS daemon of its own \
             (`mps.daemon = \"lease\"`)"
        )),
        Conflict::Clients(_) | Conflict::Unknown { .. } => None,
        Conflict::Pinned(most) => Some(format!("ask for at most {most} of compute")),
        Conflict::Larger(least) => Some(format!(
            "ask for at least {least} of compute, or leave out gpulease/enforcement=required"
        )),
        Conflict::Units { .. } => less(request, true).map(|less| format!("ask for {less}")),
    }
}

/// Says how to get a device on which processes without a lease compute.
pub(super) fn busy_hint(refuse: bool) -> String {
    let otherwise = if refuse {
        "because `policy.busy` is `refuse`, and no request gets a busy device"
    } else {
        "or name a busy device in gpulease/devices to share it with them"
    };
    format!(
        "\"gpulease processes\" shows the processes without a lease, \"gpulease leases\" the \
         holders; end those processes, {otherwise}"
    )
}

/// Says which facility the host lacks to enforce limits, and which request it can enforce.
pub(super) fn unmet_hint(assessment: &Assessment<'_>) -> String {
    if !assessment.snapshot.requester.confined {
        return "start the container without CAP_SYS_ADMIN and --privileged, or leave out \
                gpulease/enforcement=required"
            .to_owned();
    }
    let request = assessment.request;
    let asked = |device: &Device| request.vendor.is_none_or(|vendor| vendor == device.vendor);
    let devices = || assessment.devices.iter().map(|a| a.device).filter(|device| asked(device));
    let mut hint = String::new();
    for lack in assessment.planner.host_lacks() {
        let is_one = |a: &Assessed<'_>| {
            let unmet = a.verdict.filter(|_| a.exclusion == Some(Exclusion::Unmet));
            unmet.is_some_and(|o| assessment.planner.is_unmet_by(a.device, o.plan, lack))
        };
        if assessment.devices.iter().any(is_one) {
            hint.push_str(if hint.is_empty() { "on this host " } else { ", and " });
            hint.push_str(lack);
        }
    }
    hint.push_str(if hint.is_empty() { "a whole device holds" } else { "; a whole device holds" });
    if devices().any(|device| device.instance().is_some()) {
        hint.push_str(", and so does a MIG instance (gpulease/isolation=mig)");
    }
    if devices().any(|device| device.details.partition.is_some()) {
        hint.push_str(", and so does a partition (gpulease/isolation=partition)");
    }
    hint.push_str("; or leave out gpulease/enforcement=required to have the share as advisory");
    hint
}
