//! Builds and Compose on a node on which everything is wired to gpulease.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, env_of, stdout};
use crate::support::engine::RUNTIME;
use crate::support::{ok, stderr};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

/// Its steps and its result tell what they see of GPUs.
const DOCKERFILE: &str = "FROM busybox:allgpus
RUN env > /env && ls /dev > /nodes && ! test -e /dev/nvidia0
COPY Dockerfile /copied
RUN test -s /copied && echo second >> /nodes
CMD [\"cat\", \"/nodes\"]
";

/// Keeps what it is called with, before it becomes gpulease.
const TELLING: &str = "#!/bin/sh
echo \"$*\" >>/root/calls
exec /opt/gpulease/bin/gpulease-runtime \"$@\"
";

/// How many containers Docker's default runtime has made.
fn made(lab: &Lab) -> usize {
    let calls = fs::read_to_string(lab.path("/root/calls")).unwrap_or_default();
    calls.lines().filter(|call| call.contains(" create ")).count()
}

/// A node whose every engine has gpulease as its default runtime, by `gpulease install`; Docker's
/// tells what it is called with.
fn wired() -> Option<Lab> {
    let profile = gpulease::door::inventory::profiles::find("h100x8").unwrap();
    let mut lab = Lab::with(profile.toml, false)?;
    for engine in ["docker", "podman", "containerd", "crio"] {
        let install = ["install", engine, "--default-runtime"];
        ok(lab.command("/opt/gpulease/bin/gpulease").args(install).output().unwrap());
    }
    let (telling, daemon) = (lab.path("/opt/telling"), lab.path("/etc/docker/daemon.json"));
    fs::write(&telling, TELLING).unwrap();
    fs::set_permissions(&telling, fs::Permissions::from_mode(0o755)).unwrap();
    let text = fs::read_to_string(&daemon).unwrap();
    assert!(text.contains(RUNTIME));
    fs::write(&daemon, text.replace(RUNTIME, "/opt/telling")).unwrap();
    lab.restart_dockerd();
    assert_eq!(lab.ok(&["info", "--format", "{{.DefaultRuntime}}"]).trim(), "gpulease");
    Some(lab)
}

fn build(lab: &Lab, buildkit: &str, tag: &str) -> Output {
    let context = lab.path("/root/context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    let mut command = lab.command("docker");
    command.env("DOCKER_BUILDKIT", buildkit);
    command.args(["build", "--no-cache", "--network", "none", "--tag", tag, "/root/context"]);
    command.output().unwrap()
}

#[test]
fn a_build_is_unharmed_and_gets_nothing() {
    let Some(lab) = wired() else { return };
    // BuildKit has a runc of its own; the classic builder makes containers as Docker does.
    for (builder, buildkit, steps) in [("classic", "0", 2), ("buildkit", "1", 0)] {
        let before = made(&lab);
        let output = ok(build(&lab, buildkit, &format!("built:{builder}")));
        assert_eq!(made(&lab) - before, steps, "{builder}");
        // Each of them tells its progress in its own way, and in a place of its own.
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(said.contains("Step 2/5"), builder == "classic", "{said}");
        let image = format!("built:{builder}");
        let show = |file: &str| {
            let run = ["run", "--rm", "--network", "none", &image, "cat", file];
            lab.ok(&run)
        };
        let nodes = show("/nodes");
        assert!(nodes.contains("null\n") && nodes.ends_with("second\n"), "{nodes}");
        assert!(!nodes.contains("nvidia"), "{nodes}");
        let env = env_of(&show("/env"));
        // As the image has it: what asks for no GPU is not touched.
        assert_eq!(env["NVIDIA_VISIBLE_DEVICES"], "all");
        assert!(!env.contains_key("GPULEASE_SIMULATED"));
        assert!(!lab.path("/run/gpulease").exists(), "{builder}: no state for a build");
    }
    // Nor does it matter that nothing is free, or that gpulease itself is broken.
    lab.start("holder", &ALL);
    let leases = lab.leases();
    assert_eq!(leases[0].devices.len(), 8);
    lab.configure("no_such_key = 1");
    for buildkit in ["0", "1"] {
        ok(build(&lab, buildkit, "built:broken"));
        assert_eq!(lab.leases(), leases);
    }
    lab.ok(&["rm", "-f", "holder"]);
    lab.assert_no_lease("docker rm -f");
}

#[test]
fn a_step_that_fails_says_why() {
    let Some(lab) = wired() else { return };
    let context = lab.path("/root/failing");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM busybox:lab\nRUN echo hello && exit 7\n").unwrap();
    for buildkit in ["0", "1"] {
        let mut command = lab.command("docker");
        command.env("DOCKER_BUILDKIT", buildkit);
        let build = ["build", "--no-cache", "--network", "none", "/root/failing"];
        let output = command.args(build).output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        assert!(!output.status.success() && said.contains("exit 7"), "{said}");
        assert!(said.contains("hello") && !said.contains("gpulease"), "{said}");
    }
}

const COMPOSE: &str = include_str!("../../packaging/examples/compose.yaml");

/// The lab has no network to join.
const WITHOUT_NETWORK: &str = "services:
  worker: { network_mode: none }
  embedder: { network_mode: none }
";

fn compose(lab: &Lab, words: &[&str]) -> Output {
    let fixed = ["compose", "-p", "example", "-f", "/root/compose.yaml", "-f", "/root/lab.yaml"];
    lab.docker(&[&fixed, words].concat())
}

/// The names of the containers of a service that run.
fn running(lab: &Lab, service: &str) -> Vec<String> {
    let filter = format!("label=com.docker.compose.service={service}");
    let names = lab.ok(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_compose_example_does_what_it_says() {
    let Some(lab) = Lab::new("h100x8") else { return };
    fs::write(lab.path("/root/compose.yaml"), COMPOSE).unwrap();
    fs::write(lab.path("/root/lab.yaml"), WITHOUT_NETWORK).unwrap();
    lab.ok(&["tag", "busybox:lab", "busybox:1.36"]);
    ok(compose(&lab, &["up", "-d", "--pull", "never"]));
    let workers = running(&lab, "worker");
    let [first, second] = &workers[..] else { panic!("{workers:?}") };
    let [embedder] = &running(&lab, "embedder")[..] else { panic!("one embedder") };
    lab.assert_sound();
    assert_ne!(lab.device(first), lab.device(second));
    for worker in &workers {
        let lease = lab.lease(worker).unwrap();
        assert_eq!((lease.devices[0].milli.0, lab.records().len()), (1000, 3));
        // What its command shows, as `docker compose up` does.
        let log = lab.ok(&["logs", worker]);
        let node = format!("nvidia{}\n", lease.devices[0].index);
        assert!(log.contains(&node), "{log}");
        assert_eq!(env_of(&log)["NVIDIA_VISIBLE_DEVICES"], lease.devices[0].uuid.as_str());
    }
    let lease = lab.lease(embedder).unwrap();
    let share = &lease.devices[0];
    assert_eq!((share.milli.0, share.memory_bytes.unwrap().0), (250, 8 << 30));
    assert!(![lab.device(first), lab.device(second)].contains(&share.index));

    // The share has one of the eight, so an eighth replica is one too many.
    let output = compose(&lab, &["up", "-d", "--pull", "never", "--scale", "worker=8"]);
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("gpulease: no-capacity: 1 NVIDIA device requested, 0 of 8"), "{text}");
    assert!(text.contains(&format!("lease {} of container", lease.id)), "{text}");
    assert_eq!(running(&lab, "worker").len(), 7);
    lab.assert_sound();
    ok(compose(&lab, &["down", "-t", "0"]));
    lab.assert_no_lease("docker compose down");
    lab.assert_all_free(8);
}
