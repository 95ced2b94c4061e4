//! What is refused, how it is said, and what a refusal leaves behind: nothing. Also the spec's
//! own GPU nodes. The runtime is a stub; what real ones make of the edits is in `bundles.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use gpulease::door::model::isolation::Enforcement;
use gpulease::door::model::lease::LeaseState;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;
use support::{Host, STUB, needs_root, ok, stderr};

const WHOLE: &[(&str, &str)] = &[("gpulease/count", "1")];

/// Devices that exist, if not as GPUs: numbers are read from the host.
const REAL: &str = r#"
simulated = false
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000003"
vendor = "nvidia"
model = "Null"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/null"]
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000005"
vendor = "nvidia"
model = "Zero"
memory_mib = 1024
pci = "0000:02:00.0"
nodes = ["/dev/zero"]
[[control]]
vendor = "nvidia"
nodes = ["/dev/full"]
"#;
const NULL: &str = "GPU-00000000-0000-4000-8000-000000000003";
const ZERO: &str = "GPU-00000000-0000-4000-8000-000000000005";

fn real() -> Host {
    Host::with_devices(REAL, Path::new(STUB))
}

fn config_json(host: &Host, name: &str) -> PathBuf {
    host.path("bundles").join(name).join("config.json")
}

/// A bundle with a spec of its own.
fn bundle(host: &Host, name: &str, annotations: &[(&str, &str)], edit: impl FnOnce(&mut Value)) {
    host.bundle(name, annotations);
    let mut spec = host.spec(name);
    edit(&mut spec);
    fs::write(config_json(host, name), serde_json::to_vec_pretty(&spec).unwrap()).unwrap();
}

fn node(path: &str, major: u32, minor: u32) -> Value {
    json!({ "path": path, "type": "c", "major": major, "minor": minor, "fileMode": 438, "uid": 0, "gid": 0 })
}

fn rule(major: u32, minor: u32) -> Value {
    json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" })
}

fn injects(spec: &mut Value, path: &str, minor: u32) {
    let linux = spec["linux"].as_object_mut().unwrap();
    linux.entry("devices").or_insert_with(|| json!([]));
    spec["linux"]["devices"].as_array_mut().unwrap().push(node(path, 1, minor));
    spec["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule(1, minor));
}

fn paths(spec: &Value) -> Vec<&str> {
    let list = spec["linux"]["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|device| device["path"].as_str().unwrap()).collect()
}

fn allows(spec: &Value, minor: u32) -> bool {
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    rules.iter().any(|r| r["allow"] == true && r["major"] == 1 && r["minor"] == minor)
}

/// Words by which Docker, containerd, Podman and CRI-O take a message for something else.
const MISREAD: &[&str] = &[
    "no such file or directory",
    "permission denied",
    "operation not permitted",
    "executable file not found",
    "not found",
    "open executable",
    "does not exist",
    "no such process",
    "not running",
    "process already finished",
    "invalid process",
];

/// The error contract for one refused call; gives the message.
#[track_caller]
fn is_refusal(output: &Output, code: &str) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty(), "stdout is the container's: {output:?}");
    assert_eq!(text.lines().count(), 1, "one line: {text:?}");
    assert!(text.ends_with('\n'));
    assert!(text.starts_with(&format!("gpulease: {code}: ")), "not {code}: {text}");
    assert!(text.len() <= 4096, "conmon reads no more than 8 KiB");
    let small = text.to_ascii_lowercase();
    for word in MISREAD {
        assert!(!small.contains(word), "an engine misreads `{word}` in: {text}");
    }
    text.trim_end().to_owned()
}

