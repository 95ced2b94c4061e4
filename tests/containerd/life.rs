//! A container's life, as ctr's commands lead it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, ONE};
use crate::support::engine::{is_dead, stdout, wait_for};
use crate::support::{kill, ok, stderr};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_run_gets_a_gpu_and_exec_shows_the_same() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let nvidia = [&ONE[..], &["--annotation", "gpulease/vendor=nvidia"]].concat();
    // What an image says of GPUs is not what its container gets.
    lab.start("one", &[&nvidia[..], &["--env", "NVIDIA_VISIBLE_DEVICES=all"]].concat());
    lab.start("two", &nvidia);
    lab.assert_granted("one");
    lab.assert_granted("two");
    lab.assert_held(&["one", "two"]);
    assert_ne!(lab.device("one"), lab.device("two"));
    lab.remove("one");
    lab.remove("two");
    lab.assert_all_free(4);
}

#[test]
fn one_too_many_is_told_who_holds_what() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("first", &ALL);
    let output = lab.run("late", &ONE);
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    let lease = lab.lease_of("first").unwrap();
    let holder = format!("lease {} of container first (containerd)", lease.id);
    let reason = "gpulease: no-capacity: 1 device requested, 0 of 4 available";
    assert!(text.contains(reason) && text.contains(&holder), "{text}");
    assert!(text.contains("; hint: ") && text.trim_end().lines().count() == 1, "{text}");
    assert!(!lab.bundle("late").exists());
    lab.assert_held(&["first"]);
    assert_eq!(lab.records().len(), 1);
    // ctr keeps the container, which starts as soon as it can.
    lab.remove("first");
    lab.ok(&["tasks", "start", "-d", "late"]);
    lab.assert_held(&["late"]);
    lab.remove("late");
    lab.assert_all_free(4);
}

#[test]
fn ctrs_own_gpus_are_leased() {
    let Some(lab) = Lab::new("h100x8") else { return };
    // Of NVIDIA's command ctr wants to find the program; containerd's hook runs it.
    let cli = lab.path("/usr/bin/nvidia-container-cli");
    fs::write(&cli, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
    lab.start("one", &["--gpus", "3"]);
    assert_eq!(lab.device("one"), 3);
    let output = lab.run("late", &["--gpus", "3"]);
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains("no-capacity"), "{text}");
    lab.start("other", &["--gpus", "4"]);
    lab.assert_held(&["one", "other"]);
    lab.remove("one");
    lab.remove("other");
    lab.remove("late");
    lab.assert_all_free(8);
}

#[test]
fn a_program_that_is_not_there_leaves_no_lease() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let binary = crate::support::engine::RUNTIME;
    let output = lab.run_by(binary, "web", &ALL, &["/nope"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("/nope"), "{}", stderr(&output));
    lab.assert_no_lease("a failed start");
    lab.remove("web");
    lab.assert_all_free(4);
}

#[test]
fn a_kill_and_a_delete_release() {
    let Some(lab) = Lab::new("mixed4") else { return };
    for _ in 0..3 {
        lab.start("web", &ALL);
        lab.assert_held(&["web"]);
        let init = lab.pid("web");
        lab.ok(&["tasks", "kill", "-s", "SIGKILL", "web"]);
        wait_for("its init is dead", || is_dead(init));
        // containerd keeps the task until it is told, but its GPUs are for the next.
        lab.start("next", &ALL);
        lab.assert_held(&["next"]);
        wait_for("containerd has noticed", || {
            lab.task("web").is_some_and(|(_, state)| state == "STOPPED")
        });
        lab.ok(&["tasks", "delete", "web"]);
        lab.assert_held(&["next"]);
        lab.ok(&["containers", "rm", "web"]);
        lab.remove("next");
        lab.assert_no_lease("ctr tasks rm -f");
    }
    lab.assert_all_free(4);
}

#[test]
fn killing_containerds_shim_ends_its_container() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("web", &ALL);
    let init = lab.pid("web");
    // containerd kills the container then, by `gpulease-runtime delete --force`.
    kill(lab.shim("web"));
    wait_for("its init is dead", || is_dead(init));
    lab.start("next", &ALL);
    lab.assert_held(&["next"]);
    lab.remove("next");
    lab.assert_no_lease("ctr tasks rm -f");
    // Together with its container.
    wait_for("web can be removed", || {
        let _ = lab.ctr(&["tasks", "rm", "-f", "web"]);
        lab.ctr(&["containers", "rm", "web"]).status.success()
    });
    lab.start("web", &ALL);
    let (shim, init) = (lab.shim("web"), lab.pid("web"));
    kill(init);
    kill(shim);
    lab.start("next", &ALL);
    lab.remove("next");
    lab.assert_all_free(4);
}

#[test]
fn a_runtime_or_hook_killed_in_create_leaves_nothing() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let failing = "/opt/gpulease/bin/failing";
    for point in ["create.recorded", "create.edited", "bind.described"] {
        lab.fail_at(&format!("{point}=kill"));
        let output = lab.run_by(failing, "web", &ALL, &["sleep", "1000"]);
        assert!(!output.status.success(), "{point} was not reached");
        lab.fail_at("");
        lab.assert_all_free(4);
        lab.remove("web");
    }
}

#[test]
fn a_container_without_a_request_is_untouched() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let keeping = "/opt/gpulease/bin/keeping";
    let all = ["--env", "NVIDIA_VISIBLE_DEVICES=all"];
    ok(lab.run_by(keeping, "plain", &all, &["sleep", "1000"]));
    let read = |id: &str, file: &str| fs::read(lab.bundle(id).join(file)).unwrap();
    assert_eq!(read("plain", "before.json"), read("plain", "config.json"));
    let env = stdout(&ok(lab.exec("plain", "env")));
    assert!(env.contains("NVIDIA_VISIBLE_DEVICES=all"), "{env}");
    assert!(!lab.path("/run/gpulease").exists(), "no state for containers without a GPU");
    ok(lab.run_by(keeping, "gpu", &ONE, &["sleep", "1000"]));
    assert_ne!(read("gpu", "before.json"), read("gpu", "config.json"));
    // Nor does a broken configuration keep one from starting.
    lab.configure("no_such_key = 1");
    lab.start("other", &[]);
    let text = stderr(&lab.run("late", &ONE));
    assert!(text.contains("bad-config") && text.contains("no_such_key"), "{text}");
}
