//! Puts a whole refusal into words: the request, the node's devices, the way out.

use super::assess::{Assessed, Assessment};
use super::filter::Exclusion;
use super::hints::{busy_hint, capacity_hint, unmet_hint};
use super::reasons::{reason, why};
use super::refusal::{Refusal, Verdict, Why};
use super::selectors::{BadSelector, typed};
use crate::model::code::Code;
use crate::model::device::{Device, Node};
use crate::model::mig::{DeviceNumber, named_ranges};
use crate::model::order;
use crate::model::quantity::MilliGpu;
use crate::model::text::shown;
use crate::request::{Amount, Count, MigChoice, Request};
use std::collections::BTreeMap;

/// A hint lists at most this many models.
const MODELS_MAX: usize = 4;

/// For an amount that the parser should have refused.
pub(super) fn bad_amount(summary: &str) -> Refusal {
    Refusal {
        code: Code::BadRequest,
        summary: summary.to_owned(),
        verdicts: Vec::new(),
        hint: format!("a share is at least {} and some memory", MilliGpu::MIN),
    }
}

/// For a selector that names no device, or several.
pub(super) fn bad_selector(node: &Node, bad: &BadSelector<'_>) -> Refusal {
    let name = typed(bad.selector);
    let is_candidate = |position: usize| bad.candidates.contains(&position);
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut meant: Vec<DeviceNumber> = Vec::new();
    for (position, device) in node.devices.iter().enumerate() {
        let (exclusion, reason) = if is_candidate(position) {
            meant.push(device.place());
            (Exclusion::Ambiguous, format!("matches `{name}`: {}", device.uuid))
        } else {
            (Exclusion::NotNamed, format!("does not match `{name}`"))
        };
        verdicts.push(verdict(device, Why::Excluded(exclusion), reason));
    }
    order::sort_by_key(&mut verdicts, Verdict::place);
    order::sort(&mut meant);
    let (summary, hint) = if meant.is_empty() {
        (
            format!("the selector `{name}` names no device of this node"),
            format!("see \"gpulease devices\"; the node has {}", stock(&all_of(node))),
        )
    } else {
        (
            format!("the selector `{name}` is ambiguous: it matches {}", named_ranges(&meant)),
            "name the device by its index or its whole UUID".to_owned(),
        )
    };
    Refusal { code: Code::NoMatch, summary, verdicts, hint }
}

/// For a request that the assessed devices cannot satisfy.
pub(super) fn refusal(assessment: &Assessment<'_>) -> Refusal {
    let could_be_met = assessment.could_be_met();
    let mut verdicts: Vec<Verdict> = assessment
        .devices
        .iter()
        .map(|a| verdict(a.device, why(a), reason(assessment, a)))
        .collect();
    order::sort_by_key(&mut verdicts, Verdict::place);
    Refusal {
        code: match could_be_met {
            true => Code::NoCapacity,
            false if assessment.lacks_enforcement() => Code::EnforcementUnmet,
            false => Code::NoMatch,
        },
        summary: summary(assessment),
        verdicts,
        hint: if could_be_met { capacity_hint(assessment) } else { match_hint(assessment) },
    }
}

fn verdict(device: &Device, why: Why, reason: String) -> Verdict {
    let model = shown(&device.model);
    let DeviceNumber { gpu: index, instance: mig_index } = device.place();
    let fits = why == Why::Fits;
    Verdict { uuid: device.uuid.clone(), index, mig_index, model, fits, why, reason }
}

/// `2 NVIDIA devices requested, 1 of 8 available`.
fn summary(assessment: &Assessment<'_>) -> String {
    // If one of 4 GPUs is requested, the total is 4, however many MIG instances there are besides.
    let total = assessment.devices.iter().filter(|a| assessment.is_about(a.device)).count();
    if let Count::All = assessment.request.count {
        let meant = || assessment.devices.iter().filter(|a| assessment.all_means(a));
        let (count, usable) = (meant().count(), meant().filter(|a| a.is_usable()).count());
        let asked = asked(assessment.request, None, "");
        return match count {
            0 => format!("all {asked} requested, none of {total} matches"),
            _ => format!("all {count} {asked} requested, {usable} available"),
        };
    }
    let usable = assessment.reach(|assessed| assessed.is_usable());
    // The number of rows that say `fits`. Each row is judged alone.
    let fit = assessment.devices.iter().filter(|assessed| assessed.is_usable()).count();
    let Count::Exactly(count) = assessment.request.count else { return String::new() };
    // On a mixed node the number alone would mislead: one device of each vendor is no set of two.
    let one_vendor = count > 1
        && !assessment.may_mix_vendors()
        && assessment.request.vendor.is_none()
        && assessment.vendors().len() > 1;
    let asked =
        asked(assessment.request, Some(count), if one_vendor { " of one vendor" } else { "" });
    match total {
        0 => format!("{count} {asked} requested, the node has none"),
        _ if fit > usable => {
            format!(
                "{count} {asked} requested, {fit} of {total} fit, but only {usable} of one vendor"
            )
        }
        _ => format!("{count} {asked} requested, {usable} of {total} available"),
    }
}

