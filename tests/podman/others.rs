//! Pods, builds and containers that ask for nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, ONE};
use crate::support::engine::stdout;
use crate::support::{ok, stderr};
use std::fs;
use std::io::Write;
use std::process::Stdio;

#[test]
fn a_pods_infra_container_gets_no_gpu() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start_pod();
    lab.ok(&["pod", "stop", "-t", "0", "pod"]);
    lab.assert_no_lease("podman pod stop");
    lab.ok(&["pod", "start", "pod"]);
    lab.assert_held(&["one", "two"]);
    lab.ok(&["pod", "rm", "-f", "-t", "0", "pod"]);
    lab.assert_all_free(4);
}

#[test]
fn a_container_without_a_request_is_untouched() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let keeping = ["--runtime", "keeping"];
    let read = |name: &str, file: &str| fs::read(lab.bundle(name).join(file)).unwrap();
    for (name, image) in [("plain", "busybox:lab"), ("cuda", "busybox:allgpus")] {
        ok(lab.run_by(&keeping, name, &[], &[image, "sleep", "1000"]));
        assert_eq!(read(name, "before.json"), read(name, "config.json"));
    }
    assert_eq!(lab.exec_env("cuda")["NVIDIA_VISIBLE_DEVICES"], "all");
    lab.ok(&["restart", "-t", "0", "plain"]);
    lab.remove(&["plain"]);
    assert!(!lab.path("/run/gpulease").exists(), "no state for containers without a GPU");
    ok(lab.run_by(&keeping, "gpu", &ONE, &["busybox:lab", "sleep", "1000"]));
    assert_ne!(read("gpu", "before.json"), read("gpu", "config.json"));

    // Nor does a broken configuration keep one from starting.
    lab.configure("no_such_key = 1");
    lab.start("plain", &[]);
    let text = stderr(&lab.run("late", &ONE));
    assert!(text.contains("bad-config") && text.contains("no_such_key"), "{text}");
}

#[test]
fn a_build_is_unharmed() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("web", &ALL);
    // Its steps run by the default runtime; the limits are such as this host can set.
    let mut build = lab
        .command()
        .args(["build", "--network", "none", "--no-cache", "-t", "built"])
        .args(["--cgroup-parent", &format!("{}/build", lab.cgroup)])
        .args(["--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let steps = b"FROM busybox:lab\nRUN ls /dev >/seen\nRUN echo made\n";
    build.stdin.take().unwrap().write_all(steps).unwrap();
    let output = ok(build.wait_with_output().unwrap());
    assert!(stdout(&output).contains("made\n"), "{}", stdout(&output));
    // What it made can be run.
    let image = ["built", "sh", "-c", "cat /seen; exec sleep 1000"];
    ok(lab.run_by(&[], "child", &[], &image));
    assert!(!stdout(&ok(lab.exec("child", "cat /seen"))).contains("nvidia"));
    lab.assert_held(&["web"]);
    assert_eq!(lab.records().len(), 1);
}
