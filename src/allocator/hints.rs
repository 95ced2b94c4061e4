//! What to do about devices that others hold, and about limits that would not hold.

use super::assess::{Assessed, Assessment};
use super::filter::Exclusion;
use super::isolation::Conflict;
use super::occupancy::Fit;
use crate::model::device::Device;
use crate::model::isolation::Isolation;
use crate::request::{Amount, Count, Enforce, MigChoice, Request};

/// The most ways out that a hint offers.
const WAYS_MAX: usize = 3;

/// What would be had in place of what others hold.
pub(super) fn capacity_hint(assessment: &Assessment<'_>) -> String {
    let is_busy = |a: &Assessed<'_>| a.exclusion == Some(Exclusion::Busy) && a.fit != Fit::Taken;
    if assessment.devices.iter().any(is_busy) {
        return busy_hint(assessment.snapshot.busy.refuse);
    }
    let mut ways: Vec<String> = Vec::new();
    for assessed in &assessment.devices {
        let is_out = assessed.exclusion.is_some_and(|exclusion| exclusion != Exclusion::Busy);
        if is_out || assessed.fit != Fit::Taken {
            continue;
        }
        let way = match assessed.conflict() {
            Some(conflict) => way_out(assessment.request, conflict),
            None if is_no_share_left(assessment.request, assessed) => None,
            None => Some(format!("ask for {}", less(assessment.request))),
        };
        if let Some(way) = way.filter(|way| ways.len() < WAYS_MAX && !ways.contains(way)) {
            ways.push(way);
        }
    }
    ways.push("wait until leases end and start the container again".to_owned());
    format!("see \"gpulease leases\" for who holds what; {}", ways.join(", or "))
}

/// Whether a single device is asked for, and of this one its holder leaves nothing to share.
fn is_no_share_left(request: &Request, assessed: &Assessed<'_>) -> bool {
    let is_gpu = !matches!(request.mig, MigChoice::Instances(_));
    is_gpu && request.count == Count::Exactly(1) && assessed.occupancy.firm.is_exclusive()
}

fn less(request: &Request) -> &'static str {
    match (request.count, request.amount) {
        (Count::Exactly(1), _) if matches!(request.mig, MigChoice::Instances(_)) => {
            "an instance of another profile"
        }
        (Count::Exactly(1), Amount::Whole) => "a share of a device",
        (Count::Exactly(1), Amount::Share { .. }) => "a smaller share",
        (_, Amount::Whole) => "fewer devices",
        (_, Amount::Share { .. }) => "fewer devices or a smaller share",
    }
}

/// How the share could join those that are there, if but for time.
fn way_out(request: &Request, conflict: Conflict) -> Option<String> {
    match conflict {
        // What must hold goes by one isolation only, and `auto` has found none that goes here.
        Conflict::Mode { .. }
            if request.isolation == Isolation::Auto || request.enforcement == Enforce::Required =>
        {
            None
        }
        // A set has turns, whatever it asks for.
        Conflict::Mode { now, .. } if now == request.isolation => {
            Some("ask for one device".to_owned())
        }
        Conflict::Mode { now, .. } => {
            Some(format!("ask with gpulease/isolation={now} or without gpulease/isolation"))
        }
        Conflict::User { served, .. } => Some(format!(
            "run the container as user {served}, or give each lease an MPS daemon of its own \
             (`mps.daemon = \"lease\"`)"
        )),
        Conflict::Clients(_) | Conflict::Unknown { .. } => None,
        Conflict::Pinned(most) => Some(format!("ask for at most {most} of compute")),
        Conflict::Larger(least) => Some(format!(
            "ask for at least {least} of compute or without gpulease/enforcement=required"
        )),
        Conflict::Units { .. } => Some(format!("ask for {}", less(request))),
    }
}

/// What opens a device on which somebody computes without a lease.
pub(super) fn busy_hint(refuse: bool) -> String {
    let otherwise = if refuse {
        "`policy.busy` is `refuse`, so no request is granted a busy device"
    } else {
        "or name a busy device in gpulease/devices to share it with them knowingly"
    };
    format!(
        "see \"gpulease processes\" for who computes without a lease and \"gpulease leases\" for \
         who holds what; end those processes, {otherwise}"
    )
}

/// What this host lacks for limits that hold, and what would hold as it is.
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
