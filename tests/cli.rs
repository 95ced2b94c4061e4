//! The command line: what it says, in text and JSON, and how it exits.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as tests"
)]

mod support;

use gpulease::door::inventory::profiles::PROFILES;
use gpulease::door::model::lease::{Lease, LeaseState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
#[path = "cli/lease.rs"]
mod lease;
#[path = "cli/looks.rs"]
mod looks;
#[path = "cli/mig.rs"]
mod mig;

use support::{CLI, Host, STUB, needs_root, ok, stderr};

const WHOLE: &[(&str, &str)] = &[("gpulease/count", "1")];
const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that succeeds prints.
#[track_caller]
fn says(host: &Host, args: &[&str]) -> String {
    let output = ok(host.cli(args));
    assert_eq!(stderr(&output), "", "{args:?}");
    stdout(&output)
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}

/// What a command that succeeds prints with `--json`.
#[track_caller]
fn tells(host: &Host, args: &[&str]) -> Value {
    json(&ok(host.cli(&[args, &["--json"]].concat())))
}

/// Asserts a failure: its exit status, its code in both forms, a hint where `hint` is not empty.
#[track_caller]
fn fails(host: &Host, args: &[&str], status: i32, code: &str, hint: &str) {
    let output = host.cli(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    assert!(text.starts_with(&format!("gpulease: {code}: ")), "{args:?}: {text}");
    assert_eq!(stdout(&output), "", "{args:?}");
    let hints: Vec<&str> = text.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(hint.is_empty() || matches!(hints[..], [one] if one.contains(hint)), "{text}");
    let output = host.cli(&[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(status), "{args:?}");
    let error = &json(&output)["error"];
    assert_eq!(error["code"], code, "{args:?}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(error["hint"].as_str().unwrap_or("").contains(hint), "{error}");
}

/// Every file below a directory, with all that a change of it would change.
fn listing(dir: &Path) -> BTreeMap<String, (u64, i64, i64, Vec<u8>)> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let bytes = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let times = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), bytes);
            files.insert(path.display().to_string(), times);
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    files
}

fn row<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&first))
        .unwrap_or_else(|| panic!("no row `{first}` in\n{text}"))
}

fn record(host: &Host, lease: &Lease) -> std::path::PathBuf {
    host.run_dir().join("leases").join(format!("{}.json", lease.key().unwrap().file_stem()))
}

#[test]
fn devices_are_listed_with_what_is_free_of_them() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("whole", &[("gpulease/devices", "0")]));
    ok(host.start("part", &[("gpulease/compute", "0.25"), ("gpulease/devices", "2")]));
    ok(host.start("rest", &[("gpulease/compute", "0.5"), ("gpulease/devices", "2")]));
    let text = says(&host, &["devices"]);
    assert!(text.ends_with("\nsimulated: these devices do not exist\n"), "{text}");
    let expected = ["0", "GPU-e4de", "nvidia", "NVIDIA", "L40S", "44.3Gi", "0m", "0Mi", "1", "0"];
    assert_eq!(row(&text, "0")[..10], expected);
    assert_eq!(row(&text, "0")[10..], ["0000:17:00.0", "simulated"]);
    assert_eq!(row(&text, "2")[6..10], ["191Gi", "250m", "47.9Gi", "2"]);
    assert_eq!(row(&text, "3")[7..10], ["1000m", "191Gi", "0"]);
    let wide = says(&host, &["devices", "--wide"]);
    assert!(wide.contains("GPU-e4de4143-81dd-40df-8538-2c7330bfea85"), "{wide}");

    let devices = tells(&host, &["devices"])["devices"].take();
    let keys: Vec<&str> = devices[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "uuid index vendor model memory_total_bytes memory_reserved_bytes \
                    memory_capacity_bytes memory_free_bytes milli_free pci numa_node mig_mode \
                    mig ambiguous queryable fault healthy ailment busy arch brand compute_units \
                    xccs \
                    partition persistence compute_mode ecc simulated leases";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(devices[0]["milli_free"], 0);
    assert_eq!(devices[0]["leases"][0], host.lease("whole").unwrap().id.as_str());
    assert_eq!(devices[2]["leases"].as_array().unwrap().len(), 2);
    assert_eq!(devices[1]["memory_free_bytes"], devices[1]["memory_capacity_bytes"]);
    assert_eq!(devices[1]["simulated"], true);

    // The dead hold nothing, and nobody has to be asked to clear them away.
    host.kill("whole");
    let devices = tells(&host, &["devices"])["devices"].take();
    assert_eq!(
        (&devices[0]["milli_free"], &devices[0]["leases"]),
        (&1000.into(), &Value::from([0; 0].to_vec()))
    );
    assert_eq!(host.leases().len(), 3);
}