/// `NVIDIA devices like `h100` with 500m and 4000 MiB each`.
fn asked(request: &Request, count: Option<u32>, of: &str) -> String {
    let mut text = String::new();
    if let Some(vendor) = request.vendor {
        text.push_str(vendor.name());
        text.push(' ');
    }
    let thing = match request.mig {
        MigChoice::Instances(_) => "MIG instance",
        MigChoice::Gpus | MigChoice::Either => "device",
    };
    text.push_str(thing);
    text.push_str(if count == Some(1) { "" } else { "s" });
    text.push_str(of);
    if let MigChoice::Instances(Some(profile)) = &request.mig {
        text.push_str(&format!(" of the profile {profile}"));
    }
    if let Some(model) = &request.model {
        text.push_str(&format!(" like `{}`", shown(model)));
    }
    let share = match request.amount {
        Amount::Whole | Amount::Share { compute: None, memory: None } => return text,
        Amount::Share { compute: Some(milli), memory: None } => milli.to_string(),
        Amount::Share { compute: None, memory: Some(memory) } => memory.to_string(),
        Amount::Share { compute: Some(milli), memory: Some(memory) } => {
            format!("{milli} and {memory}")
        }
    };
    text.push_str(&format!(" with {share}"));
    if count != Some(1) {
        text.push_str(" each");
    }
    text
}

/// Names the constraint that leaves too few devices, and lists the devices that the node has.
fn match_hint(assessment: &Assessment<'_>) -> String {
    let request = assessment.request;
    let Some(blamed) = blamed(assessment) else {
        let all = all_of(assessment.snapshot.node);
        let node = match request.mig {
            MigChoice::Instances(_) => profiles(&all),
            MigChoice::Gpus | MigChoice::Either => stock(&all),
        };
        return if assessment.devices.is_empty() {
            "\"gpulease devices\" says where devices were looked for".to_owned()
        } else if assessment.may_mix_vendors() || assessment.vendors().len() < 2 {
            format!("the node has {node}")
        } else {
            format!(
                "the devices of a set are of one vendor unless gpulease/devices names them; \
                 the node has {node}"
            )
        };
    };
    let before = remaining(assessment, |exclusion| exclusion < blamed);
    let after = remaining(assessment, |exclusion| exclusion <= blamed);
    let counts = format!("{} of {}", after.len(), before.len());
    match blamed {
        Exclusion::NotNamed => {
            let twice =
                if after.len() < request.devices.len() { ", one of them twice" } else { "" };
            format!("gpulease/devices names {counts} devices{twice}")
        }
        Exclusion::Vendor => {
            format!("gpulease/vendor matches {counts} devices ({})", stock(&before))
        }
        Exclusion::Model => {
            format!("gpulease/model matches {counts} devices ({})", stock(&before))
        }
        Exclusion::Kind => kind_hint(request, &before),
        Exclusion::Profile => {
            format!("gpulease/mig-profile matches {counts} MIG instances ({})", profiles(&before))
        }
        Exclusion::NoShares => {
            "leave out gpulease/compute and gpulease/memory for MIG instances".to_owned()
        }
        Exclusion::Partition => match request.amount {
            Amount::Whole => format!(
                "gpulease/isolation=partition matches {counts} devices; an administrator can \
                 split AMD's GPUs into partitions"
            ),
            Amount::Share { .. } => {
                "leave out gpulease/compute and gpulease/memory for partitions".to_owned()
            }
        },
        Exclusion::MinMemory => {
            let most = before.iter().filter_map(|device| device.memory_total_bytes).max();
            let most = most.unwrap_or_default();
            format!("gpulease/min-memory matches {counts} devices; the largest of them has {most}")
        }
        Exclusion::Ambiguous => {
            format!("{counts} devices can be told apart from others; see \"gpulease devices\"")
        }
        Exclusion::Unqueryable => {
            format!("the drivers answer for {counts} devices; see \"gpulease devices\"")
        }
        Exclusion::UnknownMemory => "leave out gpulease/compute, gpulease/memory and \
                                     gpulease/min-memory: such devices are leased whole"
            .to_owned(),
        Exclusion::Unhealthy => {
            format!("{counts} devices are healthy; see \"gpulease devices\"")
        }
        Exclusion::Cordoned => {
            format!("{counts} devices are in service; an administrator cordoned the others")
        }
        Exclusion::TooSmall => {
            let most = before.iter().map(|device| device.leasable()).max().unwrap_or_default();
            format!(
                "{counts} devices are large enough for the share; the largest of them has \
                 {most} to lease"
            )
        }
        Exclusion::Unmet => unmet_hint(assessment),
        Exclusion::Busy => busy_hint(assessment.snapshot.busy.refuse),
    }
}

