//! `gpulease doctor` and `gpulease health` on faked nodes: one that is healthy, and the same one
//! with a fault planted. All of it works without root, too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as tests"
)]

#[path = "doctor/garbage.rs"]
mod garbage;
#[path = "support/golden.rs"]
mod golden;
#[path = "doctor/node.rs"]
mod node;
#[path = "doctor/planted.rs"]
mod planted;

use node::{CLI, Node, codes, is_not_asked};
use std::process::Command;

#[test]
fn a_healthy_node_has_no_finding() {
    let node = Node::healthy();
    let before = node.listing();
    let (status, checks) = node.doctor();
    assert_eq!(status, 0, "{checks:#?}");
    assert_eq!(codes(&checks), Vec::<String>::new(), "{checks:#?}");
    // Nothing was left out: every kind of check has passed.
    let passed: Vec<&str> = checks.iter().map(|check| check["code"].as_str().unwrap()).collect();
    for code in [
        "configuration",
        "engine",
        "shim",
        "hook",
        "run-dir",
        "records",
        "devices",
        "inventory",
        "default-request",
        "hooks-dirs",
        "cgroups",
    ] {
        assert!(passed.contains(&code), "{code}: {passed:?}");
    }
    // But for the versions of the runtime and of systemd.
    assert_eq!(checks.iter().filter(|check| is_not_asked(check)).count(), 2, "{checks:#?}");
    assert_eq!(passed.iter().filter(|code| **code == "engine").count(), 4, "{checks:#?}");
    assert_eq!(node.listing(), before, "looking changes nothing");
    let (status, health) = node.health();
    assert_eq!((status, &health["healthy"]), (0, &true.into()), "{health:#}");
    assert_eq!(node.listing(), before, "looking changes nothing");
}

#[test]
fn each_answer_is_the_golden_one() {
    // The answers say whose they are.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let node = Node::healthy();
    let root = node.path("etc").parent().unwrap().to_owned();
    let check = |name: &str, command: &str| {
        let output = node.cli(&[command, "--json"]);
        let mut answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // Texts are for people: another one is no change of the form.
        for check in answer["checks"].as_array_mut().unwrap() {
            check["message"] = "MESSAGE".into();
        }
        golden::check(name, answer, &root);
    };
    check("health", "health");
    node.remove("usr/local/bin/gpulease-hook");
    check("doctor", "doctor");
    check("health-fault", "health");
}

#[test]
fn a_limit_that_holds_is_no_finding() {
    for limit in ["4096", "1"] {
        let node = Node::healthy();
        node.limited_lease(&format!("drm/0000:01:00.0/vram {limit}\n"));
        let (status, checks) = node.doctor();
        assert_eq!((status, codes(&checks)), (0, Vec::new()), "{checks:#?}");
    }
}

#[test]
fn what_is_not_installed_is_no_finding() {
    let node = Node::healthy();
    for engine in ["containerd", "podman", "crio"] {
        node.remove(&format!("usr/bin/{engine}"));
    }
    let (status, checks) = node.doctor();
    assert_eq!((status, codes(&checks)), (0, Vec::new()), "{checks:#?}");
}

#[test]
fn podman_by_its_hook_needs_no_shim() {
    let node = Node::healthy();
    let given = include_str!("../hooks/podman-precreate/60-gpulease.json");
    for hook in [given, planted::OUR_HOOK] {
        planted::precreate(&node, hook);
        // Whoever reads later appends, once somebody has said so.
        let later = "[engine]\nhooks_dir = [\"/usr/share/other/hooks.d\"]\n";
        node.write("etc/containers/containers.conf.d/99-other.conf", later);
        let (status, checks) = node.doctor();
        assert_eq!((status, codes(&checks)), (0, Vec::new()), "{checks:#?}");
    }
    for name in ["usr/bin/dockerd", "usr/bin/containerd", "usr/bin/crio"] {
        node.remove(name);
    }
    node.remove("etc/docker/daemon.json");
    node.remove("etc/containers/containers.conf.d/gpulease.conf");
    node.remove("usr/local/bin/gpulease-runtime");
    let (status, checks) = node.doctor();
    assert_eq!((status, codes(&checks)), (0, Vec::new()), "{checks:#?}");
    let calls = |check: &serde_json::Value| {
        check["message"].as_str().unwrap().starts_with("Podman calls gpulease-hook by ")
    };
    assert!(checks.iter().any(calls), "{checks:#?}");
}

#[test]
fn nothing_below_another_root_is_executed() {
    let node = Node::healthy();
    let ran = node.path("ran");
    for name in ["runc", "crun", "systemctl", "dockerd", "containerd", "podman", "crio"] {
        node.program(&format!("usr/bin/{name}"), &format!("echo {name} >>'{}'", ran.display()));
    }
    for runtime in ["# the defaults\n", "runtime = \"/usr/bin/crun\"\n"] {
        node.write("etc/gpulease/config.toml", runtime);
        let (status, checks) = node.doctor();
        assert_eq!((status, codes(&checks)), (0, Vec::new()), "{checks:#?}");
        assert_eq!(checks.iter().filter(|check| is_not_asked(check)).count(), 2, "{checks:#?}");
        assert_eq!(node.health().0, 0);
    }
    assert!(!ran.exists(), "{:?}", std::fs::read_to_string(&ran));
    // It would have been noticed.
    node.doctor_of_runtime("usr/bin/runc");
    assert!(ran.exists());
}

