//! A container's life, as Docker's commands lead it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, KEEPING, Lab, ONE, env_of, is_dead, stdout};
use crate::support::engine::assert_sees;
use crate::support::{kill, ok};
use std::fs;

fn is_hex(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a user sees of a granted container, by `docker run` and by `docker exec`.
fn assert_granted(lab: &Lab, name: &str) {
    let lease = lab.lease(name).unwrap_or_else(|| panic!("{name} has no lease"));
    assert_eq!(lease.engine, "docker");
    let id = lease.container_id.as_str();
    assert!(id.len() == 64 && is_hex(id) && id == lab.id(name), "{id}");
    let listing = stdout(&ok(lab.exec(name, "ls -ln /dev")));
    assert_sees(&lease, lab.pid(name), &listing, &lab.exec_env(name));
}

#[test]
fn a_run_gets_a_gpu_and_exec_shows_the_same() {
    let Some(lab) = Lab::new("h100x8") else { return };
    lab.start("first", &ONE);
    assert_granted(&lab, "first");
    // An image that wants all of them gets what is leased, and no more.
    ok(lab.run_image("cuda", &ONE, &["busybox:allgpus", "sleep", "1000"]));
    assert_granted(&lab, "cuda");
    assert_ne!(lab.device("first"), lab.device("cuda"));
    // What the user says for one exec is not the user's to say.
    let asked = lab.docker(&["exec", "-e", "NVIDIA_VISIBLE_DEVICES=all", "cuda", "env"]);
    let env = env_of(&stdout(&asked));
    assert_eq!(env["NVIDIA_VISIBLE_DEVICES"], lab.exec_env("cuda")["CUDA_VISIBLE_DEVICES"]);
    lab.assert_sound();
    lab.ok(&["rm", "-f", "first", "cuda"]);
    lab.assert_all_free(8);
}

#[test]
fn whatever_else_the_container_is_given() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let variants: [&[&str]; 11] = [
        &["--init"],
        &["-t", "--rm"],
        &["--pid", "host"],
        &["--ipc", "host"],
        &["--cgroupns", "host"],
        &["--cgroupns", "private"],
        &["--read-only"],
        &["--user", "1000:1000", "--security-opt", "no-new-privileges"],
        &["--cap-drop", "ALL"],
        &["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5"],
        &["--device-cgroup-rule", "c 42:* rmw", "--env", "NVIDIA_VISIBLE_DEVICES=all"],
    ];
    for options in variants {
        lab.start("web", &[options, &ONE].concat());
        assert_granted(&lab, "web");
        // The simulated node has no driver; that its user may use it is what can be seen.
        let node = format!("/dev/nvidia{}", lab.device("web"));
        ok(lab.exec("web", &format!("test -r {node} && test -w {node}")));
        lab.assert_sound();
        lab.ok(&["rm", "-f", "web"]);
        lab.assert_no_lease(&format!("{options:?}"));
    }
    // In the foreground, with its output and its exit status.
    let script = "echo $NVIDIA_VISIBLE_DEVICES; exit 3";
    let run = ["run", "--rm", "--network", "none", ONE[0], ONE[1], "busybox:lab", "sh", "-c"];
    let output = lab.docker(&[&run[..], &[script]].concat());
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).starts_with("GPU-"), "{}", stdout(&output));
    lab.assert_no_lease("docker run --rm");
}

#[test]
fn as_a_named_runtime_too() {
    let profile = gpulease::door::inventory::profiles::find("h100x8").unwrap();
    let Some(lab) = Lab::with(profile.toml, false) else { return };
    lab.start("named", &[&["--runtime", "gpulease"], &ONE[..]].concat());
    assert_granted(&lab, "named");
    // Another runtime does not know of gpulease: the annotation is nothing to it.
    lab.start("plain", &ONE);
    assert!(lab.lease("plain").is_none());
    lab.ok(&["restart", "-t", "0", "named"]);
    assert_granted(&lab, "named");
    lab.ok(&["rm", "-f", "plain", "named"]);
    lab.assert_no_lease("docker rm -f");
}

