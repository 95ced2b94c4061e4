//! The faults, verb by verb.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use crate::strace::{Call, Case, Fault, calls, sample};
use crate::support::needs_root;
use crate::verbs::{NOT_MADE, Scene, Verb};
use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The calls that a verb makes each time.
fn calls_of(scene: &Scene) -> Vec<Call> {
    let traced = || {
        scene.act(None);
        calls(&fs::read_to_string(scene.log()).unwrap())
    };
    // The first time something may have to be made that is there from then on.
    traced();
    let (one, other) = (traced(), traced());
    one.into_iter().filter(|call| other.contains(call)).collect()
}

/// What is wrong after this fault, if anything is.
pub fn violation(scene: &Scene, case: &Case) -> Option<String> {
    for _ in 0..5 {
        let why = catch_unwind(AssertUnwindSafe(|| scene.act(Some(case)))).err()?;
        let text = words_of(why.as_ref());
        if text != NOT_MADE {
            return Some(text);
        }
    }
    Some(NOT_MADE.to_owned())
}

/// What a panic said.
pub fn words_of(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().cloned();
    let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

/// Tries a verb with this fault at each call that it makes.
#[track_caller]
fn sweep(verb: Verb, fault: Fault) {
    let scene = Scene::new(verb);
    let all = calls_of(&scene);
    let locked = all.iter().filter(|call| call.locked).count();
    assert!(all.len() > 100 && locked > 15, "{} calls, {locked} under the lock", all.len());
    let whole = std::env::var("GPULEASE_FAULTS").is_ok_and(|which| which == "all");
    let mut chosen = if whole { all } else { sample(&all) };
    chosen.retain(|call| call.can(fault));
    // A file of the host's, as the list of mounts, may take fewer calls than a moment ago.
    let mut missed = 0;
    let mut violations = Vec::new();
    for Call { name, nth, .. } in &chosen {
        let case = Case { name: name.clone(), nth: *nth, fault };
        match violation(&scene, &case) {
            Some(why) if why == NOT_MADE => missed += 1,
            Some(why) => violations.push(format!("{case}: {why}")),
            None => {}
        }
    }
    let (tried, found) = (chosen.len() - missed, violations.len());
    eprintln!("{verb:?}, {fault:?}: {tried} faults, {missed} missed, {found} violations");
    assert!(missed * 10 <= tried, "{missed} calls were not made again");
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Four tests of a verb.
macro_rules! faults_of {
    ($($module:ident: $verb:expr;)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn killed() {
                needs_root!();
                sweep($verb, Fault::Kill);
            }

            #[test]
            fn disk_full() {
                needs_root!();
                sweep($verb, Fault::Error("ENOSPC"));
            }

            #[test]
            fn input_output_error() {
                needs_root!();
                sweep($verb, Fault::Error("EIO"));
            }

            #[test]
            fn interrupted() {
                needs_root!();
                sweep($verb, Fault::Error("EINTR"));
            }
        }
    )*};
}

faults_of! {
    create: Verb::Create;
    first_create: Verb::FirstCreate;
    bind: Verb::Bind;
    delete: Verb::Delete;
    poststop: Verb::Poststop;
    precreate: Verb::Precreate;
}
