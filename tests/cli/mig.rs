//! A node with GPUs in MIG mode, as the commands show it.

use super::support::{CLI, Host, needs_root, ok};
use super::{fails, row, says, stdout, tells};
use gpulease::door::inventory::profiles::find;
use serde_json::{Value, json};
use std::fs;
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

    let devices = tells(&host, &["devices"])["devices"].take();
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
    assert!(text.contains("\nisolation: mig; compute and memory would be enforced on"), "{text}");
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
    assert!(text.contains("3 devices requested, 2 of 4 available"), "{text}");
    assert_eq!(row(&text, "2:0")[4..9], ["3g.20gb", "a", "MIG", "instance,", "but"], "{text}");
    // What there is too little of is counted, and not the GPUs.
    let refused = stdout(&host.cli(&["explain", "mig-profile=1g.5gb", "count=40"]));
    assert!(refused.contains("hint: the node has ") && refused.contains("x 1g.5gb"), "{refused}");
    assert!(!refused.contains("x NVIDIA"), "{refused}");
    let hint = "leave out `gpulease/memory`";
    fails(&host, &["explain", "isolation=mig", "memory=4Gi"], 2, "bad-request", hint);
}

/// What a shell would run of it.
fn commands(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

fn plan(args: &[&str]) -> (String, Value) {
    let run = |more: &[&str]| {
        let output = Command::new(CLI).args(["mig", "plan"]).args(args).args(more).output();
        stdout(&ok(output.unwrap()))
    };
    (run(&[]), serde_json::from_str(&run(&["--json"])).unwrap())
}

#[test]
fn a_plan_needs_no_gpu_and_no_root() {
    let (text, json) = plan(&["--model", "A100 80GB", "1g.10gb", "1g.10gb", "3g.40gb"]);
    // Which GPU it will be, nobody knows yet.
    assert_eq!(commands(&text), [""; 0]);
    let create = "nvidia-smi mig -i GPU -cgi 3g.40gb:0,1g.10gb:4,1g.10gb:5 -C";
    assert!(text.contains(&format!("# {create}\n")), "{text}");
    assert!(text.contains("\n#   3g.40gb      slots 0-3\n"), "{text}");
    assert!(text.contains("the driver resets it"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let told = &json["plans"][0];
    assert_eq!(told["commands"], json!([]), "to be run on no host");
    assert_eq!(told["commands_for_a_real_gpu"], json!(["nvidia-smi -i GPU -mig 1", create]));
    assert_eq!(told["instances"][2], json!({ "profile": "1g.10gb", "start": 5, "slots": 1 }));
    assert_eq!((&told["gpu"], &told["geometry"]), (&Value::Null, &json!("A100 80GB")));
    let (text, _) = plan(&["--model", "h200", "1g.18gb", "--count", "7"]);
    assert!(text.contains(",1g.18gb:6 -C"), "{text}");
    let (text, json) = plan(&["--model", "A100 80GB", "3g.40gb:4", "1g.10gb"]);
    assert!(text.contains(" -cgi 1g.10gb:0,3g.40gb:4 -C\n"), "{text}");
    assert_eq!(json["plans"][0]["instances"][1]["start"], 4);
    let (text, _) = plan(&["--model", "h200", "1g.18gb", "--count", "7"]);
    assert!(!text.contains("the driver resets it"), "{text}");
}

#[test]
fn a_plan_goes_by_what_the_gpus_have() {
    needs_root!();
    let host = Host::new("a100x4");
    let text = says(&host, &["mig", "plan", "--gpu", "0,1", "4g.20gb", "1g.5gb*3"]);
    assert_eq!(commands(&text), [""; 0], "they are simulated");
    for gpu in [0, 1] {
        assert!(text.contains(&format!("# GPU {gpu}, NVIDIA A100-SXM4-40GB (simulated")), "{text}");
        assert!(text.contains(&format!("# nvidia-smi -i {gpu} -mig 1\n")), "{text}");
    }
    assert!(text.contains("-cgi 4g.20gb:0,1g.5gb:4,1g.5gb:5,1g.5gb:6 -C\n"), "{text}");
    let json = tells(&host, &["mig", "plan", "--gpu", "2", "--replace", "1g.5gb*7"]);
    assert_eq!(json["plans"][0]["commands"], json!([]), "a shell would change a real GPU 2");
    assert!(json["plans"][0]["warnings"].to_string().contains("would change a real GPU"), "{json}");
    let lines = json["plans"][0]["commands_for_a_real_gpu"].as_array().unwrap();
    assert_eq!(lines[..2], ["nvidia-smi mig -i 2 -dci", "nvidia-smi mig -i 2 -dgi"]);
    assert_eq!(lines.len(), 3, "it is in MIG mode already: {lines:?}");

    // A GPU with room beside its instances: where they lie, the inventory does not say.
    let toml = find("a100x4").unwrap().toml;
    let from = toml.find("uuid = \"MIG-5d32fe61").unwrap();
    let from = toml[..from].rfind("[[device.mig]]").unwrap();
    let to = from + 10 + toml[from + 10..].find("[[device.mig]]").unwrap();
    fs::write(host.path("etc/devices.toml"), format!("{}{}", &toml[..from], &toml[to..])).unwrap();
    let json = tells(&host, &["mig", "plan", "--gpu", "2", "2g.10gb"]);
    let plan = &json["plans"][0];
    assert_eq!(plan["kept"], json!(["3g.20gb", "1g.5gb", "1g.5gb"]));
    let create = "nvidia-smi mig -i 2 -cgi 2g.10gb -C";
    assert_eq!(plan["commands_for_a_real_gpu"], json!([create]));
    assert_eq!(plan["instances"][0]["start"], Value::Null);
    let json = tells(&host, &["mig", "plan", "--gpu", "2", "2g.10gb:0"]);
    let plan = &json["plans"][0];
    assert_eq!(plan["instances"][0]["start"], 0);
    let create = json!(["nvidia-smi mig -i 2 -cgi 2g.10gb:0 -C"]);
    assert_eq!(plan["commands_for_a_real_gpu"], create);
    assert!(plan["warnings"].to_string().contains("mig -lgi"), "{plan}");
    fails(&host, &["mig", "plan", "--gpu", "2", "3g.20gb"], 3, "no-capacity", "--replace");
}

#[test]
fn a_plan_that_cannot_be_is_refused_with_the_reason() {
    needs_root!();
    let host = Host::new("a100x4");
    let refused = |args: &[&str], status, code, hint| {
        fails(&host, &[&["mig", "plan"], args].concat(), status, code, hint);
    };
    refused(&["1g.5gb"], 2, "bad-request", "--model");
    refused(&["--gpu", "0"], 2, "bad-request", "");
    refused(&["--gpu", "0", "--model", "A30", "1g.6gb"], 2, "bad-request", "");
    refused(&["--gpu", "0", "1g5gb"], 2, "bad-request", "1g.10gb");
    refused(&["--gpu", "0", "1g.5gb*0"], 2, "bad-request", "*7");
    refused(&["--gpu", "0", "1g.5gb*x"], 2, "bad-request", "*7");
    refused(&["--gpu", "0", "3g.20gb:x"], 2, "bad-request", "3g.40gb:4");
    refused(&["--gpu", "0", "3g.20gb:2"], 2, "bad-request", "leave the slot out");
    refused(&["--gpu", "0", "1g.5gb:0*2"], 2, "bad-request", "1g.10gb:1");
    refused(&["--gpu", "0", "1g.5gb", "--count", "0"], 2, "bad-request", "*7");
    refused(&["--gpu", "0", "1c.3g.20gb"], 2, "bad-request", "-cci");
    refused(&["--gpu", "0,0", "1g.5gb"], 2, "bad-request", "");
    refused(&["--gpu", "9", "1g.5gb"], 3, "no-match", "gpulease devices");
    refused(&["--gpu", "0", "1g.10gb+me"], 3, "no-match", "4g.20gb");
    refused(&["--model", "L40S", "1g.5gb"], 3, "no-match", "GB200 186GB");
    refused(&["--model", "A100", "1g.5gb"], 3, "no-match", "A100 80GB");
    let output = host.cli(&["mig", "plan", "--model", "H100", "1g.10gb"]);
    let text = super::stderr(&output);
    let ambiguous = "`H100` is ambiguous, it could be H100 80GB, H100 94GB, H100 96GB";
    assert!(text.contains(ambiguous), "{text}");
    refused(&["--model", "A100 60GB", "1g.5gb"], 3, "no-match", "the models are");
    refused(&["--gpu", "0", "1g.5gb*8"], 3, "no-capacity", "7 × 1g.5gb");
    refused(&["--gpu", "0", "3g.20gb*2", "1g.5gb"], 3, "no-capacity", "");
    // What is leased is not destroyed.
    ok(host.start("two", PROFILE));
    refused(&["--gpu", "2", "--replace", "7g.40gb"], 7, "already-leased", "stop its container");
    let output = host.cli(&["mig", "plan", "--gpu", "2", "--replace", "7g.40gb"]);
    let text = super::stderr(&output);
    assert!(text.contains("MIG 2:2 is held by lease l-"), "{text}");
    assert!(text.contains("of container two"), "{text}");
    let mixed = Host::new("mixed4");
    let args = &["mig", "plan", "--gpu", "2", "1g.5gb"];
    fails(&mixed, args, 3, "no-match", "only NVIDIA's GPUs have MIG");
}