#[test]
fn a_node_without_devices_is_no_error() {
    needs_root!();
    let host = Host::with_devices("", Path::new(STUB));
    fs::remove_file(host.path("etc/devices.toml")).unwrap();
    let text = says(&host, &["devices"]);
    assert!(
        text.starts_with("no devices") && text.contains("\nhint: load the GPUs' driver"),
        "{text}"
    );
    assert_eq!(tells(&host, &["devices"])["devices"], Value::Array(Vec::new()));
    assert_eq!(says(&host, &["leases"]), "no leases\n");
    assert!(!host.run_dir().exists(), "looking makes nothing");
    let text = says(&host, &["inventory", "refresh"]);
    assert!(text.starts_with("no devices: ") && text.contains("`gpulease inventory example`"));
}

#[test]
fn health_is_told_from_what_the_source_says() {
    needs_root!();
    let toml = |healthy: &str| {
        format!(
            "[[device]]\nuuid = 'GPU-1'\nvendor = 'amd'\nmodel = 'M'\nmemory_mib = 1024\n\
             pci = '0000:01:00.0'\nnodes = ['/dev/dri/renderD128']\n{healthy}\n"
        )
    };
    for (line, state) in
        [("", "unknown"), ("healthy = true", "healthy"), ("healthy = false", "unhealthy")]
    {
        let host = Host::with_devices(&toml(line), Path::new(STUB));
        let text = says(&host, &["devices"]);
        assert_eq!(row(&text, "0").last(), Some(&state), "{text}");
        assert!(!text.contains("simulated"), "{text}");
    }
}

#[test]
fn leases_tell_who_holds_what_but_no_secret() {
    needs_root!();
    let host = Host::new("h100x8");
    let long = "0123456789abcdef".repeat(4);
    ok(host.start(&long, &[("gpulease/count", "3")]));
    ok(host.start("part", &[("gpulease/compute", "0.25"), ("gpulease/devices", "5")]));
    ok(host.start("ended", &[("gpulease/devices", "6")]));
    ok(host.start("gone", &[("gpulease/devices", "7")]));
    host.kill("ended");
    ok(host.delete("ended"));
    host.kill("gone");
    let before = listing(&host.run_dir());

    let text = says(&host, &["leases"]);
    let lease = host.lease(&long).unwrap();
    let words = row(&text, lease.id.as_str());
    assert_eq!(words[1..6], ["0123456789ab", "runc", "bound", "0-2", "237Gi"], "{text}");
    assert_eq!(words[6..8], ["whole", "simulated"], "{text}");
    assert!(words[8].ends_with('s'), "{text}");
    assert_eq!(words[9], lease.owner.pid.to_string());
    let part = row(&text, host.lease("part").unwrap().id.as_str());
    assert_eq!(part[6..8], ["time-slicing", "advisory"], "{text}");
    assert!(text.contains(" 5:250m ") && text.contains("simulated: these devices"), "{text}");
    assert_eq!(row(&text, host.lease("gone").unwrap().id.as_str())[3], "dead");
    assert!(!text.contains("ended"), "{text}");
    assert!(says(&host, &["leases", "--wide"]).contains(&long));
    let all = says(&host, &["leases", "--all"]);
    let in_grace = all.lines().find(|line| line.contains("ended")).unwrap();
    assert!(in_grace.contains(" grace ") && in_grace.ends_with(" -"), "no process: {all}");

    let told = tells(&host, &["leases", "--all"]);
    assert_eq!(told["leases"].as_array().unwrap().len(), 4);
    assert_eq!(told["corrupt"], Value::Array(Vec::new()));
    let by_id = |id: &str| {
        let leases = told["leases"].as_array().unwrap();
        leases.iter().find(|lease| lease["container_id"] == id).unwrap().clone()
    };
    assert_eq!(
        (&by_id("gone")["state"], &by_id("gone")["holder"]),
        (&"bound".into(), &"dead".into())
    );
    assert_eq!(
        (&by_id("ended")["state"], &by_id("ended")["holder"]),
        (&"grace".into(), &"gone".into())
    );
    let part = by_id("part");
    assert_eq!(part["holder"], "alive");
    assert_eq!(part["devices"][0]["milli"], 250);
    for key in ["id", "runtime_root", "engine", "created_at", "cgroup", "isolation"] {
        assert!(part.get(key).is_some(), "{key}");
    }
    for key in ["pid", "start_time", "boot_id", "pid_namespace"] {
        assert!(part["owner"].get(key).is_some(), "{key}");
    }
    for key in ["uuid", "index", "vendor", "model", "memory_bytes", "sharing", "simulated"] {
        assert!(part["devices"][0].get(key).is_some(), "{key}");
    }
    let everything = told.to_string();
    for lease in host.records().into_iter().flatten() {
        assert!(!everything.contains(lease.nonce.as_str()) && !all.contains(lease.nonce.as_str()));
    }
    assert!(!everything.contains("VISIBLE_DEVICES"), "{everything}");
    assert_eq!(listing(&host.run_dir()), before, "looking changes nothing");
}