/// Creates a container that is refused: message, log and an untouched bundle.
#[track_caller]
fn refused(host: &Host, name: &str, code: &str) -> String {
    let before = fs::read(config_json(host, name)).unwrap();
    let held = host.records().len();
    let log = host.path("bundles").join(name).join("log.json");
    let _ = fs::remove_file(&log);
    let output = host.create(name);
    let text = is_refusal(&output, code);
    let logged = fs::read_to_string(log).unwrap();
    assert_eq!(logged.lines().count(), 1, "Podman takes the whole file for one object: {logged}");
    let entry: Value = serde_json::from_str(&logged).unwrap();
    assert_eq!((entry["level"].as_str(), entry["msg"].as_str()), (Some("error"), Some(&*text)));
    let time = entry["time"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok(), "containerd reads `{time}` as RFC 3339");
    assert_eq!(fs::read(config_json(host, name)).unwrap(), before, "the bundle is as it was");
    assert_eq!(host.records().len(), held, "no lease is left");
    assert!(!host.root().join(name).exists(), "the runtime was not called");
    text
}

// ---- the error contract ----

#[test]
fn a_refusal_is_one_line_in_each_place() {
    needs_root!();
    let host = Host::new("mixed4");
    host.bundle("web", &[("gpulease/count", "5")]);
    let text = refused(&host, "web", "no-match");
    let dir = host.path("bundles/web");
    let shim = |globals: &[&str]| {
        let mut command = host.shim();
        command.args(globals).args(["create", "--bundle"]).arg(&dir).arg("web");
        command.output().unwrap()
    };
    // Text, as without --log-format; appended, since the runtime may have written before.
    let log = dir.join("log.text");
    fs::write(&log, "earlier\n").unwrap();
    for format in [&["--log-format", "text"][..], &[]] {
        let output = shim(&[&["--log", log.to_str().unwrap()][..], format].concat());
        assert_eq!(is_refusal(&output, "no-match"), text);
    }
    let logged = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = logged.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "earlier"), "{logged}");
    for line in &lines[1..] {
        assert!(
            line.starts_with("time=\"") && line.contains(" level=error msg=\"gpulease: "),
            "{line}"
        );
    }
    // With `=`, before or after each other, and nowhere.
    let json = dir.join("oci-log");
    is_refusal(&shim(&["--log-format=json", &format!("--log={}", json.display())]), "no-match");
    let entry: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(entry["msg"].as_str(), Some(&*text));
    is_refusal(&shim(&[]), "no-match");
    is_refusal(&shim(&["--log", "/nowhere/at/all"]), "no-match");
}

#[test]
fn what_the_command_complains_of_is_told_in_its_words() {
    needs_root!();
    let host = Host::new("mixed4");
    let devices = host.path("etc/devices.toml");
    fs::write(&devices, "[[device]]\nuuid = 1\n").unwrap();
    host.bundle("web", WHOLE);
    let text = refused(&host, "web", "bad-inventory");
    let begin = format!(
        "gpulease: bad-inventory: cannot refresh the inventory: in `{0}`, line 2",
        devices.display()
    );
    assert!(text.starts_with(&begin), "{text}");
    let hint =
        format!("; hint: correct `{}`, then run `gpulease inventory refresh`", devices.display());
    assert!(text.ends_with(&hint), "{text}");
    assert_eq!(text.matches("gpulease: ").count(), 1, "{text}");
}

/// Refusals of all kinds, with texts in them that engines misread and users inject.
#[test]
fn no_refusal_is_misread() {
    needs_root!();
    let host = Host::new("mixed4");
    for (annotation, value, code) in [
        ("gpulease/cuont", "1", "bad-request"),
        ("gpulease/count", "No such file or directory", "bad-request"),
        ("gpulease/count", "permission denied\nlevel=error\u{1b}[31m", "bad-request"),
        ("gpulease/no such process", "1", "bad-request"),
        ("gpulease/model", "container not running: does not exist", "no-match"),
        ("gpulease/devices", "operation not permitted", "bad-request"),
        ("gpulease/wait", "10s", "not-supported-yet"),
        ("gpulease/count", "9", "no-match"),
    ] {
        host.bundle("web", &[(annotation, value)]);
        let output = host.create("web");
        assert_ne!(
            output.status.code(),
            Some(0),
            "{annotation}={value}: {:?}",
            host.devices("web")
        );
        let text = is_refusal(&output, code);
        assert!(!text.contains(['\u{1b}', '\n']), "{text:?}");
    }
    let long = "x".repeat(100_000);
    host.bundle("web", &[("gpulease/model", &long)]);
    let output = host.create("web");
    assert!(stderr(&output).len() < 4096 && output.status.code() == Some(1));
    // Our own paths in a message, where the system's words come in.
    fs::write(host.config(), "runtime = \"/nowhere/no such process\"\n").unwrap();
    is_refusal(&host.create("web"), "no-runtime");
}

