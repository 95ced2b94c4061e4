//! A node with GPUs in MIG mode, as the commands show it.

use super::support::{CLI, Host, needs_root, ok};
use super::{fails, row, says, stdout, tells};
use serde_json::{Value, json};
use std::process::Command;

const PROFILE: &[(&str, &str)] = &[("gpulease/mig-profile", "1g.5gb"), ("gpulease/count", "2")];

#[test]
fn instances_stand_under_their_gpu() {
    needs_root!();
    let host = Host::new("a100x4");
    ok(host.start("two", PROFILE));
    let text = says(&host, &["devices"]);
    let places: Vec<&str> =
        text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(places[1..8], ["0", "1", "2", "2:0", "2:1", "2:2", "2:3"]);
    assert_eq!(row(&text, "2")[6..10], ["MIG", "mode", "0", "1"], "{text}");
    let expected = ["2:2", "MIG-9a1e", "nvidia", "MIG", "1g.5gb", "4.7Gi", "0m", "0Mi", "1"];
    assert_eq!(row(&text, "2:2")[..9], expected, "{text}");
    assert_eq!(row(&text, "2:0")[5..8], ["19.6Gi", "1000m", "19.6Gi"], "{text}");

    let devices = tells(&host, &["devices"]);
    let devices = devices.as_array().unwrap();
    let shown = |at: usize, key: &str| devices[at][key].clone();
    assert_eq!((shown(0, "mig_mode"), shown(0, "mig")), (json!(false), Value::Null));
    assert_eq!((shown(2, "mig_mode"), shown(2, "mig")), (json!(true), Value::Null));
    // What a GPU in MIG mode has is its instances': nothing is counted twice.
    assert_eq!((shown(2, "milli_free"), shown(2, "memory_free_bytes")), (json!(0), json!(0)));
    assert_eq!((shown(5, "index"), shown(5, "milli_free")), (json!(2), json!(0)));
    let gpu = devices[2]["uuid"].as_str().unwrap();
    let mig = json!({ "parent": gpu, "profile": "1g.5gb", "index": 2, "gi": 9, "ci": 0 });
    assert_eq!(shown(5, "mig"), mig);

    let leases = says(&host, &["leases"]);
    assert!(leases.contains("  2:2-3  "), "{leases}");
    let leases = tells(&host, &["leases"]);
    assert_eq!(leases["leases"][0]["devices"][0]["mig"], mig);
    assert_eq!(leases["leases"][0]["isolation"]["effective"], "mig");
    assert_eq!(leases["leases"][0]["isolation"]["memory_enforcement"], "simulated");
    assert!(says(&host, &["inventory", "show"]).contains("/dev/nvidia-caps/nvidia-cap291"));
}

#[test]
fn the_table_of_devices_fits_a_terminal() {
    needs_root!();
    let host = Host::new("a100x4");
    let shell = format!(
        "stty cols 80; exec {CLI} --gpulease-config {} --color never devices",
        host.config().display()
    );
    let output = Command::new("script").args(["-qec", &shell, "/dev/null"]).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    // No cell is broken: a line for each device, the titles, and the two at the end.
    assert_eq!(lines.len(), 15 + 1 + 2, "{text}");
}

#[test]
fn explain_tells_gpus_and_instances_apart() {
    needs_root!();
    let host = Host::new("a100x4");
    let text = says(&host, &["explain", "mig-profile=1g.5gb", "count=2"]);
    assert!(text.contains("count=2 mig-profile=1g.5gb sharing=exclusive isolation=mig"), "{text}");
    assert_eq!(row(&text, "2:2")[1], "MIG-9a1e", "{text}");
    assert!(text.contains("\nisolation: mig, which the driver of a real device would"), "{text}");
    assert!(text.contains("\nnote: a CUDA process uses one MIG instance"), "{text}");
    let one = says(&host, &["explain", "isolation=mig"]);
    assert!(!one.contains("note:") && one.contains("\n  2:2  "), "{one}");
    let told = tells(&host, &["explain", "mig-profile=1g.5gb", "devices=2:3"]);
    assert_eq!(told["request"]["mig_profile"], "1g.5gb");
    assert_eq!(told["request"]["devices"], json!(["2:3"]));
    let granted = &told["grant"]["devices"][0];
    assert_eq!((&granted["index"], &granted["mig_index"]), (&json!(2), &json!(3)));
    assert!(
        tells(&host, &["explain", "count=1"])["grant"]["devices"][0].get("mig_index").is_none()
    );

    let refused = host.cli(&["explain", "count=3"]);
    assert_eq!(refused.status.code(), Some(3));
    let text = stdout(&refused);
    assert!(text.contains("3 devices asked for, 2 of 4 can be had"), "{text}");
    assert_eq!(row(&text, "2:0")[4..9], ["3g.20gb", "a", "MIG", "instance,", "and"], "{text}");
    let hint = "leave out `gpulease/memory`";
    fails(&host, &["explain", "isolation=mig", "memory=4Gi"], 2, "bad-request", hint);
}