#[test]
fn a_restart_keeps_the_gpu() {
    let Some(lab) = Lab::new("h100x8") else { return };
    // Without a grace: its GPUs are the first that a newcomer would get.
    lab.configure("policy.release_grace = \"0s\"");
    lab.start("other", &["--annotation", "gpulease/devices=0,1,2"]);
    lab.configure("");
    lab.start("web", &ONE);
    let device = lab.device("web");
    let nonce = lab.lease("web").unwrap().nonce;
    lab.ok(&["rm", "-f", "other"]);
    lab.start("newcomer", &ONE);
    assert!(lab.device("newcomer") < device);
    lab.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(lab.device("web"), device);
    assert_ne!(lab.lease("web").unwrap().nonce, nonce, "a new start is a new lease");
    lab.assert_sound();

    lab.ok(&["stop", "-t", "0", "web"]);
    assert!(lab.lease("web").is_none());
    // Whoever comes in between takes another one.
    lab.start("between", &ONE);
    assert_ne!(lab.device("between"), device);
    lab.ok(&["start", "web"]);
    assert_eq!(lab.device("web"), device);
    assert_granted(&lab, "web");
    lab.assert_sound();

    // But whoever needs it gets it, and then the start is refused, with the reason.
    lab.ok(&["stop", "-t", "0", "web"]);
    lab.start("needy", &["--annotation", "gpulease/count=6"]);
    assert!(lab.devices("needy").contains(&device));
    let refused = lab.docker(&["start", "web"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(crate::support::stderr(&refused).contains("no-capacity"));
    lab.ok(&["rm", "-f", "needy"]);
    lab.ok(&["start", "web"]);
    lab.assert_sound();
}

#[test]
fn four_restarting_at_once_all_keep_their_own() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let names = ["c0", "c1", "c2", "c3"];
    for name in names {
        lab.start(name, &ONE);
    }
    let before: Vec<u32> = names.iter().map(|name| lab.device(name)).collect();
    std::thread::scope(|scope| {
        for name in names {
            let lab = &lab;
            scope.spawn(move || {
                for round in 0..10 {
                    let output = lab.docker(&["restart", "-t", "0", name]);
                    let text = crate::support::stderr(&output);
                    assert!(output.status.success(), "{name}, round {round}: {text}");
                }
            });
        }
    });
    let after: Vec<u32> = names.iter().map(|name| lab.device(name)).collect();
    assert_eq!(before, after);
    lab.assert_sound();
    assert_eq!(lab.records().len(), 4);
}

type End = fn(&Lab);

#[test]
fn an_end_of_any_kind_releases() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let ends: [(&str, End); 5] = [
        ("kill -9 of its init", |lab| kill(lab.pid("web"))),
        ("docker kill", |lab| drop(lab.ok(&["kill", "web"]))),
        ("docker stop", |lab| drop(lab.ok(&["stop", "-t", "0", "web"]))),
        ("of its own", |lab| drop(lab.ok(&["exec", "web", "touch", "/end"]))),
        ("kill -9 of its containerd-shim", |lab| kill_shim(lab, "web")),
    ];
    for (how, end) in ends {
        ok(lab.run_image("web", &ALL, &["busybox:lab", "sh", "-c", UNTIL_END]));
        lab.assert_sound();
        let init = lab.pid("web");
        end(&lab);
        lab.wait("its init is dead", |_| is_dead(init));
        // Docker need not have noticed.
        let next = lab.run("next", &ALL);
        assert!(next.status.success(), "{how}: {}", crate::support::stderr(&next));
        lab.wait_exited("web");
        lab.assert_sound();
        lab.ok(&["rm", "-f", "web", "next"]);
        lab.assert_no_lease(how);
    }
}

const UNTIL_END: &str = "while [ ! -e /end ]; do sleep 0.05; done";

