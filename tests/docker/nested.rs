//! A second dockerd in a pid namespace of its own, as in a container, with the same ledger.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, stdout};
use crate::support::{kill, stderr};
use serde_json::Value;
use std::process::{Child, Output, Stdio};

/// The daemon, with all that is in its namespace.
struct Nested<'a> {
    lab: &'a Lab,
    unshare: Child,
}

impl<'a> Nested<'a> {
    fn start(lab: &'a Lab) -> Self {
        let script = format!(
            "containerd --config /run/containerd.toml --root /var/lib/containerd/nested \
                --state /run/nested/containerd --address /run/nested/containerd.sock & \
             dockerd --containerd /run/nested/containerd.sock -H unix:///run/nested.sock \
                --data-root /var/lib/docker/nested --exec-root /run/nested/docker \
                --pidfile /run/nested/docker.pid --cgroup-parent /{} \
                --exec-opt native.cgroupdriver=cgroupfs --bridge=none --iptables=false \
                --ip6tables=false --ip-forward=false & \
             wait",
            lab.name
        );
        let mut command = lab.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let nested = Self { lab, unshare: command.spawn().unwrap() };
        lab.wait("the nested dockerd answers", |_| nested.docker(&["version"]).status.success());
        let mut load = lab.command("sh");
        load.args(["-c", "docker save busybox:lab | docker -H unix:///run/nested.sock load"]);
        let loaded = load.output().unwrap();
        assert!(loaded.status.success(), "{}", stderr(&loaded));
        nested
    }

    fn docker(&self, args: &[&str]) -> Output {
        let mut command = self.lab.command("docker");
        command.args(["-H", "unix:///run/nested.sock"]).args(args).output().unwrap()
    }

    fn run(&self, name: &str, options: &[&str]) -> Output {
        let fixed = ["run", "-d", "--network", "none", "--name", name];
        self.docker(&[&fixed, options, &["busybox:lab", "sleep", "1000"]].concat())
    }

    /// The first process of the namespace.
    fn first(&self) -> i32 {
        let pid = self.unshare.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap().trim().parse().unwrap()
    }

    /// `gpulease` in that namespace.
    fn cli(&self, args: &[&str]) -> Output {
        let mut command = self.lab.command("nsenter");
        command.args(["--pid", "--mount", "--target", &self.first().to_string()]);
        command.arg("/opt/gpulease/bin/gpulease").args(args).output().unwrap()
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

#[test]
fn what_a_dead_nested_dockerd_held_is_free() {
    let Some(lab) = Lab::new("mixed4") else { return };
    if std::fs::read_link("/proc/self/ns/pid").unwrap().to_str() != Some("pid:[4026531836]") {
        eprintln!("SKIPPED: this is not the host");
        return;
    }
    let nested = Nested::start(&lab);
    let started = nested.run("inner", &ALL);
    assert!(started.status.success(), "{}", stderr(&started));
    let refused = lab.refused("outer", &ALL);
    assert!(refused.contains("no-capacity"), "{refused}");
    assert!(refused.contains("cannot be judged from here"), "{refused}");
    lab.ok(&["rm", "outer"]);
    let held = lab.leases();
    assert_eq!(held.len(), 1, "{held:?}");
    let id = held[0].id.as_str();
    let release = lab.command("/opt/gpulease/bin/gpulease").args(["release", id]).output().unwrap();
    assert_eq!(release.status.code(), Some(7));
    assert!(stderr(&release).contains("holder-unknown"), "{}", stderr(&release));
    kill(nested.first());
    // No daemon, no hook, no operator: by the next start.
    lab.start("outer", &ALL);
    assert_eq!(lab.devices("outer").len(), 4);
    lab.assert_sound();
    lab.ok(&["rm", "-f", "outer"]);
}

#[test]
fn a_nested_dockerd_keeps_the_hosts_leases() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("outer", &ALL);
    let nested = Nested::start(&lab);
    let refused = nested.run("inner", &ALL);
    assert_eq!(refused.status.code(), Some(125));
    let text = stderr(&refused);
    assert!(text.contains("no-capacity") && text.contains("cannot be judged from here"), "{text}");
    let id = lab.lease("outer").unwrap().id;
    let lease = json(&nested.cli(&["leases", "--json"]))["leases"][0].clone();
    assert_eq!((&lease["id"], &lease["holder"]), (&id.as_str().into(), &"unknown".into()));
    let release = json(&nested.cli(&["release", id.as_str(), "--json"]));
    assert_eq!(release["error"]["code"], "holder-unknown");
    lab.assert_sound();
    lab.ok(&["rm", "-f", "outer"]);
}