#[test]
fn an_unreadable_record_is_shown_and_moved_aside() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    fs::write(record(&host, &host.lease("web").unwrap()), "{\u{1b}[31m").unwrap();
    let text = says(&host, &["leases"]);
    assert!(text.contains("warning: the lease record of container web cannot be read"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let told = tells(&host, &["leases"]);
    assert_eq!(told["corrupt"][0]["container_id"], "web");
    assert_eq!(told["corrupt"][0]["holder"], "alive");
    assert!(says(&host, &["devices"]).contains("warning: 1 lease record cannot be read"));
    fails(&host, &["release", "web"], 5, "corrupt-lease", "--force");
    let text = says(&host, &["release", "web", "--force"]);
    assert!(text.contains("moved the unreadable lease record of container web"), "{text}");
    assert!(host.records().is_empty());
}

#[test]
fn explain_grants_without_taking() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("dead", ALL));
    host.kill("dead");
    let before = listing(host.path("run").as_path());
    let text = says(&host, &["explain", "count=2", "gpulease/vendor=amd"]);
    assert!(text.starts_with("request: count=2 vendor=amd "), "{text}");
    assert!(text.contains("\ngranted: 2 devices"), "{text}");
    assert_eq!(row(&text, "2")[1..5], ["GPU-2201", "AMD", "Instinct", "MI300X"]);
    assert!(text.ends_with("simulated: these devices do not exist\n"), "{text}");
    let told = tells(&host, &["explain", "compute=50%", "memory=8Gi", "model=l40s"]);
    assert_eq!(told["request"]["milli"], 500);
    assert_eq!(told["request"]["sharing"], "shared");
    let device = &told["grant"]["devices"][0];
    assert_eq!((&device["milli"], &device["memory_bytes"]), (&500.into(), &(8u64 << 30).into()));
    assert_eq!(told["grant"]["isolation"]["compute_enforcement"], "advisory");
    let text = says(&host, &["explain", "kaiwo.ai/gpu-fraction=0.5"]);
    let said =
        "\nisolation: time-slicing; compute and memory enforced by the workload's good will\n";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("\nlacks: "), "{text}");
    let masks =
        says(&host, &["explain", "compute=0.5", "kaiwo.ai/gpu-isolation=mps", "vendor=amd"]);
    assert!(masks.contains("\nisolation: cu-mask in place of mps; "), "{masks}");
    // A whole device drops no word of the request in silence.
    let whole = says(&host, &["explain", "count=1", "isolation=mps"]);
    assert!(whole.contains(" isolation=mps "), "{whole}");
    assert!(whole.contains("\nisolation: none: mps is for shares, and a whole "), "{whole}");
    assert!(whole.contains("would be enforced on a real device"), "{whole}");
    let output = host.cli(&["explain", "isolation=partition"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    assert!(text.contains(" isolation=partition "), "{text}");
    let told = tells(&host, &["explain", "devices=0", "--user", "1000"]);
    assert_eq!(told["user"], 1000);
    let device = &told["grant"]["devices"][0];
    assert_eq!((&device["simulated"], &device["model"]), (&true.into(), &"NVIDIA L40S".into()));
    assert_eq!(tells(&host, &["explain", "count=1"])["user"], 0);
    let told = tells(&host, &["explain", "compute=0.5", "vendor=amd"]);
    assert_eq!(told["grant"]["devices"][0]["cu_mask"], "0-151");
    let both = tells(&host, &["explain", "compute=0.5", "devices=1,2"]);
    let lacks = both["grant"]["isolation"]["lacks"].to_string();
    let mask = "\"GPU 2: compute: HSA_CU_MASK is a variable, and a workload can unset it\"";
    assert!(lacks.contains(mask) && lacks.contains("\"GPU 1: compute: "), "{lacks}");
    assert!(lacks.contains("\"memory: "), "the same of both: {lacks}");
    let both = says(&host, &["explain", "compute=0.5", "devices=1,2"]);
    assert!(both.contains("\nisolation: time-slicing, and cu-mask on GPU 2; "), "{both}");
    let output = host.cli(&["explain", "compute=0.5", "enforcement=required", "vendor=amd"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    assert!(
        text.contains("\nrefused: enforcement-unmet: 1 AMD device with 500m requested"),
        "{text}"
    );
    assert!(text.contains("compute would be advisory: HSA_CU_MASK is a variable"), "{text}");
    assert_eq!(listing(host.path("run").as_path()), before);
}

#[test]
fn explain_works_before_anything_was_ever_leased() {
    needs_root!();
    let host = Host::new("mixed4");
    assert!(says(&host, &["explain", "count=1"]).contains("granted: 1 device,"));
    assert!(!host.run_dir().exists());
}

#[test]
fn explain_says_for_each_device_why_not() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("web", &[("gpulease/devices", "0,1")]));
    let before = listing(host.path("run").as_path());
    let output = host.cli(&["explain", "vendor=nvidia"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stdout(&output);
    assert!(text.contains("\nrefused: no-capacity: 1 NVIDIA device requested"), "{text}");
    assert!(text.contains("held exclusively by lease") && text.contains("container web"), "{text}");
    assert!(row(&text, "3").join(" ").ends_with("not made by NVIDIA"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("hint: ")), "{text}");
    let output = host.cli(&["explain", "vendor=nvidia", "--json"]);
    assert_eq!(output.status.code(), Some(3));
    let told = json(&output);
    assert_eq!(told["request"]["vendor"], "nvidia");
    assert_eq!(told["refusal"]["code"], "no-capacity");
    assert_eq!(told["refusal"]["details"].as_array().unwrap().len(), 4);
    assert!(told["refusal"]["message"].is_string() && told["refusal"]["hint"].is_string());
    let output = host.cli(&["explain", "count=9"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).contains("refused: no-match: "), "{}", stdout(&output));
    assert_eq!(listing(host.path("run").as_path()), before);
}

#[test]
fn a_node_without_devices_says_what_finds_some() {
    needs_root!();
    let host = Host::new("mixed4");
    fs::write(host.path("etc/devices.toml"), "").unwrap();
    let hint = |host: &Host| json(&host.cli(&["explain", "count=1", "--json"]))["refusal"].clone();
    let told = hint(&host);
    assert_eq!(told["code"], "no-match");
    assert!(
        told["hint"].as_str().unwrap().ends_with("inventory example` simulates some"),
        "{told}"
    );
    host.configure(Path::new(STUB), "sources = [\"amd\"]");
    let told = hint(&host);
    assert!(told["hint"].as_str().unwrap().contains("list `static` in `sources`"), "{told}");
    let refused = host.start("web", WHOLE);
    assert!(stderr(&refused).contains("list `static` in `sources`"), "{}", stderr(&refused));
}

#[test]
fn explain_counts_the_devices_that_were_not_asked_for() {
    needs_root!();
    let host = Host::new("a100x4");
    for (devices, rows, line) in [
        ("devices=2", 1, "\n14 devices: not named by the request\n"),
        ("devices=9", 0, "\n15 devices: does not match `9`\n"),
    ] {
        let output = host.cli(&["explain", devices]);
        assert_eq!(output.status.code(), Some(3));
        let text = stdout(&output);
        assert!(text.contains(line), "{text}");
        assert_eq!(text.matches("  NVIDIA A100-SXM4-40GB").count(), rows, "{text}");
        let told = json(&host.cli(&["explain", devices, "--json"]));
        assert_eq!(told["refusal"]["details"].as_array().unwrap().len(), 15, "all of them");
    }
}

#[test]
fn explain_refuses_words_that_are_no_request() {
    needs_root!();
    let host = Host::new("mixed4");
    fails(&host, &["explain", "cuont=1"], 2, "bad-request", "did you mean `gpulease/count`?");
    fails(&host, &["explain", "count"], 2, "bad-request", "count=1");
    fails(&host, &["explain", "count=x"], 2, "bad-request", "");
    fails(&host, &["explain", "count=1", "gpulease/count=2"], 2, "bad-request", "");
    fails(&host, &["explain", "example.com/count=1"], 2, "bad-request", "`gpulease explain`");
    fails(&host, &["explain", "ttl=8h"], 2, "not-supported-yet", "leave `gpulease/ttl` out");
    let output = host.cli(&["explain", "count=\u{1b}[31m"]);
    assert!(!stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
}

#[test]
fn explain_reads_a_bundle() {
    needs_root!();
    let host = Host::new("mixed4");
    let bundle = host.bundle("web", &[("gpulease/count", "2"), ("other/key", "x")]);
    let bundle = bundle.to_str().unwrap();
    let told = tells(&host, &["explain", "--bundle", bundle]);
    assert_eq!(told["request"]["count"], 2);
    assert_eq!(tells(&host, &["explain", "--bundle", bundle, "count=1"])["request"]["count"], 1);
    let none = host.bundle("none", &[]);
    let text = says(&host, &["explain", "--bundle", none.to_str().unwrap()]);
    assert!(text.starts_with("no request"), "{text}");
    fails(&host, &["explain", "--bundle", "/nonexistent"], 1, "bad-bundle", "");
    let text = stderr(&host.cli(&["explain", "--bundle", "/nonexistent"]));
    assert!(text.contains("config.json`: No such file or directory"), "{text}");
    let path = none.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        tells(&host, &["explain", "--bundle", none.to_str().unwrap()])["spec_fault"],
        serde_json::json!(null)
    );
    spec["process"]["capabilities"] = serde_json::json!({ "bounding": ["CAP_NEW"] });
    fs::write(&path, spec.to_string()).unwrap();
    let fault = &tells(&host, &["explain", "--bundle", none.to_str().unwrap()])["spec_fault"];
    assert_eq!(fault["path"], "process.capabilities.bounding[0]");
    let text = says(&host, &["explain", "--bundle", none.to_str().unwrap()]);
    assert!(
        text.contains("no request") && text.contains("warning: the low-level runtime"),
        "{text}"
    );
    let config = none.join("config.json");
    let privileged = r#"{"annotations":{"gpulease/compute":"0.5"},
        "linux":{"resources":{"devices":[{"allow":true,"access":"rwm"}]}}}"#;
    fs::write(&config, privileged).unwrap();
    let bundle = none.to_str().unwrap();
    fails(&host, &["explain", "--bundle", bundle], 2, "policy-denied", "--privileged");
    let rule = r#"{"annotations":{"gpulease/compute":"0.5"},
        "linux":{"resources":{"devices":[{"allow":true,"type":"c","major":1219,"access":"rw"}]}}}"#;
    fs::write(&config, rule).unwrap();
    fails(&host, &["explain", "--bundle", bundle], 2, "policy-denied", "--device-cgroup-rule");
    fs::write(&config, "{").unwrap();
    fails(&host, &["explain", "--bundle", bundle, "count=1"], 1, "bad-bundle", "");
}

#[test]
fn explain_adds_words_to_a_bundle_of_an_earlier_lease() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("web", ALL));
    host.kill("web");
    ok(host.delete("web"));
    let bundle = host.path("bundles/web");
    let words = |count| ["explain", "--bundle", bundle.to_str().unwrap(), count];
    assert_eq!(tells(&host, &words("count=1"))["request"]["count"], 1);
    let output = host.cli(&words("count=99"));
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
}

