//! Podman without the shim, by `gpulease install podman --precreate`: what containers get.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, End, Lab, ONE};
use crate::support::engine::{assert_sees, env_of, stdout};
use crate::support::{kill, ok, stderr};
use std::fs;
use std::io::Write;
use std::process::Stdio;

/// What a container that was granted a GPU shows: as with the shim, but for the variables of a
/// process that `podman exec` starts.
#[track_caller]
fn assert_granted(lab: &Lab, name: &str) {
    let lease = lab.lease(name).unwrap_or_else(|| panic!("{name} has no lease"));
    assert_eq!(lease.engine, "podman");
    let first = fs::read(format!("/proc/{}/environ", lab.pid(name))).unwrap();
    let first = String::from_utf8(first).unwrap().replace('\0', "\n");
    let listing = stdout(&ok(lab.exec(name, "ls -ln /dev")));
    assert_sees(&lease, lab.pid(name), &listing, &env_of(&first));
}

#[test]
fn exec_gets_devices_but_no_variables() {
    for runtime in ["crun", "runc"] {
        let Some(lab) = Lab::by_precreate(runtime, "h100x8") else { return };
        lab.start("web", &ONE);
        let image = ["busybox:allgpus", "sleep", "1000"];
        ok(lab.run_by(&[], "all", &ONE, &image));
        for name in ["web", "all"] {
            assert_granted(&lab, name);
        }
        lab.assert_held(&["web", "all"]);
        // Podman makes the environment of an exec out of its own record of the container.
        let env = lab.exec_env("web");
        assert!(!env.contains_key("CUDA_VISIBLE_DEVICES"), "{env:?}");
        assert_eq!(lab.exec_env("all")["NVIDIA_VISIBLE_DEVICES"], "all");
        lab.remove(&["web", "all"]);
        lab.assert_no_lease("the poststop hook releases");
        lab.assert_all_free(8);
    }
}

#[test]
fn a_restart_keeps_the_gpu_and_leaks_none() {
    let Some(lab) = Lab::by_precreate("runc", "h100x8") else { return };
    lab.configure("policy.release_grace = \"0s\"");
    lab.start("other", &["--annotation", "gpulease/devices=0,1,2"]);
    lab.configure("");
    lab.start("web", &ONE);
    let (device, nonce) = (lab.device("web"), lab.lease("web").unwrap().nonce);
    lab.remove(&["other"]);
    for _ in 0..2 {
        lab.ok(&["restart", "-t", "0", "web"]);
        assert_eq!(lab.device("web"), device);
        assert_granted(&lab, "web");
        assert_eq!(lab.records().len(), 1, "nothing of the start before");
    }
    assert_ne!(lab.lease("web").unwrap().nonce, nonce);
    lab.ok(&["stop", "-t", "0", "web"]);
    lab.assert_no_lease("podman stop");
    lab.ok(&["start", "web"]);
    assert_eq!(lab.device("web"), device);
    lab.remove(&["web"]);
    lab.assert_all_free(8);
}

#[test]
fn an_end_of_any_kind_releases() {
    let ends: [(&str, End); 4] = [
        ("kill -9 of its init", |lab| kill(lab.pid("web"))),
        ("podman rm -f", |lab| lab.remove(&["web"])),
        ("of its own", |lab| drop(lab.ok(&["exec", "web", "touch", "/end"]))),
        ("kill -9 of its conmon and of its init", |lab| {
            let (conmon, init) = (lab.conmon("web"), lab.pid("web"));
            kill(conmon);
            kill(init);
        }),
    ];
    for runtime in ["crun", "runc"] {
        let Some(lab) = Lab::by_precreate(runtime, "mixed4") else { return };
        for (how, end) in ends {
            lab.assert_freed_by(&format!("{runtime}: {how}"), end);
        }
    }
}

#[test]
fn a_pods_infra_container_gets_no_gpu() {
    let Some(lab) = Lab::by_precreate("crun", "mixed4") else { return };
    lab.start_pod();
    lab.ok(&["pod", "rm", "-f", "-t", "0", "pod"]);
    lab.assert_all_free(4);
}