#[test]
fn an_unreadable_bundle_that_mentions_us_is_refused() {
    needs_root!();
    let host = Host::new("mixed4");
    host.bundle("web", WHOLE);
    for text in [
        "{\"annotations\":{\"gpulease/count\":\"1\"}",
        "{\"annotations\":{\"gpulease/count\":1}}",
        "[\"gpulease/count\"]",
        "{\"annotations\":{\"gpulease/count\":\"1\"},\"linux\":7}",
    ] {
        fs::write(config_json(&host, "web"), text).unwrap();
        refused(&host, "web", "bad-bundle");
    }
}

// ---- privileged ----

fn privileged(spec: &mut Value) {
    spec["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    spec["linux"]["devices"] = json!([
        node("/dev/null", 1, 3),
        node("/dev/zero", 1, 5),
        node("/dev/hidden", 1, 5),
        node("/dev/random", 1, 8),
        // As Docker lists a host: far more nodes than anybody asks for.
        node("/dev/full", 1, 7),
        node("/dev/urandom", 1, 9),
        node("/dev/kmsg", 1, 11),
        node("/dev/tty", 5, 0),
        node("/dev/console", 5, 1),
        node("/dev/ptmx", 5, 2)
    ]);
}

#[test]
fn a_privileged_container_sees_only_its_devices() {
    needs_root!();
    let host = real();
    bundle(&host, "web", &[("gpulease/devices", "0")], privileged);
    ok(host.create("web"));
    assert_eq!(host.devices("web"), [NULL]);
    let spec = host.spec("web");
    let mut there = paths(&spec);
    there.sort_unstable();
    assert!(there.contains(&"/dev/null") && there.contains(&"/dev/random"), "{there:?}");
    assert!(!there.contains(&"/dev/zero") && !there.contains(&"/dev/hidden"), "{there:?}");
    let lease = host.lease("web").unwrap();
    assert_eq!(lease.isolation.compute_enforcement, Enforcement::None);
    assert_eq!(lease.isolation.memory_enforcement, Enforcement::None);
}

#[test]
fn a_privileged_container_gets_no_share() {
    needs_root!();
    let host = real();
    for share in [("gpulease/compute", "0.5"), ("gpulease/memory", "100")] {
        bundle(&host, "web", &[share], privileged);
        let text = refused(&host, "web", "policy-denied");
        assert!(text.contains("privileged") && text.contains("hint: "), "{text}");
    }
}

#[test]
fn policy_can_refuse_the_privileged() {
    needs_root!();
    let host = real();
    host.configure(Path::new(STUB), "[policy]\nprivileged = \"refuse\"");
    bundle(&host, "web", WHOLE, privileged);
    assert!(refused(&host, "web", "policy-denied").contains("policy.privileged"));
    // Without a request it is none of our business.
    bundle(&host, "plain", &[], privileged);
    let before = fs::read(config_json(&host, "plain")).unwrap();
    ok(host.create("plain"));
    assert_eq!(fs::read(config_json(&host, "plain")).unwrap(), before);
    bundle(&host, "meek", WHOLE, |_| {});
    ok(host.create("meek"));
}

// ---- pods ----