fn kill_shim(lab: &Lab, name: &str) {
    let id = lab.id(name);
    let shims = lab.processes(&id);
    let shims: Vec<i32> = shims
        .into_iter()
        .filter(|pid| crate::lab::name_of(*pid).starts_with("containerd-shim"))
        .collect();
    assert_eq!(shims.len(), 1, "one containerd-shim for {id}");
    // containerd kills the container then, by `gpulease-runtime delete --force`.
    kill(shims[0]);
}

#[test]
fn only_the_end_of_a_container_releases() {
    let Some(lab) = Lab::new("mixed4") else { return };
    // Docker runs the host's ps; the lab has none.
    fs::copy(lab.path("/bin/busybox"), lab.path("/usr/bin/ps")).unwrap();
    lab.start("web", &ALL);
    let lease = lab.lease("web").unwrap();
    assert!(lab.ok(&["top", "web"]).contains("sleep 1000"));
    lab.ok(&["pause", "web"]);
    assert!(lab.refused("late", &ONE).contains("no-capacity"), "a paused container holds");
    lab.ok(&["update", "--cpu-shares", "512", "web"]);
    lab.ok(&["unpause", "web"]);
    lab.ok(&["update", "--memory", "64m", "--memory-swap", "64m", "web"]);
    lab.ok(&["rename", "web", "site"]);
    assert!(lab.exec("site", "test -c /dev/nvidia0").status.success());
    assert_eq!(lab.lease("site"), Some(lease), "and its lease is the very same");
    lab.assert_sound();
    lab.ok(&["pause", "site"]);
    lab.ok(&["rm", "-f", "site"]);
    lab.assert_no_lease("docker rm -f of a paused container");
    lab.ok(&["rm", "late"]);
    lab.assert_all_free(4);
}

#[test]
fn a_container_without_a_request_is_untouched() {
    let Some(lab) = Lab::new("h100x8") else { return };
    lab.start("plain", &KEEPING);
    let read = |name: &str, file: &str| fs::read(lab.bundle(name).join(file)).unwrap();
    assert_eq!(read("plain", "before.json"), read("plain", "config.json"));
    ok(lab.run_image("cuda", &KEEPING, &["busybox:allgpus", "sleep", "1000"]));
    assert_eq!(read("cuda", "before.json"), read("cuda", "config.json"));
    assert_eq!(lab.exec_env("cuda")["NVIDIA_VISIBLE_DEVICES"], "all");
    lab.ok(&["restart", "-t", "0", "plain"]);
    lab.ok(&["rm", "-f", "plain"]);
    assert!(!lab.path("/run/gpulease").exists(), "no state for containers without a GPU");
    lab.start("gpu", &[&KEEPING[..], &ONE].concat());
    assert_ne!(read("gpu", "before.json"), read("gpu", "config.json"));
}

#[test]
fn a_broken_configuration_stops_only_requests() {
    let Some(lab) = Lab::new("h100x8") else { return };
    lab.start("early", &ONE);
    for (broken, reason) in [("no_such_key = 1", "no_such_key"), ("[[[", "config.toml")] {
        lab.configure(broken);
        lab.start("plain", &[]);
        lab.ok(&["restart", "-t", "0", "plain"]);
        assert_eq!(stdout(&ok(lab.exec("plain", "echo here"))), "here\n");
        lab.ok(&["rm", "-f", "plain"]);
        let refused = lab.refused("late", &ONE);
        assert!(refused.contains("bad-config") && refused.contains(reason), "{refused}");
        lab.ok(&["rm", "late"]);
        // What runs can be used and goes on holding.
        assert!(lab.exec_env("early").contains_key("GPULEASE_SIMULATED"));
        lab.assert_sound();
    }
    lab.ok(&["rm", "-f", "early"]);
    lab.assert_no_lease("releasing needs no configuration");
    lab.configure("");
    lab.assert_all_free(8);
}
