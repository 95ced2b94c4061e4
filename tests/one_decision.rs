//! One decision: all who are asked what a container gets answer the same.
//!
//! Every spec of the tree ([`specs`]) is put before the function that decides, before `gpulease
//! explain --bundle` and before the real `create`, on nodes of every kind, under every driver
//! ([`hosts`]) and with the lease directory in every state ([`ledgers`]).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

#[path = "one_decision/answers.rs"]
mod answers;
#[path = "one_decision/hosts.rs"]
mod hosts;
#[path = "one_decision/ledgers.rs"]
mod ledgers;
#[path = "one_decision/round.rs"]
mod round;
#[path = "one_decision/specs.rs"]
mod specs;
#[path = "one_decision/texts.rs"]
mod texts;
#[path = "one_decision/words.rs"]
mod words;

use answers::{Answer, create, create_command, created, decide, explain, precreate};
use hosts::{DRIVERS, Gpu, Kind, OTHERS};
use ledgers::State;
use round::{Case, Round};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use support::needs_root;

/// Spreads the cases evenly.
fn number(Case { kind, mode, spec, state }: Case) -> usize {
    let parts = [kind, mode, spec, state as usize];
    parts
        .into_iter()
        .fold(7_usize, |sum, part| (sum ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
}

/// Whether a case is tried: every spec under every driver where GPUs are real, and of the rest so
/// many that each state meets most of the specs.
fn is_chosen(case: Case) -> bool {
    match case.state {
        State::Empty if case.kind == 0 && case.mode < DRIVERS.len() => true,
        State::Empty => number(case).is_multiple_of(24),
        _ => number(case).is_multiple_of(112),
    }
}

/// Asks all for every chosen case of a kind that is `of`.
#[track_caller]
fn hold(kind: Kind, of: impl Fn(Case) -> bool) {
    let mut round = Round::begin(kind);
    let mut differences = Vec::new();
    let mut count = 0;
    for case in round.cases(|case| is_chosen(case) && of(case)) {
        let Some((call, setting)) = round.set(case) else { continue };
        count += 1;
        let name = &call.name;
        let before = ledgers::content(setting);
        let (decided, explained) = (decide(call, setting), explain(call, setting));
        assert!(ledgers::content(setting) == before, "something is written: {name}");
        let created = create(call, setting);
        for (who, answer) in [("decide", decided), ("explain", explained)] {
            if let Some(what) = answer.differs(&created) {
                differences.push(format!("{what}: {name}: {who} {answer:?}, create {created:?}"));
            }
        }
    }
    assert!(count > 50, "{kind:?}: {count}");
    let (first, all) = (differences.iter().take(20), differences.len());
    let first: Vec<&str> = first.map(String::as_str).collect();
    assert!(all == 0, "{all} of {count} answers differ on {kind:?}:\n{}", first.join("\n"));
}

macro_rules! hold {
    ($($name:ident: $kind:expr, $of:expr;)*) => { $(
        #[test]
        fn $name() {
            needs_root!();
            hold($kind, $of);
        }
    )* };
}

hold! {
    on_nvidia_gpus: Kind::Nvidia, |case| case.mode % 2 == 0;
    on_nvidia_gpus_by_other_drivers: Kind::Nvidia, |case| case.mode % 2 == 1;
    on_nvidia_gpus_with_cdi_specs: Kind::NvidiaCdi, |_| true;
    on_nvidia_gpus_with_driver_files: Kind::NvidiaFiles, |_| true;
    on_amd_gpus: Kind::Amd, |_| true;
    on_gpus_of_both_vendors: Kind::Both, |_| true;
    on_a_gpu_whose_node_is_gone: Kind::Gone, |_| true;
    on_simulated_gpus: Kind::Simulated("h100x8"), |_| true;
    on_simulated_gpus_of_both_vendors: Kind::Simulated("mixed4"), |_| true;
    on_mig_instances: Kind::Simulated("a100x4"), |_| true;
    without_a_gpu: Kind::Bare, |_| true;
    with_a_broken_devices_file: Kind::Broken, |_| true;
}

/// The faults of `explain` before it decided as a start does.
#[test]
fn what_explain_used_to_say_otherwise() {
    needs_root!();
    let first = |answer: &Answer| match answer {
        Answer::Granted(devices) => format!("granted {}", devices.len()),
        Answer::Refused { code, .. } => code.clone(),
        Answer::Untouched => "untouched".to_owned(),
    };
    let mut round = Round::begin(Kind::Nvidia);
    for (setting, spec, expected) in [
        ("chain", "count=1", "bad-config"),
        ("none", "apart", "granted 1"),
        ("no-hook", "count=1", "bad-config"),
        ("auto-link", "plain", "untouched"),
        ("auto-link", "cdi.k8s.io/x=nvidia.com/gpu=0", "granted 1"),
        ("auto-link", "count=1 cdi.k8s.io/x=nvidia.com/gpu=0", "policy-denied"),
        ("none", "nvidia0", "granted 1"),
        ("none", "hook-all", "granted 2"),
        ("native", "count=1", "stale-inventory"),
        ("cdi", "count=1", "bad-inventory"),
        ("unknown-key", "count=1", "bad-config"),
        ("unknown-key", "no-json", "untouched"),
    ] {
        let case = round.case(setting, spec, State::Empty);
        let (call, setting) = round.set(case).unwrap();
        for answer in [decide(call, setting), explain(call, setting), create(call, setting)] {
            assert_eq!(first(&answer), expected, "{}: {answer:?}", call.name);
        }
    }
}

/// Where the low-level runtime is runc or crun; the hook knows no other, nor whether it is there.
fn is_podmans(case: Case) -> bool {
    let states = [State::OwnGrace, State::Again];
    let (_, runtime, _) = DRIVERS.iter().chain(OTHERS).nth(case.mode).unwrap();
    *runtime == "stub" && !states.contains(&case.state)
}

fn hold_for_podman(kind: Kind) {
    let mut round = Round::begin(kind);
    let mut count = 0;
    for case in round.cases(|case| is_podmans(case) && number(case) % 40 == 1) {
        let Some((call, setting)) = round.set_for_podman(case) else { continue };
        // Podman writes its container's id there.
        if String::from_utf8_lossy(&call.spec).contains("cgroupsPath") {
            continue;
        }
        count += 1;
        let (explained, answer) = (explain(&call, &setting), precreate(&call, &setting));
        let differs = explained.differs(&answer);
        assert_eq!(differs, None, "{}: explain {explained:?}, hook {answer:?}", call.name);
    }
    assert!(count > 200, "{count}");
}

#[test]
fn podmans_hook_on_nvidia_gpus() {
    needs_root!();
    hold_for_podman(Kind::NvidiaCdi);
}

#[test]
fn podmans_hook_on_simulated_gpus() {
    needs_root!();
    hold_for_podman(Kind::Simulated("mixed4"));
}

#[test]
fn a_held_lock_is_for_create_alone_to_wait_for() {
    needs_root!();
    let mut round = Round::begin(Kind::Both);
    let names = ["none", "chain-nvidia", "no-hook"];
    let modes = names.map(|name| round.case(name, "plain", State::Half).mode);
    let is_asked = |case: Case| case.state == State::Half && modes.contains(&case.mode);
    let cases = round.cases(|case| is_asked(case) && case.spec % 6 == 1);
    let apart: Vec<_> = cases.iter().map(|case| round.set_apart(*case)).collect();
    let locks = names.map(|name| {
        let lock = fs::File::open(round.setting(name).run_dir.join("lock")).unwrap();
        lock.lock().unwrap();
        lock
    });
    let waiting: Vec<_> = apart
        .iter()
        .map(|(call, setting)| {
            let explained = explain(call, setting);
            let mut command = create_command(call, setting);
            (explained, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    let mut timeouts = 0;
    let mut answers = Vec::new();
    for ((explained, child), (call, setting)) in waiting.into_iter().zip(&apart) {
        let answer = created(&child.wait_with_output().unwrap(), call, setting);
        if answer.code() == "lock-timeout" {
            timeouts += 1;
            assert_ne!(explained, Answer::Untouched, "{}", call.name);
        } else {
            let differs = explained.differs(&answer);
            assert_eq!(differs, None, "{}: {explained:?}, {answer:?}", call.name);
        }
        answers.push(explained);
    }
    assert!(timeouts >= 30, "{timeouts} of {}", cases.len());
    drop(locks);
    for (case, explained) in cases.into_iter().zip(answers) {
        let (call, setting) = round.set(case).unwrap();
        let answer = create(call, setting);
        assert_eq!(explained.differs(&answer), None, "{}: {explained:?}, {answer:?}", call.name);
    }
}

#[test]
fn a_planted_answer_is_noticed() {
    needs_root!();
    let mut round = Round::begin(Kind::Nvidia);
    for (one, other, what) in [
        (("none", "count=1"), ("none", "count=1"), None),
        (("none", "count=1"), ("chain", "count=1"), Some("verdict")),
        (("none", "plain"), ("none", "count=1"), Some("verdict")),
        (("none", "count=9"), ("chain", "count=9"), Some("code")),
        (("none", "privileged-share"), ("none", "mount-asks"), Some("hint")),
        (("none", "devices=0"), ("none", "devices=1"), Some("devices")),
        (("none", "compute=0.5"), ("none", "devices=0"), Some("devices")),
    ] {
        let case = round.case(one.0, one.1, State::Empty);
        let (call, setting) = round.set(case).unwrap();
        let explained = explain(call, setting);
        let case = round.case(other.0, other.1, State::Empty);
        let (call, setting) = round.set(case).unwrap();
        let answer = create(call, setting);
        assert_eq!(explained.differs(&answer), what, "{one:?} {explained:?}, {other:?} {answer:?}");
    }
}

#[test]
fn the_cases_do_not_become_fewer() {
    let gpu = |minor| {
        let (path, uuid) = (format!("/dev/nvidia{minor}"), format!("GPU-{minor}"));
        Gpu { path, major: 1219, minor, uuid }
    };
    let specs = specs::all(&[gpu(0), gpu(1)]);
    let distinct: BTreeSet<&[u8]> = specs.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let names: BTreeSet<&str> = specs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((distinct.len(), names.len()), (specs.len(), specs.len()));
    assert!(specs.len() >= 220, "{}", specs.len());
    let (mut count, mut of_states) = (0, BTreeMap::<State, BTreeSet<usize>>::new());
    for case in round::product(specs.len()).filter(|case| is_chosen(*case)) {
        count += 1;
        of_states.entry(case.state).or_default().insert(case.spec);
    }
    assert!(count >= 5000, "{count}");
    for (spec, (name, _)) in specs.iter().enumerate() {
        let whole = |mode| is_chosen(Case { kind: 0, mode, spec, state: State::Empty });
        assert!((0..DRIVERS.len()).all(whole), "{name}");
    }
    for state in State::ALL {
        let of_state = of_states[&state].len();
        assert!(of_state * 10 >= specs.len() * 7, "{state:?}: {of_state}");
    }
    assert!(DRIVERS.len() >= 10 && OTHERS.len() >= 6);
}