#[test]
fn a_pods_sandbox_is_never_given_a_gpu() {
    needs_root!();
    let host = Host::new("mixed4");
    for (key, name) in
        [("io.kubernetes.cri.container-type", "a"), ("io.kubernetes.cri-o.ContainerType", "b")]
    {
        host.bundle(name, &[("gpulease/count", "1"), (key, "sandbox")]);
        let before = fs::read(config_json(&host, name)).unwrap();
        ok(host.create(name));
        assert_eq!(fs::read(config_json(&host, name)).unwrap(), before);
        assert!(!host.run_dir().exists(), "nothing was even looked up");
        // The same words in a container of the pod count.
        let other = format!("{name}-web");
        ok(host.start(&other, &[("gpulease/count", "1"), (key, "container")]));
        assert_eq!(host.devices(&other).len(), 1);
        host.kill(&other);
        ok(host.delete(&other));
        fs::remove_dir_all(host.run_dir()).unwrap();
    }
}

#[test]
fn in_a_pod_a_request_may_be_for_one_container() {
    needs_root!();
    let host = Host::new("mixed4");
    let name = |name| [("web.gpulease/count", "2"), ("io.kubernetes.cri.container-name", name)];
    ok(host.start("c1", &name("web")));
    ok(host.start("c2", &name("sidecar")));
    assert_eq!(host.devices("c1").len(), 2);
    assert!(host.lease("c2").is_none());
}

// ---- GPUs that the engine put in ----

#[test]
fn an_injected_device_is_adopted_as_it_stands() {
    needs_root!();
    let host = real();
    let inject = |spec: &mut Value| {
        injects(spec, "/dev/zero", 5);
        spec["process"]["env"] = json!(["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=1"]);
    };
    bundle(&host, "web", &[], inject);
    let before = host.spec("web");
    ok(host.create("web"));
    assert_eq!(host.devices("web"), [ZERO]);
    let lease = host.lease("web").unwrap();
    assert_eq!(lease.state, LeaseState::Bound, "the hooks were run");
    let after = host.spec("web");
    assert_eq!(after["process"], before["process"]);
    assert_eq!(after["linux"], before["linux"]);
    for stage in ["createRuntime", "poststop"] {
        assert_eq!(after["hooks"][stage].as_array().unwrap().len(), 1, "{after}");
    }
    assert_eq!(after["annotations"]["gpulease.granted/devices"], ZERO);
    // By its number, too, whatever it is called inside; and who asks for it is told.
    bundle(&host, "rival", &[], |spec| injects(spec, "/dev/renamed", 5));
    assert!(refused(&host, "rival", "no-capacity").contains("web"));
    bundle(&host, "asks", &[("gpulease/devices", "1")], |_| {});
    refused(&host, "asks", "no-capacity");
    // Another device's node is not in the way.
    bundle(&host, "other", &[], |spec| injects(spec, "/dev/null", 3));
    ok(host.create("other"));
    assert_eq!(host.devices("other"), [NULL]);
    // With its holder dead the device is free, as any other.
    host.kill("web");
    ok(host.create("rival"));
    assert_eq!(host.devices("rival"), [ZERO]);
}

#[test]
fn injected_devices_are_leased_all_or_not() {
    needs_root!();
    let host = real();
    let both = |spec: &mut Value| {
        injects(spec, "/dev/null", 3);
        injects(spec, "/dev/zero", 5);
    };
    bundle(&host, "both", &[], both);
    ok(host.start("web", &[("gpulease/devices", "1")]));
    refused(&host, "both", "no-capacity");
    host.kill("web");
    ok(host.create("both"));
    let mut devices = host.devices("both");
    devices.sort_unstable();
    assert_eq!(devices, [NULL, ZERO]);
}

#[test]
fn policy_can_refuse_or_ignore_what_is_injected() {
    needs_root!();
    let host = real();
    host.configure(Path::new(STUB), "[policy]\ninjected = \"refuse\"");
    bundle(&host, "web", &[], |spec| injects(spec, "/dev/zero", 5));
    assert!(refused(&host, "web", "policy-denied").contains("policy.injected"));
    // A node that is no device of the inventory is nobody's business.
    bundle(&host, "fuse", &[], |spec| injects(spec, "/dev/urandom", 9));
    let before = fs::read(config_json(&host, "fuse")).unwrap();
    ok(host.create("fuse"));
    assert_eq!(fs::read(config_json(&host, "fuse")).unwrap(), before);

    host.configure(Path::new(STUB), "[policy]\ninjected = \"ignore\"");
    let before = fs::read(config_json(&host, "web")).unwrap();
    ok(host.create("web"));
    assert_eq!(fs::read(config_json(&host, "web")).unwrap(), before);
    assert!(host.lease("web").is_none());
}