#[test]
fn explain_lists_annotations_in_any_configuration() {
    let run = |args: &[&str]| {
        Command::new(CLI).env("GPULEASE_CONFIG", "/nonexistent").args(args).output().unwrap()
    };
    let text = stdout(&ok(run(&["explain"])));
    assert!(text.starts_with("A container asks for devices by these annotations:\n\ngpulease/"));
    assert!(text.contains("\nExample:\n  docker run --runtime gpulease --annotation "), "{text}");
    let told = json(&ok(run(&["explain", "--json"])));
    let keys = gpulease::door::request::keys::KEYS;
    assert_eq!(told["annotations"].as_array().unwrap().len(), keys.len());
    for (key, told) in keys.iter().zip(told["annotations"].as_array().unwrap()) {
        assert!(text.lines().any(|line| line == key.name), "{}", key.name);
        assert_eq!(told["key"], key.name);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let failed = run(&["devices"]);
    assert_eq!(failed.status.code(), Some(4), "{}", stderr(&failed));
}

#[test]
fn release_takes_from_the_dead_only_unless_forced() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    ok(host.start("gone", WHOLE));
    host.kill("gone");
    fails(&host, &["release", "web"], 7, "holder-alive", "--force");
    fails(&host, &["release", "nobody"], 6, "unknown-lease", "gpulease leases");
    fails(&host, &["release", "l-"], 6, "unknown-lease", "more of the id");
    let id = host.lease("gone").unwrap().id.to_string();
    let text = says(&host, &["release", &id]);
    assert_eq!(text, format!("released lease {id} of container gone (runc): GPU 1\n"));
    assert!(host.lease("gone").is_none());
    let text = says(&host, &["release", "web", "--force"]);
    assert!(text.contains("still runs and keeps its device nodes"), "{text}");
    assert!(host.records().is_empty());
    // In its grace, a lease is let go without force.
    ok(host.start("short", WHOLE));
    host.kill("short");
    ok(host.delete("short"));
    let told = tells(&host, &["release", "short"]);
    assert_eq!(told["released"]["state"], "grace");
    assert_eq!(told["released"]["holder"], "gone");
    assert_eq!(told["released"]["devices"].as_array().unwrap().len(), 1);
    assert!(host.records().is_empty());
    // When that is over, by the word that `leases` has for it.
    ok(host.start("over", WHOLE));
    host.kill("over");
    ok(host.delete("over"));
    let file = fs::read_dir(host.run_dir().join("leases")).unwrap().next().unwrap().unwrap().path();
    let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["grace_until_ms"] = 1.into();
    fs::write(&file, record.to_string()).unwrap();
    let seen = tells(&host, &["leases", "--all"])["leases"][0]["holder"].clone();
    assert_eq!(tells(&host, &["release", "over"])["released"]["holder"], seen);
}

