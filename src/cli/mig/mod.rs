//! `gpulease mig plan`: the commands that divide GPUs into MIG instances. They are printed and not
//! run: an administrator decides to destroy instances and to turn MIG mode on.

mod args;
mod target;

pub(super) use args::{MIG_AFTER, MigAction};

use super::output::Answer;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::mig::MigProfile;
use crate::model::mig_layout::{GEOMETRIES, Geometry, Misfit, PlacedInstance};
use crate::model::text::shown;
use crate::view::mig::{MigInstanceView, MigPlanView, MigPlansView};
use args::PlanOptions;
use std::path::Path;
use target::MigTarget;

/// The most instances that are read. No GPU has room for so many.
const INSTANCES_MAX: usize = 64;

const SEVEN_HINT: &str = "for instance 1g.10gb*7";

pub(super) fn run(action: &MigAction, config: Option<&Path>) -> Result<Answer, Failure> {
    let MigAction::Plan(options) = action;
    let requested = requested(options)?;
    let targets = match &options.model {
        Some(model) => vec![not_here(model)?],
        None if options.gpu.is_empty() => {
            return Err(Failure::new(Code::BadRequest, "neither --gpu nor --model is given")
                .hint("name GPUs, as in `--gpu 0,1`, or a model, as in `--model 'A100 80GB'`"));
        }
        None => target::find(&Host::look(config), &options.gpu, options.replace)?,
    };
    let plans: Vec<MigPlanView> =
        targets.into_iter().map(|target| plan(target, &requested)).collect::<Result<_, _>>()?;
    let texts: Vec<String> = plans.iter().map(text).collect();
    Ok(Answer::of(texts.join("\n"), &MigPlansView { plans }))
}

/// The profile of an instance, and the slot at which its memory has to begin, if one is given.
type RequestedInstance = (MigProfile, Option<u32>);

/// Reads the arguments. `1g.10gb*7` and `--count` give several instances.
fn requested(options: &PlanOptions) -> Result<Vec<RequestedInstance>, Failure> {
    let bad = |text: String, hint: &str| Failure::new(Code::BadRequest, text).hint(hint.to_owned());
    let mut requested = Vec::new();
    for word in &options.profiles {
        let (name, times) = word.split_once('*').unwrap_or((word, "1"));
        let times = match times.parse::<u8>() {
            Ok(times) if times > 0 && options.count > 0 => times,
            Ok(1..) => return Err(bad("`--count 0` asks for no instance".to_owned(), SEVEN_HINT)),
            Ok(0) => {
                return Err(bad(format!("`{}` asks for no instance", shown(word)), SEVEN_HINT));
            }
            Err(_) => {
                let text = format!("`{}` has no number up to 255 behind the `*`", shown(word));
                return Err(bad(text, SEVEN_HINT));
            }
        };
        let (name, slot) = match name.split_once(':') {
            None => (name, None),
            Some((name, slot)) => {
                let slot = slot.parse::<u32>().map_err(|_| {
                    let text = format!("`{}` has no slot behind the `:`", shown(word));
                    bad(text, "for instance 3g.40gb:4")
                })?;
                (name, Some(slot))
            }
        };
        let profile = MigProfile::new(name).map_err(|_| {
            let text = format!("`{}` is not a MIG profile", shown(name));
            bad(text, "for instance 1g.10gb; `nvidia-smi mig -lgip` lists a GPU's")
        })?;
        let count = usize::from(times) * usize::from(options.count);
        if slot.is_some() && count > 1 {
            let text = format!("`{}` asks for {count} instances at one slot", shown(word));
            return Err(bad(text, "name a slot for each, as in 1g.10gb:0 1g.10gb:1"));
        }
        requested.extend((0..count.min(INSTANCES_MAX)).map(|_| (profile.clone(), slot)));
    }
    Ok(requested)
}

/// A GPU of this model that need not be on this node.
fn not_here(model: &str) -> Result<MigTarget, Failure> {
    let geometry = Geometry::of(model, None).ok_or_else(|| {
        if let [first, .., last] = Geometry::family_of(model).as_slice() {
            let names: Vec<_> = Geometry::family_of(model).iter().map(|one| one.name).collect();
            let text = format!("`{}` is ambiguous, it could be {}", shown(model), names.join(", "));
            return Failure::new(Code::NoMatch, text).hint(format!(
                "name the memory too, as in `--model '{}'` or `--model '{}'`",
                first.name, last.name
            ));
        }
        let text = format!("`{}` is not a model with MIG that gpulease knows", shown(model));
        let known: Vec<&str> = GEOMETRIES.iter().map(|geometry| geometry.name).collect();
        Failure::new(Code::NoMatch, text).hint(format!("the models are {}", known.join(", ")))
    })?;
    Ok(MigTarget::of_model(geometry))
}