#[test]
fn beside_a_grant_what_was_injected_goes() {
    needs_root!();
    let host = real();
    bundle(&host, "web", &[("gpulease/devices", "0")], |spec| {
        injects(spec, "/dev/zero", 5);
        injects(spec, "/dev/renamed", 5);
        injects(spec, "/dev/urandom", 9);
    });
    ok(host.create("web"));
    assert_eq!(host.devices("web"), [NULL]);
    let spec = host.spec("web");
    let mut there = paths(&spec);
    there.sort_unstable();
    assert_eq!(there, ["/dev/full", "/dev/null", "/dev/urandom"]);
    assert!(allows(&spec, 3) && allows(&spec, 7) && allows(&spec, 9));
    assert!(!allows(&spec, 5), "{spec}");
}

#[test]
fn an_annotation_does_not_lift_refused_injection() {
    needs_root!();
    let host = real();
    host.configure(Path::new(STUB), "[policy]\ninjected = \"refuse\"");
    bundle(&host, "web", &[("gpulease/devices", "0")], |spec| injects(spec, "/dev/zero", 5));
    refused(&host, "web", "policy-denied");
    // But a node that is no GPU of this host is not an injected one.
    bundle(&host, "fuse", &[("gpulease/devices", "0")], |spec| injects(spec, "/dev/urandom", 9));
    ok(host.create("fuse"));
    assert_eq!(host.devices("fuse"), [NULL]);
}

// ---- what an image says ----

#[test]
fn the_images_variables_count_only_if_admitted() {
    needs_root!();
    let host = Host::new("h100x8");
    let image = |spec: &mut Value| {
        spec["process"]["env"] =
            json!(["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=all", "GPULEASE_COUNT=3"]);
    };
    bundle(&host, "web", &[], image);
    let before = fs::read(config_json(&host, "web")).unwrap();
    ok(host.create("web"));
    assert_eq!(fs::read(config_json(&host, "web")).unwrap(), before, "ignored: byte for byte");
    assert!(host.lease("web").is_none());
    host.kill("web");
    ok(host.delete("web"));

    host.configure(Path::new(STUB), "[policy]\naccept_env = [\"NVIDIA_VISIBLE_DEVICES\"]");
    ok(host.create("web"));
    assert_eq!(host.devices("web").len(), 8, "all of that vendor");
    host.kill("web");
    ok(host.delete("web"));
    host.configure(Path::new(STUB), "[policy]\naccept_env = [\"GPULEASE_*\"]");
    bundle(&host, "three", &[], image);
    ok(host.create("three"));
    assert_eq!(host.devices("three").len(), 3);
    host.kill("three");
    ok(host.delete("three"));
    // What is written on the container goes before what is in the image.
    bundle(&host, "one", WHOLE, image);
    ok(host.create("one"));
    assert_eq!(host.devices("one").len(), 1);
}

// ---- what is not done yet, or never ----

#[test]
fn a_checkpoint_is_not_restored_with_a_lease() {
    needs_root!();
    let host = Host::new("mixed4");
    let bundle = host.bundle("web", WHOLE);
    let before = fs::read(bundle.join("config.json")).unwrap();
    let restore = |name: &str| {
        let mut command = host.shim();
        command.args([
            "restore",
            "--image-path",
            "/i",
            "--work-path",
            "/w",
            "--detach",
            "--bundle",
        ]);
        command.arg(host.path("bundles").join(name)).arg(name).output().unwrap()
    };
    is_refusal(&restore("web"), "restore-unsupported");
    assert_eq!(fs::read(bundle.join("config.json")).unwrap(), before);
    assert!(host.leases().is_empty());
    host.bundle("plain", &[]);
    ok(restore("plain"));
}