#[test]
fn the_version_of_the_hosts_own_runtime_is_asked() {
    let node = Node::healthy();
    // Whether the first is a problem depends on whether this host has systemd.
    for (script, codes, text) in [
        ("echo 'runc version 1.1.5+ds1'", ["runc-daemon-reload", "runtime"], "is runc 1.1.5+ds1"),
        ("echo 'runc version 1.2.6'", ["runtime"; 2], "is runc 1.2.6"),
        ("echo surprise", ["unchecked"; 2], "has no version"),
        ("exit 3", ["unchecked"; 2], "it failed: exit status: 3"),
    ] {
        node.program("usr/bin/runc", script);
        let checks = node.doctor_of_runtime("usr/bin/runc");
        let [check] = &checks[..] else { panic!("{script}: {checks:#?}") };
        assert!(codes.contains(&check["code"].as_str().unwrap()), "{script}: {check:#}");
        assert!(check["message"].as_str().unwrap().contains(text), "{script}: {check:#}");
    }
}

#[test]
fn a_runtime_that_others_can_replace_is_not_executed() {
    let node = Node::healthy();
    let ran = node.path("ran");
    node.program("opt/a/b/runc", &format!("echo >>'{}'", ran.display()));
    node.chmod("opt", 0o777);
    let checks = node.doctor_of_runtime("opt/a/b/runc");
    let [check] = &checks[..] else { panic!("{checks:#?}") };
    assert_eq!(check["code"], "runtime-insecure", "{check:#}");
    assert!(check["fix"].as_str().unwrap().ends_with("/opt`"), "{check:#}");
    assert!(!ran.exists());
}

#[test]
fn text_shows_findings_and_on_demand_the_rest() {
    let node = Node::healthy();
    let says = |arguments: &[&str]| {
        let output = node.cli(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, text) = says(&["doctor"]);
    assert_eq!(status, Some(0));
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("not-root")).collect();
    assert!(lines.last().unwrap().starts_with("0 faults"), "{text}");
    assert!(text.contains("passed (-v shows them)"), "{text}");
    assert!(!text.contains(" ok: "), "{text}");
    let (_, text) = says(&["doctor", "-v"]);
    assert!(text.contains("     ok: ") && text.contains("[engine]"), "{text}");

    node.chmod("run/gpulease", 0o777);
    node.write("etc/docker/daemon.json", r#"{"default-runtime": "gone"}"#);
    let (status, text) = says(&["doctor"]);
    assert_eq!(status, Some(1));
    // Words that cannot be broken, such as paths, may be longer.
    let long =
        text.lines().filter(|line| line.chars().count() > 80 && line.matches(' ').count() > 12);
    assert_eq!(long.count(), 0, "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("2 faults"), "{text}");
    assert!(text.contains("\n  fault: ") && text.contains("\n    fix: `chmod 0755 "), "{text}");
    let (status, text) = says(&["health"]);
    assert_eq!(status, Some(1));
    assert!(text.starts_with("unhealthy: run-dir-mode: ") && text.lines().count() == 1, "{text}");
}

#[test]
fn the_json_has_four_fields_for_each_check() {
    let node = Node::healthy();
    node.chmod("run/gpulease", 0o777);
    let (status, checks) = node.doctor();
    assert_eq!(status, 1);
    for check in &checks {
        let check = check.as_object().unwrap();
        assert_eq!(check.keys().collect::<Vec<_>>(), ["code", "level", "message", "fix"]);
        let level = check["level"].as_str().unwrap();
        assert!(["ok", "note", "warning", "fault"].contains(&level), "{level}");
        assert_eq!(check["fix"].is_null(), level == "ok", "{check:?}");
        let code = check["code"].as_str().unwrap();
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{code}");
        let message = check["message"].as_str().unwrap();
        assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
    }
}

#[test]
fn every_command_has_the_same_word_for_a_lease() {
    let node = Node::healthy();
    node.lease_that_is_over();
    let (_, checks) = node.doctor();
    let found = checks.iter().find(|check| check["code"] == "leases-dead").unwrap();
    let message = found["message"].as_str().unwrap();
    assert_eq!(
        message,
        "1 lease without a live holder (1 over); the next start takes the devices that it holds"
    );
}

#[test]
fn a_directory_that_is_no_root_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["doctor", "health"] {
        for root in [dir.path().to_owned(), dir.path().join("none")] {
            let output = Command::new(CLI).args([command, "--root"]).arg(&root).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{text}");
            let expected = format!("`{}` is not the root of a host: ", root.display());
            assert!(text.contains(&expected) && output.stdout.is_empty(), "{text}");
        }
    }
}

#[test]
fn a_root_without_proc_is_no_user_namespace() {
    let node = Node::healthy();
    node.remove("proc/self/uid_map");
    let (_, checks) = node.doctor();
    let about = |word: &str| checks.iter().find(|check| check.to_string().contains(word));
    assert!(about("user-namespace").is_none(), "{checks:#?}");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(about("uid_map").unwrap()["code"], "unchecked");
    }
}

