//! `gpulease doctor` and `gpulease health` on a node with real engines, containers and leases:
//! nothing is found, unless something is wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, ONE, stdout};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Doctor's exit status and its checks.
fn doctor(lab: &Lab) -> (i32, Vec<Value>) {
    let output =
        lab.command("/opt/gpulease/bin/gpulease").args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    (output.status.code().unwrap(), report["checks"].as_array().unwrap().clone())
}

/// The codes of what is not as it should be.
fn findings(checks: &[Value]) -> Vec<&str> {
    let found = checks.iter().filter(|check| check["level"] != "ok");
    found.map(|check| check["code"].as_str().unwrap()).collect()
}

#[test]
fn a_healthy_node_in_use_has_no_finding() {
    let profile = gpulease::door::inventory::profiles::find("mixed4").unwrap();
    let Some(lab) = Lab::with(profile.toml, false) else { return };
    let gpulease = |args: &[&str]| {
        let output = lab.command("/opt/gpulease/bin/gpulease").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    gpulease(&["install", "podman"]);
    gpulease(&["install", "containerd"]);
    gpulease(&["inventory", "refresh"]);
    lab.start("web", &[&["--runtime", "gpulease"], &ONE[..]].concat());

    let (status, checks) = doctor(&lab);
    assert_eq!((status, findings(&checks)), (0, vec![]), "{checks:#?}");
    let engines = checks.iter().filter(|check| check["code"] == "engine").count();
    assert_eq!(engines, 3, "{checks:#?}");
    gpulease(&["health"]);

    let run_dir = lab.path("/run/gpulease");
    fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let hook = lab.path("/usr/share/containers/oci/hooks.d/gpulease.json");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(
        &hook,
        r#"{"version":"1.0.0","hook":{"path":"/opt/gpulease/bin/gpulease-hook"},
            "when":{"always":true},"stages":["precreate"]}"#,
    )
    .unwrap();
    let (status, checks) = doctor(&lab);
    let found = findings(&checks);
    assert_eq!(status, 1, "{checks:#?}");
    assert_eq!(found, ["run-dir-mode", "hooks-precreate"], "{checks:#?}");
    let health = lab.command("/opt/gpulease/bin/gpulease").arg("health").output().unwrap();
    assert_eq!(health.status.code(), Some(1), "{health:?}");

    fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(&hook).unwrap();
    let (status, checks) = doctor(&lab);
    assert_eq!((status, findings(&checks)), (0, vec![]), "{checks:#?}");
    lab.assert_sound();
}