#[test]
fn inventory_is_refreshed_and_shown() {
    needs_root!();
    let host = Host::new("mixed4");
    fails(&host, &["inventory", "show"], 4, "stale-inventory", "inventory refresh");
    let text = says(&host, &["inventory", "refresh"]);
    assert!(text.starts_with("4 devices (4 simulated): read from /"), "{text}");
    assert_eq!(text.lines().count(), 1);
    let mode = fs::metadata(host.run_dir()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    let told = tells(&host, &["inventory", "refresh"]);
    assert_eq!((&told["devices"], &told["simulated"]), (&4.into(), &4.into()));
    let text = says(&host, &["inventory", "show"]);
    assert!(text.contains("state:    fresh\n") && text.contains("renderD128"), "{text}");
    let told = tells(&host, &["inventory", "show"]);
    assert_eq!((&told["state"], &told["why"]), (&"fresh".into(), &Value::Null));
    assert_eq!(told["inventory"]["node"]["devices"].as_array().unwrap().len(), 4);
    fs::write(host.path("etc/devices.toml"), PROFILES[0].toml).unwrap();
    let text = says(&host, &["inventory", "show"]);
    assert!(text.contains("state:    stale: ") && text.contains("has changed since"), "{text}");
    assert_eq!(tells(&host, &["inventory", "show"])["state"], "stale");
    // The others go by what a refresh would find.
    assert_eq!(tells(&host, &["devices"])["devices"].as_array().unwrap().len(), 8);
    fs::write(host.run_dir().join("inventory.json"), "{").unwrap();
    fails(&host, &["inventory", "show"], 4, "stale-inventory", "inventory refresh");
}

#[test]
fn a_refresh_removes_what_a_killed_one_wrote() {
    needs_root!();
    let host = Host::new("h100x8");
    fs::create_dir_all(host.run_dir()).unwrap();
    // No pid is as large as this.
    let left = host.run_dir().join(".inventory.json.400000000.tmp");
    fs::write(&left, "half").unwrap();
    ok(host.cli(&["inventory", "refresh"]));
    assert!(!left.exists());
}

#[test]
fn a_refresh_that_fails_leaves_the_old_inventory() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.cli(&["inventory", "refresh"]));
    let cache = host.run_dir().join("inventory.json");
    let before = fs::read(&cache).unwrap();
    fs::write(host.path("etc/devices.toml"), "[[device]]\nuuid = 1\n").unwrap();
    fails(&host, &["inventory", "refresh"], 4, "bad-inventory", "devices.toml");
    // 1:3 is /dev/null: a simulated device may not be one that exists.
    let real = PROFILES[1].toml.replace("major = 1219, minor = 0", "major = 1, minor = 3");
    fs::write(host.path("etc/devices.toml"), real).unwrap();
    fails(&host, &["inventory", "refresh"], 4, "bad-inventory", "1024 or more");
    fails(&host, &["devices"], 4, "bad-inventory", "1024 or more");
    assert_eq!(fs::read(&cache).unwrap(), before);
}