fn plan(target: MigTarget, requested: &[RequestedInstance]) -> Result<MigPlanView, Failure> {
    let instances = instances(&target, requested)?;
    let names: Vec<String> = instances.iter().map(argument).collect();
    let id = &target.id;
    let mut commands = Vec::new();
    if target.turn_on {
        commands.push(format!("nvidia-smi -i {id} -mig 1"));
    }
    if target.destroy {
        commands.push(format!("nvidia-smi mig -i {id} -dci"));
        commands.push(format!("nvidia-smi mig -i {id} -dgi"));
    }
    commands.push(format!("nvidia-smi mig -i {id} -cgi {} -C", names.join(",")));
    let (commands, commands_for_a_real_gpu) =
        if target.is_here { (commands, Vec::new()) } else { (Vec::new(), commands) };
    Ok(MigPlanView {
        gpu: target.gpu,
        geometry: target.geometry.name,
        kept: target.kept,
        instances,
        commands,
        commands_for_a_real_gpu,
        warnings: target.warnings,
        title: target.title,
    })
}

/// The instances with their slots. Where the GPU keeps instances whose slots are not known,
/// nvidia-smi chooses the slots of all that no slot was given for.
fn instances(
    target: &MigTarget,
    requested: &[RequestedInstance],
) -> Result<Vec<MigInstanceView>, Failure> {
    let kept = target.kept.iter().map(|profile| (profile.clone(), None));
    let all: Vec<RequestedInstance> = kept.chain(requested.iter().cloned()).collect();
    let placed = target.geometry.place(&all).map_err(|why| misfit(target, &why))?;
    let view = |one: &PlacedInstance, start| MigInstanceView {
        profile: one.profile.clone(),
        start,
        slots: one.slots,
    };
    if target.kept.is_empty() {
        return Ok(placed.iter().map(|one| view(one, Some(one.start))).collect());
    }
    let of = |(profile, slot): &RequestedInstance| {
        let is_it = |one: &&PlacedInstance| {
            one.profile == *profile && slot.is_none_or(|slot| one.start == slot)
        };
        Some(view(placed.iter().find(is_it)?, *slot))
    };
    Ok(requested.iter().filter_map(of).collect())
}

/// The instance as an argument of `nvidia-smi mig -cgi`.
fn argument(instance: &MigInstanceView) -> String {
    match instance.start {
        Some(start) => format!("{}:{start}", instance.profile),
        None => instance.profile.to_string(),
    }
}

fn misfit(target: &MigTarget, why: &Misfit) -> Failure {
    let code = match why {
        Misfit::Unknown { .. } => Code::NoMatch,
        Misfit::Part(_) | Misfit::Start { .. } => Code::BadRequest,
        _ => Code::NoCapacity,
    };
    let kept = if target.kept.is_empty() {
        String::new()
    } else {
        let kept: Vec<&str> = target.kept.iter().map(MigProfile::as_str).collect();
        format!(", with {} that it has", kept.join(", "))
    };
    let hint = match why {
        Misfit::Unknown { names, .. } => format!("it has {}", names.join(", ")),
        Misfit::Part(_) => "name the GPU instance; nvidia-smi mig -cci divides it further".into(),
        Misfit::Start { .. } => "leave the slot out, and it is found".into(),
        _ if !target.kept.is_empty() => "--replace destroys what is there first".into(),
        _ => format!("see what fits: {}", fitting(target.geometry)),
    };
    Failure::new(code, format!("{}{kept}: {why}", target.name)).hint(hint)
}

/// How many instances of each size fit.
fn fitting(geometry: &Geometry) -> String {
    let sizes: Vec<String> =
        geometry.sizes().map(|(name, size)| format!("{} × {name}", size.max)).collect();
    sizes.join(", ")
}

/// The plan for people and for a shell: all but the commands are comments.
fn text(plan: &MigPlanView) -> String {
    let mut text = comment("", &plan.title);
    for MigInstanceView { profile, start, slots } in &plan.instances {
        let place = match start.map(|start| (start, start + slots - 1)) {
            None => "where there is room".to_owned(),
            Some((start, last)) if start == last => format!("slot {last}"),
            Some((start, last)) => format!("slots {start}-{last}"),
        };
        text.push_str(&comment("  ", &format!("{:<12} {place}", profile.as_str())));
    }
    for warning in &plan.warnings {
        text.push_str(&comment("", &format!("warning: {warning}")));
    }
    text.extend(plan.commands.iter().map(|command| format!("{command}\n")));
    text.extend(plan.commands_for_a_real_gpu.iter().map(|command| format!("# {command}\n")));
    text
}

/// A comment for a shell, in lines that fit a terminal.
fn comment(indent: &str, text: &str) -> String {
    const WIDTH: usize = 78;
    let mut lines = vec![indent.to_owned()];
    // The gaps between columns stay.
    for word in text.split_inclusive(' ') {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length + word.trim_end().chars().count() > WIDTH {
            lines.push("  ".to_owned());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("# {}\n", line.trim_end())).collect()
}