/// Lists the devices of the other kind, GPUs or MIG instances, and says how to request one.
fn kind_hint(request: &Request, before: &[&Device]) -> String {
    let gpus: Vec<_> = before.iter().filter(|device| device.instance().is_none()).collect();
    let whole = gpus.iter().filter(|gpu| !gpu.is_in_mig_mode()).count();
    match request.mig {
        MigChoice::Instances(_) => format!(
            "the node has {}; an administrator creates MIG instances with \"nvidia-smi mig\"",
            profiles(before)
        ),
        MigChoice::Either => "name an instance (2:0 is one of GPU 2), or let \
                              gpulease/isolation=mig choose one of that GPU's instances"
            .to_owned(),
        MigChoice::Gpus => format!(
            "{whole} of {} GPUs are not in MIG mode; gpulease/isolation=mig or \
             gpulease/mig-profile requests a MIG instance, and the node has {}",
            gpus.len(),
            profiles(before)
        ),
    }
}

/// `9x 1g.5gb, 1x 3g.20gb`, or `no MIG instances`.
fn profiles(devices: &[&Device]) -> String {
    let instances = devices.iter().filter_map(|device| device.instance());
    match counted(instances.map(|instance| instance.profile.as_str())) {
        text if text.is_empty() => "no MIG instances".to_owned(),
        text => text,
    }
}

/// The first check after which too few devices remain. `None` if the node has too few devices
/// before any check.
fn blamed(assessment: &Assessment<'_>) -> Option<Exclusion> {
    let passes = |assessed: &Assessed<'_>, last: Exclusion| {
        assessed.exclusion.is_none_or(|exclusion| exclusion > last)
    };
    match assessment.request.count {
        Count::Exactly(count) => {
            let enough = |reach: usize| reach >= count as usize;
            if !enough(assessment.reach(|_| true)) {
                return None;
            }
            Exclusion::ALL.into_iter().find(|last| !enough(assessment.reach(|a| passes(a, *last))))
        }
        Count::All => {
            let meant = assessment.devices.iter().filter(|a| assessment.all_means(a));
            meant.filter_map(|assessed| assessed.exclusion).min().or_else(|| {
                let left = |last| assessment.devices.iter().any(|a| passes(a, last));
                Exclusion::ALL
                    .into_iter()
                    .find(|last| !left(*last))
                    .filter(|_| !assessment.devices.is_empty())
            })
        }
    }
}

fn remaining<'a>(
    assessment: &Assessment<'a>,
    is_out: impl Fn(Exclusion) -> bool,
) -> Vec<&'a Device> {
    let left = assessment.devices.iter().filter(|a| !a.exclusion.is_some_and(&is_out));
    left.map(|assessed| assessed.device).collect()
}

fn all_of(node: &Node) -> Vec<&Device> {
    node.devices.iter().collect()
}

/// `4x NVIDIA L40S, 4x NVIDIA H100 80GB HBM3`, or `no devices`. MIG instances are counted with
/// their GPU. A list that has only instances counts them by their models.
fn stock(devices: &[&Device]) -> String {
    let is_gpu = |device: &&&Device| device.instance().is_none();
    let gpus = devices.iter().filter(is_gpu);
    match counted(gpus.map(|device| device.model.as_str())) {
        text if text.is_empty() => match counted(devices.iter().map(|d| d.model.as_str())) {
            text if text.is_empty() => "no devices".to_owned(),
            text => text,
        },
        text => text,
    }
}

/// Counts equal names: `4x NVIDIA L40S`.
fn counted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let shown_names = counts.iter().take(MODELS_MAX);
    let mut texts: Vec<String> =
        shown_names.map(|(name, count)| format!("{count}x {}", shown(name))).collect();
    if let Some(rest) = counts.len().checked_sub(MODELS_MAX).filter(|rest| *rest > 0) {
        texts.push(format!("{rest} more models"));
    }
    texts.join(", ")
}