#[test]
fn a_lease_directory_of_others_is_not_healthy() {
    if !nix::unistd::geteuid().is_root() {
        return; // This user can read its own record.
    }
    use std::os::unix::process::CommandExt;
    let node = Node::healthy();
    node.install_cli();
    let health = || {
        let mut command = Command::new(node.path("gpulease"));
        command.args(["health", "--root"]).arg(node.path("etc").parent().unwrap());
        let output = command.env_remove("GPULEASE_CONFIG").uid(65534).gid(65534).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    node.remove("run/gpulease");
    let (status, text) = health();
    assert_eq!(status, Some(0), "{text}");
    assert!(text.ends_with("run/gpulease does not exist yet\n"), "{text}");
    node.write("var/lib/gpulease/run_dir", "/etc/gpulease/config.toml\t/run/before\tboot\n");
    node.chmod("var/lib/gpulease/run_dir", 0o600);
    let (status, text) = health();
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("earlier leases was not checked"), "{text}");
}

#[test]
fn doctor_tells_any_user_what_was_not_checked() {
    if !nix::unistd::geteuid().is_root() {
        return; // Then all of these tests show it.
    }
    use std::os::unix::process::CommandExt;
    let node = Node::healthy();
    node.install_cli();
    node.chmod("etc/docker/daemon.json", 0o600);
    node.chmod("run/gpulease/inventory.json", 0o600);
    let ask = |command: &str| {
        let mut asked = Command::new(node.path("gpulease"));
        asked.args([command, "--json", "--root"]).arg(node.path(""));
        asked.env_remove("GPULEASE_CONFIG").uid(65534).gid(65534).output().unwrap()
    };
    // What could not be seen is no fault, and is not called healthy either.
    let health = ask("health");
    let said: serde_json::Value = serde_json::from_slice(&health.stdout).unwrap();
    assert_eq!(health.status.code(), Some(3), "{said:#}");
    assert_eq!((&said["health"], said["healthy"].is_null()), (&"unknown".into(), true));
    // A fault that is seen is one, whatever else is not.
    node.chmod("run/gpulease", 0o777);
    let health = ask("health");
    let said: serde_json::Value = serde_json::from_slice(&health.stdout).unwrap();
    assert_eq!((health.status.code(), &said["health"]), (Some(1), &"unhealthy".into()), "{said:#}");
    node.chmod("run/gpulease", 0o755);
    let output = ask("doctor");
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    assert_eq!(output.status.code(), Some(0), "{checks:#?}");
    let unchecked: Vec<&str> = checks
        .iter()
        .filter(|check| check["code"] == "unchecked")
        .map(|check| check["message"].as_str().unwrap())
        .collect();
    for file in ["daemon.json", "inventory.json", "/lock"] {
        assert!(unchecked.iter().any(|text| text.contains(file)), "{file}: {unchecked:#?}");
    }
    assert!(checks.iter().any(|check| check["code"] == "not-root"));
    assert!(checks.iter().all(|check| check["level"] != "fault"), "{checks:#?}");
}

#[test]
fn a_named_configuration_is_the_callers() {
    let node = Node::healthy();
    let named = node.path("named.toml");
    node.write("named.toml", "run_dir = \"/run/elsewhere\"\n");
    let output = node.cli(&["doctor", "--json", "--gpulease-config", named.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("run-dir-missing") && text.contains("/run/elsewhere"), "{text}");
    assert!(text.contains("named.toml"), "{text}");
}

/// The sockets of an MPS daemon lie below `run_dir`, and their paths have a limit.
#[test]
fn a_lease_directory_that_is_too_deep_for_mps_is_told() {
    let node = Node::healthy();
    let told = |run_dir: &str, daemon: &str| {
        let text = format!("run_dir = {run_dir:?}\n[mps]\ndaemon = {daemon:?}\n");
        node.write("etc/gpulease/config.toml", text);
        let (_, checks) = node.doctor();
        let found = checks.iter().find(|check| check["code"] == "mps-path-too-long").cloned();
        found.map(|check| format!("{} {}", check["level"], check["message"]))
    };
    let deep = format!("/run/{}", "x".repeat(60));
    assert_eq!(told(&deep, "device"), None, "nobody starts a daemon here");
    node.write("usr/bin/nvidia-cuda-mps-control", "");
    let said = told(&deep, "device").unwrap();
    assert!(said.contains("fault") && said.contains("less than 108"), "{said}");
    // The path counts as it is on the host, and a lease's daemon has a shorter name.
    assert!(said.contains(&format!("`{deep}/mps/GPU-")), "{said}");
    assert_eq!(told(&deep[..40], "lease"), None);
    assert_eq!(told("/run/gpulease", "device"), None);
}
