//! The same, where something is refused, missing or killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, ONE};
use crate::support::engine::{stdout, wait_for};
use crate::support::{ok, stderr};
use gpulease::door::model::lease::LeaseState;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};

const HOOK_FILE: &str = "/etc/containers/gpulease-hooks.d/60-gpulease.json";
const DROP_IN: &str = "/etc/containers/containers.conf.d/90-gpulease-precreate.conf";

#[test]
fn one_too_many_is_refused_and_the_log_says_why() {
    let Some(lab) = Lab::by_precreate("crun", "mixed4") else { return };
    let log = UnixDatagram::bind(lab.path("/dev/log")).unwrap();
    log.set_nonblocking(true).unwrap();
    let said = || {
        let mut buffer = [0; 8192];
        let length = log.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    lab.start("web", &ALL);
    let lease = lab.lease("web").unwrap();
    for (request, status, code) in [
        ("gpulease/count=1", 3, "no-capacity"),
        ("gpulease/count=9", 3, "no-match"),
        ("gpulease/cuont=1", 2, "bad-request"),
    ] {
        let output = lab.run("late", &["--annotation", request]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(126), "{text}");
        let error = text.lines().last().unwrap();
        assert!(error.starts_with("Error: setting up OCI Hooks: "), "{text}");
        assert!(error.ends_with(&format!("exit status {status}")), "{text}");
        assert_eq!(lab.inspect("late", "State.Status"), "created");
        let logged = said();
        assert!(logged.starts_with("<27>gpulease-hook["), "{logged}");
        let whose = format!("]: container {}: gpulease: {code}: ", lab.id("late"));
        assert!(logged.contains(&whose) && logged.lines().count() == 1, "{logged}");
        let holder = format!("lease {}", lease.id);
        assert!(code != "no-capacity" || logged.contains(&holder), "{logged}");
        lab.assert_held(&["web"]);
        assert_eq!(lab.records().len(), 1);
        lab.remove(&["late"]);
    }
    lab.remove(&["web"]);
    lab.assert_all_free(4);
}

#[test]
fn a_missing_program_blocks_nothing() {
    for runtime in ["crun", "runc"] {
        let Some(lab) = Lab::by_precreate(runtime, "mixed4") else { return };
        for (name, program, status) in [("web", "/nope", 127), ("dir", "/etc", 126)] {
            let output = lab.run_by(&[], name, &ALL, &["busybox:lab", program]);
            assert_eq!(output.status.code(), Some(status), "{runtime}: {}", stderr(&output));
        }
        lab.start("next", &ALL);
        lab.assert_held(&["next"]);
        lab.remove(&["web", "dir", "next"]);
        lab.assert_all_free(4);
    }
}

/// Has the hook, and those that it puts in, crash at a point.
fn fail_at(lab: &Lab, point: &str) {
    let path = lab.path(HOOK_FILE);
    let mut hook: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let point = format!("GPULEASE_FAILPOINT={point}");
    hook["hook"]["env"] = serde_json::json!(["PATH=/usr/bin:/bin", point]);
    fs::write(path, hook.to_string()).unwrap();
}

const STEPS: [&str; 8] = [
    "precreate.read",
    "create.locked",
    "create.recorded",
    "bundles.after-put",
    "precreate.handed-over",
    "precreate.written",
    "bind.begin",
    "bind.recorded",
];

#[test]
fn a_hook_killed_at_any_step_blocks_nothing() {
    let Some(lab) = Lab::by_precreate("crun", "h100x8") else { return };
    for point in STEPS {
        fail_at(&lab, &format!("{point}=kill"));
        let output = lab.run("web", &ALL);
        assert!(!output.status.success(), "{point} was not reached");
        fail_at(&lab, "");
        // Another one, at once, and then the container itself.
        lab.start("next", &ALL);
        lab.remove(&["next"]);
        let start = lab.podman(&["start", "web"]);
        assert!(start.status.success(), "{point}: {}", stderr(&start));
        lab.assert_held(&["web"]);
        lab.remove(&["web"]);
        lab.assert_all_free(8);
    }
}

/// `podman system service`, which lives on whatever fails.
struct Service(Child);

impl Service {
    fn of(lab: &Lab) -> Self {
        let mut command = lab.command();
        command.args(["system", "service", "--time", "0", "unix:///run/podman.sock"]);
        let service = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the service listens", || lab.path("/run/podman.sock").exists());
        Self(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_surviving_service_does_not_block_a_start() {
    let Some(lab) = Lab::by_precreate("crun", "h100x8") else { return };
    let _service = Service::of(&lab);
    let remote = ["--url", "unix:///run/podman.sock"];
    let image = ["busybox:lab", "sleep", "1000"];
    for point in ["create.recorded", "precreate.written", "bind.begin"] {
        fail_at(&lab, &format!("{point}=kill"));
        let output = lab.run_by(&remote, "web", &ALL, &image);
        assert!(!output.status.success(), "{point} was not reached");
        fail_at(&lab, "");
        // crun runs no hook after a create that failed: the service is all that is left.
        let left: Vec<_> = lab.leases();
        assert_eq!(left.len(), 1, "{point}");
        assert_eq!(
            (left[0].state, left[0].precreate.is_some()),
            (LeaseState::Pending, point != "create.recorded")
        );
        let start = lab.podman(&[&remote[..], &["start", "web"]].concat());
        assert!(start.status.success(), "{point}: {}", stderr(&start));
        lab.assert_held(&["web"]);
        lab.remove(&["web"]);
        lab.assert_no_lease(point);
    }
    lab.assert_all_free(8);
}

#[test]
fn podman_uses_the_installed_hook() {
    let Some(lab) = Lab::by_precreate("crun", "mixed4") else { return };
    let hooks_codes = || {
        let mut doctor = lab.tool("/opt/gpulease/bin/gpulease");
        let output = doctor.args(["doctor", "--json"]).output().unwrap();
        let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = checks["checks"].as_array().unwrap().clone();
        let codes = checks.iter().filter(|check| check["level"] == "fault");
        let codes = codes.filter_map(|check| check["code"].as_str().map(str::to_owned));
        codes.filter(|code| code.starts_with("hooks-")).collect::<Vec<_>>()
    };
    lab.ok(&["info"]);
    assert_eq!(hooks_codes(), [""; 0]);
    // The default directory is read as before.
    let default = "/usr/share/containers/oci/hooks.d";
    fs::create_dir_all(lab.path(default)).unwrap();
    let other = r#"{"version":"1.0.0","hook":{"path":"/bin/touch","args":["touch","/tmp/other"]},
        "when":{"always":true},"stages":["createRuntime"]}"#;
    fs::write(lab.path(default).join("other.json"), other).unwrap();
    lab.start("web", &ONE);
    assert!(lab.path("/tmp/other").exists());
    lab.assert_held(&["web"]);
    lab.remove(&["web"]);
    fs::remove_file(lab.path(default).join("other.json")).unwrap();

    // Podman starts a container without the hook, and with no word: that is what doctor is for.
    let text = fs::read_to_string(lab.path(HOOK_FILE)).unwrap();
    let gone = text.replace("/opt/gpulease/bin/", "/opt/nowhere/");
    fs::write(lab.path(HOOK_FILE), gone).unwrap();
    lab.start("web", &ONE);
    assert!(!stdout(&ok(lab.exec("web", "ls /dev"))).contains("nvidia"));
    assert_eq!(hooks_codes(), ["hooks-program-missing"]);
    lab.remove(&["web"]);
    fs::write(lab.path(HOOK_FILE), &text).unwrap();

    // Both commands take all of it back.
    lab.gpulease(&["install", "podman"]);
    let said = lab.gpulease(&["uninstall", "podman"]);
    assert!(said.contains(HOOK_FILE) && said.contains(DROP_IN), "{said}");
    for file in [HOOK_FILE, DROP_IN, "/etc/containers/gpulease-hooks.d"] {
        assert!(!lab.path(file).exists(), "{file}");
    }
    lab.start("web", &ONE);
    assert!(!stdout(&ok(lab.exec("web", "ls /dev"))).contains("nvidia"));
    assert_eq!(hooks_codes(), [""; 0]);
}
