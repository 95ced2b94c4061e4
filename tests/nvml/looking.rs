//! Who only looks does not have the library loaded.

use super::host::Host;
use super::nodes;
use crate::support::CLI;
use serde_json::{Value, json};
use std::process::Command;

/// A host whose library cannot be loaded and be silent about it.
fn host() -> Host {
    let mut node = nodes::h100x8();
    node["init"] = json!({ "crash": true });
    Host::new(&node)
}

#[test]
fn a_scan_of_files_alone_does_not_load_it() {
    let host = host();
    let found = host.scan_files();
    assert_eq!(found.node.devices.len(), 8);
    assert_eq!(found.from, ["/proc/driver/nvidia"]);
    assert!(!found.notes.iter().any(|note| note.contains("NVML")), "{:?}", found.notes);
    assert!(host.scan().notes.iter().any(|note| note.contains("SIGSEGV")), "it would have crashed");
}

#[test]
fn doctor_and_health_do_not_load_it() {
    let host = host();
    for command in ["doctor", "health"] {
        let mut call = Command::new(CLI);
        call.arg(command).arg("--root").arg(host.path("")).arg("--json");
        let said: Value = serde_json::from_slice(&call.output().unwrap().stdout).unwrap();
        let checks = said["checks"].as_array().unwrap();
        let devices = checks.iter().find(|check| check["code"] == "devices").unwrap();
        assert_eq!(devices["message"], "8 devices, by /proc/driver/nvidia", "{command}: {said:#}");
        assert!(!said.to_string().contains("SIGSEGV"), "{command}: {said:#}");
    }
}
