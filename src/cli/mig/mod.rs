//! `gpulease mig plan`: what would have to be run to divide GPUs into MIG instances. It is printed,
//! never run: destroying instances and turning MIG mode on are an administrator's to do.

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
use args::Plan;
use serde_json::{Value, json};
use std::path::Path;
use target::Target;

/// The most instances that are read: more fit on no GPU.
const INSTANCES_MAX: usize = 64;

const SEVEN: &str = "for instance 1g.10gb*7";

pub(super) fn run(action: &MigAction, config: Option<&Path>) -> Result<Answer, Failure> {
    let MigAction::Plan(plan) = action;
    let wanted = wanted(plan)?;
    let targets = match &plan.model {
        Some(model) => vec![not_here(model)?],
        None if plan.gpu.is_empty() => {
            return Err(Failure::new(Code::BadRequest, "neither --gpu nor --model is given")
                .hint("name GPUs, as in `--gpu 0,1`, or a model, as in `--model 'A100 80GB'`"));
        }
        None => target::find(&Host::look(config), &plan.gpu, plan.replace)?,
    };
    let divided: Vec<Divided> =
        targets.into_iter().map(|target| divide(target, &wanted)).collect::<Result<_, _>>()?;
    let texts: Vec<String> = divided.iter().map(Divided::text).collect();
    let json = json!({ "plans": divided.iter().map(Divided::json).collect::<Vec<_>>() });
    Ok(Answer::new(texts.join("\n"), json))
}

/// An instance, and the slot that its memory is to begin at, if so.
type Wanted = (MigProfile, Option<u32>);

/// The instances by name, `1g.10gb*7` and `--count` multiplied out.
fn wanted(plan: &Plan) -> Result<Vec<Wanted>, Failure> {
    let bad = |text: String, hint: &str| Failure::new(Code::BadRequest, text).hint(hint.to_owned());
    let mut wanted = Vec::new();
    for word in &plan.profiles {
        let (name, times) = word.split_once('*').unwrap_or((word, "1"));
        let times = match times.parse::<u8>() {
            Ok(times) if times > 0 && plan.count > 0 => times,
            Ok(1..) => return Err(bad("`--count 0` asks for no instance".to_owned(), SEVEN)),
            Ok(0) => return Err(bad(format!("`{}` asks for no instance", shown(word)), SEVEN)),
            Err(_) => {
                let text = format!("`{}` has no number up to 255 behind the `*`", shown(word));
                return Err(bad(text, SEVEN));
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
        let count = usize::from(times) * usize::from(plan.count);
        if slot.is_some() && count > 1 {
            let text = format!("`{}` asks for {count} instances at one slot", shown(word));
            return Err(bad(text, "name a slot for each, as in 1g.10gb:0 1g.10gb:1"));
        }
        wanted.extend((0..count.min(INSTANCES_MAX)).map(|_| (profile.clone(), slot)));
    }
    Ok(wanted)
}

/// A GPU of this model, wherever.
fn not_here(model: &str) -> Result<Target, Failure> {
    let geometry = Geometry::of(model, None).ok_or_else(|| {
        if let [first, .., last] = Geometry::family_of(model).as_slice() {
            let names: Vec<_> = Geometry::family_of(model).iter().map(|one| one.name).collect();
            let text = format!("`{}` is ambiguous, it could be {}", shown(model), names.join(", "));
            return Failure::new(Code::NoMatch, text).hint(format!(
                "name the memory too, as in `--model '{}'` or `--model '{}'`",
                first.name, last.name
            ));
        }
        let text = format!("`{}` is no GPU with MIG that is known here", shown(model));
        let known: Vec<&str> = GEOMETRIES.iter().map(|geometry| geometry.name).collect();
        Failure::new(Code::NoMatch, text).hint(format!("known are {}", known.join(", ")))
    })?;
    Ok(Target::of_model(geometry))
}

/// A GPU and what is to be run for it.
struct Divided {
    target: Target,
    /// Each with its place, and whether it will be there: beside instances that lie nobody knows where
    /// nvidia-smi chooses, unless it is told.
    instances: Vec<(PlacedInstance, bool)>,
    commands: Vec<String>,
}

fn divide(target: Target, wanted: &[Wanted]) -> Result<Divided, Failure> {
    let kept = target.kept.iter().map(|profile| (profile.clone(), None));
    let all: Vec<Wanted> = kept.chain(wanted.iter().cloned()).collect();
    let placed = target.geometry.place(&all).map_err(|why| misfit(&target, &why))?;
    let instances: Vec<(PlacedInstance, bool)> = if target.kept.is_empty() {
        placed.into_iter().map(|one| (one, true)).collect()
    } else {
        let of = |(profile, slot): &Wanted| {
            let is_it = |one: &&PlacedInstance| {
                one.profile == *profile && slot.is_none_or(|slot| one.start == slot)
            };
            Some((placed.iter().find(is_it)?.clone(), slot.is_some()))
        };
        wanted.iter().filter_map(of).collect()
    };
    let name = |(one, exact): &(PlacedInstance, bool)| match exact {
        true => one.to_string(),
        false => one.profile.to_string(),
    };
    let names: Vec<String> = instances.iter().map(name).collect();
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
    Ok(Divided { target, instances, commands })
}

fn misfit(target: &Target, why: &Misfit) -> Failure {
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

/// How many of each size there can be.
fn fitting(geometry: &Geometry) -> String {
    let sizes: Vec<String> =
        geometry.sizes().map(|(name, size)| format!("{} × {name}", size.max)).collect();
    sizes.join(", ")
}

impl Divided {
    /// For people and for a shell.
    fn text(&self) -> String {
        let target = &self.target;
        let mut text = comment("", &target.title);
        for (placed, exact) in &self.instances {
            let place = match placed.start + placed.slots - 1 {
                _ if !exact => "where there is room".to_owned(),
                last if last == placed.start => format!("slot {last}"),
                last => format!("slots {}-{last}", placed.start),
            };
            text.push_str(&comment("  ", &format!("{:<12} {place}", placed.profile.as_str())));
        }
        for warning in &target.warnings {
            text.push_str(&comment("", &format!("warning: {warning}")));
        }
        let before = if target.is_here { "" } else { "# " };
        text.extend(self.commands.iter().map(|command| format!("{before}{command}\n")));
        text
    }

    fn json(&self) -> Value {
        let target = &self.target;
        // Whoever gives `commands` to a shell is not to change another GPU than the one planned for.
        let none: &[String] = &[];
        let (commands, elsewhere) =
            if target.is_here { (&*self.commands, none) } else { (none, &*self.commands) };
        let instances = self.instances.iter().map(|(placed, exact)| {
            json!({
                "profile": placed.profile,
                "start": exact.then_some(placed.start),
                "slots": placed.slots,
            })
        });
        json!({
            "gpu": target.gpu,
            "geometry": target.geometry.name,
            "kept": target.kept,
            "instances": instances.collect::<Vec<_>>(),
            "commands": commands,
            "commands_for_a_real_gpu": elsewhere,
            "warnings": target.warnings,
        })
    }
}

/// A comment of a shell, in lines that fit a terminal.
fn comment(indent: &str, text: &str) -> String {
    const WIDTH: usize = 78;
    let mut lines = vec![indent.to_owned()];
    // The gaps of a table stay.
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
