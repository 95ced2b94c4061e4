//! What is killed while it works: the runtime in the midst of a create, its hook, the daemon.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, FAILING, Lab, ONE, is_dead, status_of};
use crate::support::{kill, stderr};
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

fn failing() -> Vec<&'static str> {
    [&FAILING[..], &ALL].concat()
}

#[test]
fn a_runtime_killed_in_create_leaves_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in ["create.locked", "create.recorded", "create.before-edit", "create.edited"] {
        lab.fail_at(&format!("{point}=kill"));
        let output = lab.run("web", &failing());
        // What Docker makes of a runtime that says nothing differs: 125, or 127 for want of a log.
        assert!(!output.status.success(), "{point} was not reached");
        assert_nothing_is_left_of(&lab, "web");
        lab.fail_at("");
        // The container itself starts then, and has one grant.
        lab.ok(&["start", "web"]);
        lab.assert_sound();
        assert_eq!(lab.devices("web").len(), 8, "{point}");
        lab.ok(&["rm", "-f", "web"]);
        lab.assert_all_free(8);
    }
}

#[test]
fn a_hook_killed_in_bind_leaves_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in ["bind.begin", "bind.described", "bind.recorded"] {
        lab.fail_at(&format!("{point}=kill"));
        let output = lab.run("web", &failing());
        assert_eq!(output.status.code(), Some(125), "{point}: {}", stderr(&output));
        lab.fail_at("");
        lab.ok(&["rm", "web"]);
        lab.assert_all_free(8);
    }
}

#[test]
fn a_runtime_killed_during_its_hook_leaves_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in ["bind.begin", "bind.described"] {
        lab.fail_at(&format!("{point}=stop"));
        let hook = std::thread::scope(|scope| {
            let run = scope.spawn(|| lab.run("web", &failing()));
            let hook = stopped_hook(&lab);
            let runtime: i32 = status_of(hook, "PPid").unwrap().parse().unwrap();
            assert_eq!(crate::lab::name_of(runtime), "runc");
            assert_eq!(lab.leases()[0].owner.pid, runtime, "the shim became runc");
            kill(runtime);
            // The hook that holds the ledger's lock is no reason for Docker to wait for it.
            let output = run.join().unwrap();
            assert!(!output.status.success());
            hook
        });
        lab.fail_at("");
        let resume = || signal(Pid::from_raw(hook), Signal::SIGCONT).unwrap();
        if point == "bind.begin" {
            assert_nothing_is_left_of(&lab, "web");
            // The next has them all, and the late hook takes nothing from it.
            lab.start("next", &ALL);
            resume();
        } else {
            // It stands in the critical section: the start that comes meanwhile is refused.
            let refused = lab.refused("next", &ALL);
            assert!(
                refused.contains("lock-timeout") && refused.contains("gpulease-hook"),
                "{refused}"
            );
            lab.ok(&["rm", "next"]);
            resume();
            lab.start("next", &ALL);
        }
        lab.wait("the late hook ends", |_| is_dead(hook));
        assert_eq!(lab.devices("next").len(), 8);
        lab.assert_sound();
        assert_eq!(lab.leases().len(), 1);
        lab.ok(&["rm", "-f", "web", "next"]);
        lab.assert_all_free(8);
    }
}

/// Docker deletes what it could not create. That alone clears up, before anybody else comes.
fn assert_nothing_is_left_of(lab: &Lab, name: &str) {
    let id = lab.id(name);
    let left = lab.records().into_iter().filter(|lease| lease.container_id.as_str() == id);
    let left: Vec<_> = left.map(|lease| (lease.state, lease.owner, lease.cgroup)).collect();
    assert!(left.is_empty(), "{name}: {left:?}");
    assert!(!lab.bundle(name).exists());
    assert!(lab.leases().is_empty());
}

fn stopped_hook(lab: &Lab) -> i32 {
    let mut found = None;
    lab.wait("the hook has stopped", |lab| {
        found = lab
            .processes("create-runtime")
            .into_iter()
            .find(|pid| status_of(*pid, "State").is_some_and(|state| state.starts_with('T')));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_runtime_killed_in_delete_keeps_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in ["delete.before-runtime", "delete.after-runtime", "release.locked"] {
        lab.start("web", &failing());
        lab.fail_at(&format!("{point}=kill"));
        let _ = lab.docker(&["rm", "-f", "web"]);
        lab.fail_at("");
        // Whatever Docker thinks of it: the container is dead, and the next gets its GPUs.
        lab.start("next", &ALL);
        lab.ok(&["rm", "-f", "next"]);
        let _ = lab.docker(&["rm", "-f", "web"]);
        lab.assert_all_free(8);
    }
}

#[test]
fn a_dockerd_that_is_killed_and_comes_back() {
    let Some(mut lab) = Lab::new("mixed4") else { return };
    // A sleep that is process 1 would take ten seconds to be stopped by another signal.
    let plain = [&ONE[..], &["--stop-signal", "KILL"]].concat();
    let always = [&plain[..], &["--restart", "always"]].concat();
    lab.start("plain", &plain);
    lab.start("always1", &always);
    lab.start("always2", &always);
    let device = |lab: &Lab, name: &str| lab.lease(name).map(|lease| lease.devices[0].index);
    let before = [device(&lab, "always1"), device(&lab, "always2")];
    lab.restart_dockerd();
    // Without live-restore it ends what ran, and starts again what is to run always.
    for name in ["always1", "always2"] {
        lab.wait(&format!("{name} runs again"), |lab| {
            let state = lab.inspect(name)["State"].clone();
            state["Running"] == true && lab.lease(name).is_some()
        });
    }
    lab.wait("plain has ended", |lab| lab.inspect("plain")["State"]["Running"] == false);
    lab.assert_sound();
    assert_eq!([device(&lab, "always1"), device(&lab, "always2")], before);
    lab.start("next1", &ONE);
    lab.start("next2", &ONE);
    lab.assert_sound();
    lab.ok(&["rm", "-f", "always1", "always2", "next1", "next2", "plain"]);
    lab.assert_all_free(4);
}