#[test]
fn shim_and_precreate_share_one_lease() {
    // Podman's own runtime is the other one; the shim's is crun.
    let Some(lab) = Lab::by_precreate("runc", "mixed4") else { return };
    lab.gpulease(&["install", "podman"]);
    let image = ["busybox:lab", "sleep", "1000"];
    for _ in 0..2 {
        ok(lab.run_by(&["--runtime", "gpulease"], "web", &ALL, &image));
        lab.assert_held(&["web"]);
        let id = lab.id("web");
        let own = || lab.records().iter().filter(|l| l.container_id.as_str() == id).count();
        assert_eq!(own(), 1);
        let lease = lab.lease("web").unwrap();
        assert_eq!((lease.precreate, lease.runtime.as_str()), (None, "/usr/bin/crun"));
        let spec = fs::read(lab.bundle("web").join("config.json")).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
        for stage in ["createRuntime", "poststop"] {
            assert_eq!(spec["hooks"][stage].as_array().unwrap().len(), 1, "{stage}");
        }
        assert!(lab.exec_env("web").contains_key("CUDA_VISIBLE_DEVICES"));
        lab.ok(&["restart", "-t", "0", "web"]);
        lab.assert_held(&["web"]);
        assert_eq!(own(), 1);
        lab.remove(&["web"]);
        lab.assert_no_lease("podman rm -f");
    }
    // One beside the other.
    ok(lab.run_by(&["--runtime", "gpulease"], "web", &ONE, &image));
    lab.start("own", &ONE);
    lab.assert_held(&["web", "own"]);
    lab.assert_granted("web");
    assert_granted(&lab, "own");
    lab.remove(&["web", "own"]);
    lab.assert_all_free(4);
}

#[test]
fn builds_and_plain_containers_are_unharmed() {
    let Some(lab) = Lab::by_precreate("crun", "mixed4") else { return };
    lab.gpulease(&["install", "podman"]);
    lab.start("web", &ALL);
    let limits = ["--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256"];
    let cgroup = format!("{}/build", lab.cgroup);
    for (program, isolation) in [
        ("podman", None),
        ("podman", Some("oci")),
        ("podman", Some("chroot")),
        ("buildah", None),
        ("buildah", Some("oci")),
    ] {
        let mut command = if program == "podman" { lab.command() } else { lab.tool("buildah") };
        let network = if isolation == Some("chroot") { "host" } else { "none" };
        command.args(["build", "--network", network, "--no-cache", "-t", "built"]).args(limits);
        command.args(["--cgroup-parent", &cgroup]);
        if let Some(isolation) = isolation {
            command.args(["--isolation", isolation]);
        }
        command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut build = command.spawn().unwrap();
        let steps = b"FROM busybox:lab\nRUN ls /dev && echo made\n";
        build.stdin.take().unwrap().write_all(steps).unwrap();
        let output = build.wait_with_output().unwrap();
        let text = format!("{}{}", stdout(&output), stderr(&output));
        assert!(output.status.success(), "{program} {isolation:?}: {text}");
        assert!(text.contains("made\n") && !text.contains("nvidia"), "{program}: {text}");
    }
    lab.assert_held(&["web"]);
    assert_eq!(lab.records().len(), 1);
    lab.remove(&["web"]);

    lab.configure("no_such_key = 1");
    let before = lab.records().len();
    lab.start("plain", &[]);
    ok(lab.run_by(&[], "cuda", &[], &["busybox:allgpus", "true"]));
    assert_eq!(lab.records().len(), before);
    let spec = fs::read_to_string(lab.bundle("plain").join("config.json")).unwrap();
    for ours in ["gpulease-hook", "gpulease.granted/"] {
        assert!(!spec.contains(ours), "{ours}");
    }
    // And one that asks is refused: 4 is the status of `bad-config`.
    let text = stderr(&lab.run("late", &ONE));
    assert!(text.contains("exit status 4"), "{text}");
}
