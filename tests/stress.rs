//! Many creates at once, killed at random: whatever happens, no share of a device is ever held
//! twice, and everything can be had again once the holders are dead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::{Host, kill, needs_root, ok, stderr};

/// Each of these tests fills the machine: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A small generator with a printed seed, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("GPULEASE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() % (1 << 60)).unwrap()
        });
        eprintln!("GPULEASE_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn spawn(host: &Host, name: &str, compute: &str, life_ms: u64) -> Child {
    host.bundle(name, &[("gpulease/compute", compute)]);
    host.create_command(name)
        .env("STUB_TOKENS", host.path("tokens"))
        .env("STUB_LIFE_MS", life_ms.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn random_kills_never_lead_to_overcommitment() {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::new("h100x8");
    let mut dice = Dice::new();
    let mut names = Vec::new();
    let (mut granted, mut refused, mut killed, mut late) = (0, 0, 0, 0);
    for round in 0..3 {
        let mut children = Vec::new();
        for number in 0..100 {
            let name = format!("r{round}c{number}");
            let compute = format!("{}m", 100 * (1 + dice.below(10)));
            children.push((spawn(&host, &name, &compute, 5 + dice.below(200)), name));
        }
        let mut victims: Vec<usize> = (0..children.len()).filter(|_| dice.below(3) == 0).collect();
        while let Some(victim) = victims.pop() {
            std::thread::sleep(Duration::from_micros(dice.below(3000)));
            children[victim].0.kill().unwrap();
        }
        for (child, name) in children {
            let output = child.wait_with_output().unwrap();
            let text = stderr(&output);
            match output.status.code() {
                Some(0) => granted += 1,
                None => killed += 1,
                Some(1) if text.contains("no-capacity") => refused += 1,
                // On a machine with more to do than it can, the ledger's deadline passes: a
                // refusal like any other, and it must leave as little behind.
                Some(1) if text.contains("lock-timeout") => late += 1,
                other => panic!("{name}: {other:?}: {text}"),
            }
            names.push(name);
        }
        let violation = std::fs::read_to_string(host.path("tokens/VIOLATION"));
        assert!(violation.is_err(), "over-commitment: {violation:?}");
    }
    let counts = format!("granted {granted}, refused {refused}, killed {killed}, late {late}");
    eprintln!("{counts}");
    assert!(granted > 20 && killed > 5, "{counts}");

    for name in &names {
        if let Some(pid) = host.pid(name) {
            kill(pid);
        }
    }
    // Containers without a pid file, whose runtime was killed, end when they see that.
    host.bundle("probe", &[("gpulease/count", "8")]);
    support::eventually(|| host.create("probe").status.success());
    assert_eq!(host.leases().len(), 1, "only the probe holds a lease");
}

#[test]
fn shares_that_add_up_fit_exactly() {
    needs_root!();
    let host = Host::new("h100x8");
    let one = ("gpulease/devices", "0");
    for (name, shares) in [("a", &["0.8", "0.2"][..]), ("b", &["0.1"; 10]), ("c", &["90%", "100m"])]
    {
        for (number, share) in shares.iter().enumerate() {
            ok(host.start(&format!("{name}{number}"), &[("gpulease/compute", share), one]));
        }
        let over = host.start("over", &[("gpulease/compute", "0.1"), one]);
        assert!(stderr(&over).contains("no-capacity"), "{}", stderr(&over));
        for number in 0..shares.len() {
            ok(host.delete(&format!("{name}{number}")));
        }
        assert!(host.leases().is_empty());
    }
}

#[test]
fn shares_out_of_range_are_refused_by_name() {
    needs_root!();
    let host = Host::new("h100x8");
    for (key, value) in [
        ("gpulease/compute", "0.05"),
        ("gpulease/compute", "1.1"),
        ("kaiwo.ai/gpu-fraction", "0.05"),
        ("kaiwo.ai/gpu-fraction", "1.1"),
    ] {
        let text = stderr(&host.start("c", &[(key, value)]));
        assert!(
            text.contains("bad-request") && text.contains(key) && text.contains(value),
            "{text}"
        );
    }
    assert!(host.records().is_empty());
}

#[test]
fn sixty_four_creates_at_once_all_come_out_right() {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::new("h100x8");
    let children: Vec<_> = (0..64)
        .map(|n| {
            let name = format!("c{n}");
            host.bundle(&name, &[("gpulease/compute", "0.125")]);
            host.create_command(&name).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        ok(child.wait_with_output().unwrap());
    }
    let leases = host.leases();
    assert_eq!(leases.len(), 64);
    assert!(
        leases.iter().all(|lease| lease.state == gpulease::door::model::lease::LeaseState::Bound)
    );
    let full = host.start("over", &[("gpulease/compute", "0.1")]);
    assert!(stderr(&full).contains("no-capacity"), "{}", stderr(&full));
}

#[test]
fn many_who_find_no_inventory_have_it_made_once() {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Host::new("h100x8");
    // The command beside the shim is a script that counts its runs, and takes its time.
    let shim = host.path("gpulease-runtime");
    std::fs::copy(support::SHIM, &shim).unwrap();
    let (log, cli) = (host.path("refreshes"), support::CLI);
    let script = format!("#!/bin/sh\necho >>{log:?}\nsleep 0.3\nexec {cli:?} \"$@\"\n");
    let command = host.path("gpulease");
    std::fs::write(&command, script).unwrap();
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let start = |name: &String| {
        host.bundle(name, &[("gpulease/compute", "0.5")]);
        let mut create = host.create_command_of(&shim, name);
        create.env("STUB_TOKENS", host.path("tokens")).env("STUB_LIFE_MS", "2000");
        create.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let starts: Vec<Child> = names.iter().map(start).collect();
    for start in starts {
        ok(start.wait_with_output().unwrap());
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
}
