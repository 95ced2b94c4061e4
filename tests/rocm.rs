//! `gpulease-rocm` and the real librocm_smi64 over fake `/sys` trees. tests/rocm/run.sh builds the
//! program and says where it is; without that there is nothing to test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

#[path = "support/amd_machines.rs"]
mod amd_machines;
#[path = "support/fake_sys.rs"]
mod fake_sys;

use fake_sys::Sys;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// Runs it with the tree in the place of /sys. `GPULEASE_ROCM` is a command: a loader may stand
/// before the program, where the library needs a newer libc than the host has.
fn run(sys: &Sys) -> Option<Output> {
    let Ok(command) = std::env::var("GPULEASE_ROCM") else {
        eprintln!("SKIPPED: gpulease-rocm is not built; run tests/rocm/run.sh");
        return None;
    };
    let script = format!("mount --rbind \"$0\" /sys && exec {command}");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(&sys.root);
    Some(unshare.output().unwrap())
}

fn devices(sys: &Sys) -> Option<Vec<Value>> {
    let output = run(sys)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {stderr}{stdout}", output.status);
    // The library itself may print lines of its own: the last one is ours.
    let said: Value = serde_json::from_str(stdout.lines().last().unwrap()).expect(&stdout);
    assert_eq!(said["v"], 1);
    Some(said["devices"].as_array().unwrap().clone())
}

fn sensors(sys: &Sys, gpu: &str, files: &[(&str, &str)]) {
    sys.write(&format!("{gpu}/hwmon/hwmon3/name"), "amdgpu");
    for (name, text) in files {
        sys.write(&format!("{gpu}/hwmon/hwmon3/{name}"), text);
    }
}

#[test]
fn every_gpu_is_measured_and_named_by_its_render_node() {
    let sys = amd_machines::mi210x8();
    let gpu = "bus/pci/devices/0000:06:00.0";
    let files = [
        ("temp1_label", "edge"),
        ("temp1_input", "41000"),
        ("temp2_label", "junction"),
        ("temp2_input", "55000"),
        ("temp3_label", "mem"),
        ("temp3_input", "60000"),
        ("power1_average", "93000000"),
    ];
    sensors(&sys, gpu, &files);
    sys.write(&format!("{gpu}/gpu_busy_percent"), "97");
    let Some(devices) = devices(&sys) else { return };
    let minors: Vec<u64> =
        devices.iter().map(|device| device["render_minor"].as_u64().unwrap()).collect();
    assert_eq!(minors, [128, 129, 130, 131, 132, 133, 134, 135]);
    assert_eq!(
        devices[1],
        json!({
            "render_minor": 129,
            "unique_id": "93bb3629c01aea1d",
            "temperature_edge_c": 41.0,
            "temperature_junction_c": 55.0,
            "temperature_memory_c": 60.0,
            "power_w": 93.0,
            "busy_percent": 97,
        })
    );
    // Without sensors: an id, and nothing else is known.
    for key in ["temperature_edge_c", "temperature_junction_c", "power_w", "busy_percent"] {
        assert_eq!(devices[0][key], Value::Null, "{key}");
    }
    assert_eq!(devices[0]["unique_id"], "93bb3629c01aea1c");
}

/// No sensor at the edge, and no average of the power.
#[test]
fn mi300x_is_measured_by_what_it_has() {
    let sys = amd_machines::mi300x_spx();
    let files = [
        ("temp2_label", "junction"),
        ("temp2_input", "48000"),
        ("temp3_label", "mem"),
        ("temp3_input", "39000"),
        ("power1_label", "PPT"),
        ("power1_input", "137000000"),
    ];
    sensors(&sys, "bus/pci/devices/0000:27:00.0", &files);
    let Some(devices) = devices(&sys) else { return };
    assert_eq!(devices.len(), 8);
    let second = &devices[1];
    assert_eq!(
        (&second["render_minor"], &second["unique_id"]),
        (&json!(136), &json!("084cafeae17e7696"))
    );
    assert_eq!(second["temperature_junction_c"], 48.0);
    assert_eq!((&second["temperature_edge_c"], &second["power_w"]), (&Value::Null, &json!(137.0)));
}

#[test]
fn without_a_driver_it_says_so_and_fails() {
    let Some(output) = run(&Sys::new()) else { return };
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() || !output.stdout.contains(&b'{'));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("gpulease-rocm: "), "{stderr}");
}

/// What sysfs has no file for, the program beside the command tells; what it has, counts.
#[test]
fn memory_asks_the_program_that_lies_beside_it() {
    if !is_root() {
        eprintln!("SKIPPED: it takes root to mount a /sys of the test's own");
        return;
    }
    let sys = amd_machines::mi210x8();
    let gpu = "bus/pci/devices/0000:06:00.0";
    sensors(&sys, gpu, &[("temp1_label", "edge"), ("temp1_input", "41000")]);
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("gpulease");
    fs::copy(env!("CARGO_BIN_EXE_gpulease"), &program).unwrap();
    let config = dir.path().join("config.toml");
    let run = dir.path().join("run");
    fs::write(&config, format!("run_dir = '{}'\nsources = ['amd']\n", run.display())).unwrap();
    let memory = || -> Vec<Value> {
        let mut unshare = Command::new("unshare");
        let script = "mount --rbind \"$0\" /sys && exec \"$@\"";
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&sys.root);
        unshare.arg(&program).arg("--gpulease-config").arg(&config).args(["memory", "--json"]);
        let output = unshare.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["devices"].as_array().unwrap().clone()
    };
    let measured = |device: &Value| {
        let keys = ["temperature_c", "power_w", "busy_percent"];
        keys.map(|key| device[key].as_i64())
    };
    let alone = memory();
    assert_eq!(alone.len(), 8);
    assert_eq!(measured(&alone[1]), [Some(41), None, None]);
    assert_eq!(measured(&alone[0]), [None; 3]);
    let reading = |minor: u32| {
        json!({ "render_minor": minor, "temperature_edge_c": 70.5, "power_w": 93.9,
                "busy_percent": 12 })
    };
    let told = json!({ "v": 1, "devices": [reading(129), reading(130)] });
    let rocm = dir.path().join("gpulease-rocm");
    fs::write(&rocm, format!("#!/bin/sh\necho a line of the library\necho '{told}'\n")).unwrap();
    fs::set_permissions(&rocm, fs::Permissions::from_mode(0o755)).unwrap();
    let asked = memory();
    assert_eq!(measured(&asked[1]), [Some(41), Some(93), Some(12)]);
    assert_eq!(measured(&asked[2]), [Some(70), Some(93), Some(12)]);
    assert_eq!(measured(&asked[3]), [None; 3]);
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}