#[test]
fn a_simulated_device_cannot_go_into_a_user_namespace() {
    needs_root!();
    let userns = |spec: &mut Value| {
        spec["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "user" }]);
        spec["linux"]["uidMappings"] =
            json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
    };
    let host = Host::new("mixed4");
    bundle(&host, "web", WHOLE, userns);
    assert!(refused(&host, "web", "bad-request").contains("user namespace"));
    // Real ones can, which everybody may open.
    let nodes = tempfile::Builder::new().prefix("gpulease-test-").tempdir_in("/dev/shm").unwrap();
    let mut real = REAL.to_owned();
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7)] {
        let path = nodes.path().join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(1, minor)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        real = real.replace(&format!("\"/dev/{name}\""), &format!("{path:?}"));
    }
    let host = Host::with_devices(&real, Path::new(STUB));
    bundle(&host, "web", WHOLE, userns);
    ok(host.create("web"));
}

#[test]
fn a_real_node_that_is_gone_or_is_none_is_refused() {
    needs_root!();
    let gone = REAL.replace("/dev/null", "/dev/gpulease-is-not-there");
    let host = Host::with_devices(&gone, Path::new(STUB));
    host.bundle("web", &[("gpulease/devices", "0")]);
    let output = host.create("web");
    let text = stderr(&output);
    let code = ["stale-inventory", "no-match"].into_iter().find(|code| text.contains(code));
    is_refusal(&output, code.unwrap_or("?"));
    assert!(host.records().is_empty());
    let plain = REAL.replace("/dev/null", "/dev/fd");
    let host = Host::with_devices(&plain, Path::new(STUB));
    host.bundle("web", &[("gpulease/devices", "0")]);
    let output = host.create("web");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(host.records().is_empty());
}

#[test]
fn a_missing_hook_is_said_before_anything_is_leased() {
    needs_root!();
    let host = Host::new("mixed4");
    let text = fs::read_to_string(host.config()).unwrap();
    let hook = format!("{:?}", support::HOOK);
    fs::write(host.config(), text.replace(&hook, "\"/nowhere/gpulease-hook\"")).unwrap();
    host.bundle("web", WHOLE);
    assert!(refused(&host, "web", "bad-config").contains("/nowhere/gpulease-hook"));
}

#[test]
fn somebody_who_sits_on_the_lock_is_named_in_time() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("first", WHOLE));
    let lock = fs::File::open(host.run_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    host.bundle("web", WHOLE);
    let start = Instant::now();
    let text = refused(&host, "web", "lock-timeout");
    let took = start.elapsed().as_secs();
    assert!((4..9).contains(&took), "5 s is the deadline of a create: {took}");
    assert!(text.contains(&std::process::id().to_string()), "says who: {text}");
    // A delete does not wait that long, and its status is the runtime's.
    host.kill("first");
    let start = Instant::now();
    let output = host.delete("first");
    assert!(output.status.success());
    assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    drop(lock);
    ok(host.create("web"));
}

#[test]
fn a_name_that_turns_text_around_is_escaped() {
    needs_root!();
    let host = Host::new("mixed4");
    let name = "\u{202e}gpj.\u{9b}2J";
    fs::create_dir(host.path(name)).unwrap();
    let bundle = host.path(name).join("bundle");
    fs::create_dir_all(bundle.join("config.json")).unwrap();
    let mut create = host.shim();
    let output = create.args(["create", "--bundle"]).arg(&bundle).arg("web").output().unwrap();
    let mut explain = Command::new(support::CLI);
    explain.arg("--gpulease-config").arg(host.config()).args(["explain", "--bundle"]);
    let explained = explain.arg(&bundle).output().unwrap();
    for text in [stderr(&output), stderr(&explained)] {
        assert!(text.contains("\\u{202e}gpj.\\u{9b}2J"), "{text:?}");
        assert!(!text.contains('\u{202e}') && !text.contains('\u{9b}'), "{text:?}");
    }
}