#[test]
fn examples_are_printed_as_they_are() {
    let run = |args: &[&str]| {
        let args = [&["inventory", "example"], args].concat();
        Command::new(CLI).env("GPULEASE_CONFIG", "/nonexistent").args(args).output().unwrap()
    };
    let list = stdout(&ok(run(&[])));
    for profile in PROFILES {
        assert_eq!(stdout(&ok(run(&[profile.name]))), profile.toml);
        assert_eq!(json(&ok(run(&[profile.name, "--json"])))["toml"], profile.toml);
        assert!(list.contains(profile.name) && list.contains(profile.title), "{list}");
    }
    let unknown = run(&["h200x80"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("hint: the profiles are h100x8"), "{}", stderr(&unknown));
}

#[test]
fn only_root_may_change_anything() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("web", WHOLE));
    // The stub may lie where only root can look.
    let config = fs::read_to_string(host.config()).unwrap();
    assert!(config.contains(STUB), "{config}");
    let runtime = host.config().with_file_name("runtime");
    fs::copy(STUB, &runtime).unwrap();
    fs::write(host.config(), config.replace(STUB, runtime.to_str().unwrap())).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(CLI);
        command.arg("--gpulease-config").arg(host.config()).args(args).output().unwrap()
    };
    for args in [&["release", "web"][..], &["inventory", "refresh"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("rootless-unsupported"), "{}", stderr(&output));
    }
    assert_eq!(host.leases().len(), 1);
    for args in [&["leases"][..], &["devices"], &["explain", "count=1"]] {
        let output = run(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {text}");
        let said = "gpulease: state-unavailable: reading the leases needs root: cannot list `";
        assert!(text.starts_with(said) && text.contains("/leases`: "), "{text}");
        assert!(text.contains("hint: run it with sudo"), "{text}");
    }
    for args in [&["explain"][..], &["inventory", "example"], &["completions", "bash"]] {
        assert_eq!(run(args).status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn wrong_arguments_are_told_like_other_errors() {
    needs_root!();
    let host = Host::new("mixed4");
    fails(&host, &["leasse"], 2, "bad-request", "'leases'");
    fails(&host, &["devices", "--wid"], 2, "bad-request", "'--wide'");
    fails(&host, &["release"], 2, "bad-request", "--help");
    let nothing = Command::new(CLI).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("Usage: gpulease"), "{}", stderr(&nothing));
    fs::write(host.config(), "runtimee = '/x'\n").unwrap();
    fails(&host, &["devices"], 4, "bad-config", "gpulease-config(5)");
}

#[test]
fn help_fits_80_columns_and_version_has_the_commit() {
    let pages: &[&[&str]] = &[
        &[],
        &["devices"],
        &["leases"],
        &["explain"],
        &["release"],
        &["inventory"],
        &["inventory", "refresh"],
        &["inventory", "show"],
        &["inventory", "example"],
        &["doctor"],
        &["health"],
        &["install"],
        &["uninstall"],
        &["completions"],
    ];
    for page in pages {
        for flag in ["--help", "-h"] {
            let output = ok(Command::new(CLI).args(*page).arg(flag).output().unwrap());
            let text = stdout(&output);
            assert!(text.contains("Usage: gpulease"), "{text}");
            assert!(text.contains("xample"), "no example: {text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{page:?}: {line}");
                assert_eq!(line, line.trim_end(), "{page:?}");
            }
        }
    }
    let version = stdout(&ok(Command::new(CLI).arg("--version").output().unwrap()));
    assert_eq!(version.trim_end(), format!("gpulease {}", gpulease::VERSION));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for args in [&["inventory", "example", "h100x8"][..], &["explain"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(CLI);
        command.args(args).stdout(writer).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(stderr(&output), "", "{args:?}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(CLI).arg("explain").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn colour_is_for_those_who_want_it() {
    needs_root!();
    let host = Host::new("mixed4");
    assert!(!says(&host, &["devices"]).contains('\u{1b}'));
    assert!(says(&host, &["devices", "--color", "always"]).contains("\u{1b}[33msimulated"));
    assert!(!says(&host, &["devices", "--color=never"]).contains('\u{1b}'));
    let json = says(&host, &["devices", "--json", "--color=always"]);
    assert!(!json.contains('\u{1b}'), "{json}");
}

/// An MPS daemon serves one user, and who that is hangs on the container.
#[test]
fn explain_names_the_user_if_it_matters() {
    needs_root!();
    let host = Host::new("mixed4");
    let with = |daemon: &str| {
        let more = format!("mps = {{ control = \"/bin/true\", daemon = \"{daemon}\" }}");
        host.configure(Path::new(STUB), &more);
    };
    with("device");
    let share = ["explain", "compute=0.5", "isolation=mps"];
    let said = |more: &[&str]| says(&host, &[&share, more].concat());
    assert!(said(&[]).contains("\nisolation: mps; "), "{}", said(&[]));
    assert!(said(&[]).contains("\nnote: this is for a container of user 0"), "{}", said(&[]));
    assert!(!said(&["--user", "0"]).contains("\nnote:"), "it was said");
    assert!(!says(&host, &["explain", "count=1"]).contains("\nnote:"), "it is the same for all");
    // The isolation that is asked for is taken where it is to be had.
    assert_eq!(row(&said(&[]), "0")[2], "NVIDIA");
    with("lease");
    assert!(!said(&[]).contains("\nnote:"), "each has a daemon of its own");
}

/// Of a set of two vendors each device is shared in its own way.
#[test]
fn a_mixed_lease_is_shown_device_by_device() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("both", &[("gpulease/compute", "0.5"), ("gpulease/devices", "1,2")]));
    let text = says(&host, &["leases"]);
    assert!(text.contains("  mixed advisory  "), "{text}");
    // On the AMD device it has a mask, so only masks go beside it; on the other it has its turns.
    let isolation = |device: &str| {
        let told = tells(&host, &["explain", "compute=0.3", device]);
        told["grant"]["isolation"]["effective"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (isolation("devices=2").as_str(), isolation("devices=1").as_str()),
        ("cu-mask", "time-slicing")
    );
    let refused = host.cli(&["explain", "compute=0.3", "devices=2", "isolation=time-slicing"]);
    assert_eq!(refused.status.code(), Some(3));
    let text = stdout(&refused);
    assert!(text.contains("shared by cu-mask now, time-slicing requested"), "{text}");
    assert!(text.contains("ask for gpulease/isolation=cu-mask"), "{text}");
    // Few columns are left at 80, and how it is held is one of them.
    let line = format!("stty cols 80; {CLI} --gpulease-config {} leases", host.config().display());
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("ISOLATION") && text.contains("mixed advisory"), "{text}");
}

/// On a terminal of 80 columns nothing is wider, however long the names are.
#[test]
fn tables_fit_the_terminal() {
    needs_root!();
    let host = Host::new("mixed4");
    let long = "a-rather-long-container-name-as-people-give-them-".repeat(2);
    ok(host.start(&long, &[("gpulease/count", "1"), ("gpulease/vendor", "nvidia")]));
    ok(host.start("web", &[("gpulease/count", "1"), ("gpulease/vendor", "nvidia")]));
    for args in ["devices", "leases", "inventory show", "explain vendor=nvidia", "explain count=2"]
    {
        let line = format!(
            "stty cols 80 rows 24; {CLI} --gpulease-config {} {args}",
            host.config().display()
        );
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        let text = without_colour(&stdout(&output).replace('\r', ""));
        // Paths are shown whole: they are there to be copied.
        for line in text.lines().filter(|line| !line.contains(": /") && !line.contains("  /")) {
            assert!(line.chars().count() <= 80, "{args}: {line}\n{text}");
        }
        assert!(text.lines().count() > 4, "{args}: {text}");
    }
    assert_eq!(host.leases().iter().filter(|lease| lease.state == LeaseState::Bound).count(), 2);
}

/// Errors are wrapped for a person, and one line for whatever else reads them.
#[test]
fn errors_fit_the_terminal_and_are_one_line_elsewhere() {
    needs_root!();
    let host = Host::new("a100x4");
    for (args, hint) in [
        ("explain compute=0.5 isolation=mig", "leave out `gpulease/compute`"),
        ("explain foo=1", "the keys after `gpulease/` are"),
        ("explain strategy=round-robin", "out or set it to one of `first-fit`, `best-fit`,"),
        ("uninstall", "name docker, podman, containerd or crio"),
        ("completions tcsh", "allowed are bash, zsh, fish"),
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let plain = host.cli(&words);
        let plain = stderr(&plain);
        assert_eq!(plain.lines().count(), 2, "{plain}");
        assert!(plain.lines().nth(1).unwrap().contains(hint), "{plain}");
        let line =
            format!("stty cols 80; {CLI} --gpulease-config {} {args}", host.config().display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        let text = without_colour(&stdout(&output).replace('\r', ""));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&text), words(&plain), "the same words");
    }
}

fn without_colour(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

#[test]
fn explain_foresees_the_grace_of_the_dead() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("dead", &[("gpulease/devices", "0")]));
    host.kill("dead");
    let told = tells(&host, &["explain", "count=1"]);
    assert_eq!(told["grant"]["devices"][0]["index"], 1, "{told}");
    ok(host.start("web", &[("gpulease/count", "1")]));
    assert_eq!(told["grant"]["devices"][0]["uuid"], *host.devices("web")[0]);
}

#[test]
fn explain_sees_that_a_node_is_not_there() {
    needs_root!();
    let text = "[[device]]\nuuid = \"GPU-e4de4143-81dd-40df-8538-2c7330bfea85\"\n\
                vendor = \"nvidia\"\nmodel = \"X\"\nmemory_mib = 4096\npci = \"0000:17:00.0\"\n\
                nodes = [\"/dev/nvidia-of-this-test\"]\n";
    let host = Host::with_devices(text, Path::new(STUB));
    fails(&host, &["explain", "count=1"], 4, "stale-inventory", "load the driver");
}
