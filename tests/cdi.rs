//! `gpulease cdi`: what it writes and shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{CLI, Host, STUB, needs_root, ok, stderr};

/// Real to the file; the nodes are there on every Linux.
const DEVICES: &str = r#"
[[device]]
uuid = "GPU-aaaa"
vendor = "amd"
model = "A"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/full"]
[[device]]
uuid = "GPU-bbbb"
vendor = "nvidia"
model = "B"
memory_mib = 1024
pci = "0000:02:00.0"
nodes = ["/dev/zero"]
"#;

fn json(host: &Host, args: &[&str]) -> Value {
    serde_json::from_slice(&ok(host.cli(args)).stdout).unwrap()
}

#[track_caller]
fn refused(host: &Host, args: &[&str], status: i32, parts: &[&str]) {
    let output = host.cli(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

#[test]
fn one_spec_for_each_vendor_goes_where_it_is_wanted() {
    needs_root!();
    let host = Host::with_devices(DEVICES, Path::new(STUB));
    refused(&host, &["cdi", "generate"], 2, &["devices of nvidia and amd", "--vendor"]);
    refused(&host, &["cdi", "generate", "--vendor", "intel"], 3, &["no-match"]);
    let text = ok(host.cli(&["cdi", "generate", "--vendor", "amd", "--names", "uuid"])).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("cdiVersion: ") && text.contains("kind: amd.com/gpu"), "{text}");
    assert!(text.contains("name: GPU-aaaa") && !text.contains("name: '0'"), "{text}");
    let args = ["cdi", "generate", "--vendor", "amd", "--format", "json"];
    let spec: Value = serde_json::from_slice(&ok(host.cli(&args)).stdout).unwrap();
    let names: Vec<&str> =
        spec["devices"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["0", "GPU-aaaa", "all"]);
    let node = &spec["devices"][0]["containerEdits"]["deviceNodes"][0];
    assert_eq!(*node, serde_json::json!({"path": "/dev/full", "permissions": "rw"}));

    // A directory takes all; a second time writes the same over them.
    let dir = host.path("cdi");
    fs::create_dir(&dir).unwrap();
    for _ in 0..2 {
        let answer = json(&host, &["--json", "cdi", "generate", "--output", dir.to_str().unwrap()]);
        let files = answer["files"].as_array().unwrap();
        assert_eq!(files.len(), 2, "{answer}");
    }
    let mut found: Vec<_> = fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    found.sort();
    assert_eq!(found, ["gpulease-amd.yaml", "gpulease-nvidia.yaml"]);
    let file = dir.join("gpulease-nvidia.yaml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("NVIDIA_VISIBLE_DEVICES=void"), "{text}");
    let named = dir.join("mine.json");
    let args = ["cdi", "generate", "--vendor", "amd", "--output", named.to_str().unwrap()];
    ok(host.cli(&args));
    serde_json::from_slice::<Value>(&fs::read(&named).unwrap()).expect("JSON, by its name");
    refused(
        &host,
        &["cdi", "generate", "--vendor", "amd", "--output", "/proc/x/y"],
        5,
        &["/proc/x"],
    );
}

#[test]
fn simulated_devices_only_by_wish_and_marked() {
    needs_root!();
    let host = Host::new("h100x8");
    refused(&host, &["cdi", "generate"], 2, &["simulated", "--simulated"]);
    let answer = json(&host, &["--json", "cdi", "generate", "--simulated"]);
    let spec = &answer["specs"][0];
    assert_eq!(spec["annotations"]["gpulease/simulated"], "true");
    let node = &spec["devices"][0]["containerEdits"]["deviceNodes"][0];
    assert!(node["major"].as_u64().unwrap() >= 1024, "{node}");
    // The list never fails for want of specs.
    let listed = json(&host, &["--json", "cdi", "list"]);
    assert!(listed["devices"].is_array() && listed["notes"].is_array(), "{listed}");
}

/// Runs `gpulease cdi list --json` on a host whose only spec is this file.
fn listed(host: &Host, name: &str, bytes: &[u8]) -> Value {
    let file = host.path(name);
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let script =
        "mount -t tmpfs -o mode=755 none /run && mkdir /run/cdi && cp -p \"$1\" /run/cdi/ &&
        { [ ! -d /etc/cdi ] || mount -t tmpfs -o mode=755 none /etc/cdi; } &&
        exec \"$2\" --gpulease-config \"$3\" cdi list --json";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    let output = unshare.arg(&file).arg(CLI).arg(host.config()).output().unwrap();
    serde_json::from_slice(&ok(output).stdout).unwrap()
}

#[test]
fn specs_are_read_as_engines_read_them() {
    needs_root!();
    let host = Host::with_devices(DEVICES, Path::new(STUB));
    let text = "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: 0\n  containerEdits:\n    \
        deviceNodes: [{path: /dev/zero, type: c, major: 1, minor: 5, fileMode: 0660}]\n";
    let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes);
    let cases: [(&str, Vec<u8>); 4] = [
        ("octal.yaml", text.into()),
        ("mark.json", format!("\u{feff}{text}").into()),
        ("second-document.yaml", format!("{text}---\nkind: [\n").into()),
        ("utf-16.yaml", [0xff, 0xfe].into_iter().chain(utf16).collect()),
    ];
    for (name, bytes) in cases {
        let listed = listed(&host, name, &bytes);
        assert_eq!(listed["notes"], serde_json::json!([]), "{name}");
        let device = &listed["devices"][0];
        assert_eq!(device["name"], "nvidia.com/gpu=0", "{name}: {listed}");
        assert_eq!(device["uuid"], "GPU-bbbb", "{name}: {listed}");
    }
    let quoted = listed(&host, "quoted.yaml", text.replace("0660", "\"0660\"").as_bytes());
    assert_eq!(quoted["devices"], serde_json::json!([]));
    let note = quoted["notes"][0].as_str().unwrap();
    assert!(note.contains("quoted.yaml") && note.contains("fileMode"), "{note}");
}
