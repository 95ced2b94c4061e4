//! The specs of the whole tree: the seeds of the fuzzer, the fixture of the spec's edits, and what
//! the tests of bundles, of drivers, of edges and of errors put into a config.json, with the
//! devices of the host at hand.

use crate::hosts::Gpu;
use crate::texts;
use crate::words::WORDS;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub type Spec = (String, Vec<u8>);

pub fn plain() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sleep"], "env": ["PATH=/bin"], "cwd": "/" },
        "root": { "path": "rootfs" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "annotations": {},
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "pid" }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

fn asks(words: &[(&str, &str)]) -> Value {
    let mut spec = plain();
    for (key, value) in words {
        let key = if key.contains('/') { (*key).to_owned() } else { format!("gpulease/{key}") };
        spec["annotations"][key] = json!(value);
    }
    spec
}

pub fn one() -> Value {
    asks(&[("count", "1")])
}

fn push(list: &mut Value, entry: Value) {
    match list.as_array_mut() {
        Some(entries) => entries.push(entry),
        None => *list = json!([entry]),
    }
}

fn numbered(path: &str, major: u32, minor: u32) -> Value {
    json!({ "path": path, "type": "c", "major": major, "minor": minor, "fileMode": 438, "uid": 0,
        "gid": 0 })
}

pub fn node(gpu: &Gpu) -> Value {
    numbered(&gpu.path, gpu.major, gpu.minor)
}

fn allow(kind: &str, major: Option<u32>, minor: Option<u32>, access: &str) -> Value {
    json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access })
}

fn ruled(mut spec: Value, rule: Value) -> Value {
    push(&mut spec["linux"]["resources"]["devices"], rule);
    spec
}

pub fn given(mut spec: Value, node: Value) -> Value {
    push(&mut spec["linux"]["devices"], node);
    spec
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options = [&["bind"], options].concat();
    json!({ "destination": destination, "source": source, "type": "bind", "options": options })
}

fn mounted(mut spec: Value, mount: Value) -> Value {
    push(&mut spec["mounts"], mount);
    spec
}

fn with_env(mut spec: Value, variables: &[&str]) -> Value {
    for variable in variables {
        push(&mut spec["process"]["env"], json!(variable));
    }
    spec
}

fn hooked(mut spec: Value, stage: &str, hook: Value) -> Value {
    push(&mut spec["hooks"][stage], hook);
    spec
}

/// NVIDIA's hook, which goes by variables.
fn by_variables(spec: Value, variables: &[&str]) -> Value {
    let hook = json!({ "path": "/usr/bin/nvidia-container-runtime-hook" });
    with_env(hooked(spec, "prestart", hook), variables)
}

/// What containerd makes of `ctr run --gpus`.
fn by_command(spec: Value, words: &[&str]) -> Value {
    let first = ["containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "--load-kmods"];
    let args = [&first[..], words, &["--pid={{pid}}", "{{rootfs}}"]].concat();
    hooked(spec, "prestart", json!({ "path": "/usr/bin/containerd", "args": args }))
}

fn open(mut spec: Value) -> Value {
    spec["linux"]["resources"]["devices"] = json!([]);
    spec
}

fn privileged(spec: Value) -> Value {
    let mut spec = ruled(spec, json!({ "allow": true, "access": "rwm" }));
    spec["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
    spec
}

fn apart(mut spec: Value, size: u32) -> Value {
    push(&mut spec["linux"]["namespaces"], json!({ "type": "user" }));
    let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": size }]);
    spec["linux"]["uidMappings"] = ids.clone();
    spec["linux"]["gidMappings"] = ids;
    spec
}

fn set(mut spec: Value, pointer: &[&str], value: Value) -> Value {
    let mut at = &mut spec;
    for key in pointer {
        at = &mut at[*key];
    }
    *at = value;
    spec
}

/// Every spec, by a name of its own.
pub fn all(gpus: &[Gpu; 2]) -> Vec<Spec> {
    let mut specs = seeds();
    for words in WORDS {
        let name: Vec<String> = words.iter().map(|(key, value)| format!("{key}={value}")).collect();
        specs.push((name.join(" "), asks(words).to_string().into_bytes()));
    }
    let shapes = [shapes(), opened(gpus), hooks(gpus), users(gpus)].concat();
    let shapes = shapes.into_iter();
    specs.extend(shapes.map(|(name, spec)| (name.to_owned(), spec.to_string().into_bytes())));
    specs.extend(texts::all(gpus));
    specs
}

/// Those that lie in the tree as files.
fn seeds() -> Vec<Spec> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listing = fs::read_dir(tree.join("fuzz/seeds/specs")).unwrap();
    let mut paths: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.push(tree.join("tests/fixtures/docker-config.json"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

type Named = (&'static str, Value);

fn shapes() -> Vec<Named> {
    let admin = |spec: Value| {
        set(spec, &["process", "capabilities"], json!({ "bounding": ["CAP_SYS_ADMIN"] }))
    };
    vec![
        ("plain", plain()),
        ("no-annotations", set(plain(), &["annotations"], Value::Null)),
        ("no-linux", set(one(), &["linux"], Value::Null)),
        ("no-process", set(one(), &["process"], Value::Null)),
        ("image-of-debian", set(one(), &["root", "path"], json!("debian"))),
        ("image-of-alpine", set(one(), &["root", "path"], json!("alpine"))),
        (
            "image-of-alpine-none",
            set(asks(&[("capabilities", "none")]), &["root", "path"], json!("alpine")),
        ),
        ("no-root", set(one(), &["root"], Value::Null)),
        ("root-elsewhere", set(one(), &["root", "path"], json!("elsewhere"))),
        ("annotation-no-text", set(one(), &["annotations", "gpulease/count"], json!(1))),
        ("annotations-a-list", set(plain(), &["annotations"], json!(["gpulease/count"]))),
        ("devices-no-list", set(one(), &["linux", "devices"], json!(7))),
        ("mounts-no-list", set(one(), &["mounts"], json!(7))),
        ("env-no-list", set(one(), &["process", "env"], json!({}))),
        ("privileged", privileged(plain())),
        ("privileged-asks", privileged(one())),
        ("privileged-share", privileged(asks(&[("compute", "0.5")]))),
        ("admin-mig", admin(asks(&[("mig-profile", "3g.20gb")]))),
        ("admin-required", admin(asks(&[("compute", "0.5"), ("enforcement", "required")]))),
        ("user", set(one(), &["process", "user"], json!({ "uid": 65534, "gid": 65534 }))),
        ("user-share", set(asks(&[("compute", "0.5")]), &["process", "user", "uid"], json!(1000))),
        ("cgroup", set(one(), &["linux", "cgroupsPath"], json!("/gpulease-test/web"))),
        ("slice", set(one(), &["linux", "cgroupsPath"], json!("machine.slice:libpod:web"))),
        ("cgroup-up", set(one(), &["linux", "cgroupsPath"], json!("../../web"))),
        ("cgroup-odd", set(one(), &["linux", "cgroupsPath"], json!("a:b"))),
        ("host-pids", set(asks(&[("compute", "0.5")]), &["linux", "namespaces"], json!([]))),
        (
            "cgroups-mounted",
            mounted(
                asks(&[("compute", "0.5"), ("enforcement", "required")]),
                json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" }),
            ),
        ),
        ("process-user-text", set(one(), &["process", "user", "uid"], json!("root"))),
        (
            "capabilities-unknown",
            set(one(), &["process", "capabilities"], json!({ "bounding": ["CAP_FUTURE"] })),
        ),
    ]
}

fn opened(gpus: &[Gpu; 2]) -> Vec<Named> {
    let [gpu, other] = gpus;
    let (major, minor) = (Some(gpu.major), Some(gpu.minor));
    let path = gpu.path.as_str();
    let half = || asks(&[("compute", "0.5")]);
    vec![
        ("nvidia0", given(plain(), numbered("/dev/nvidia0", 195, 0))),
        ("nvidia7", given(plain(), numbered("/dev/nvidia7", 195, 7))),
        ("renderD128", given(plain(), numbered("/dev/dri/renderD128", 226, 128))),
        ("kfd", given(plain(), numbered("/dev/kfd", 510, 0))),
        ("gpu", given(plain(), node(gpu))),
        ("gpus", given(given(plain(), node(gpu)), node(other))),
        ("gpu-renamed", given(plain(), numbered("/dev/x", gpu.major, gpu.minor))),
        ("gpu-of-another-name", given(plain(), numbered(path, other.major, other.minor))),
        ("gpu-of-another-time", given(plain(), numbered(path, 240, 3))),
        ("gpu-unnumbered", given(plain(), json!({ "path": path, "type": "c" }))),
        (
            "block",
            given(
                plain(),
                json!({ "path": "/dev/sdx", "type": "b", "major": gpu.major, "minor": 3 }),
            ),
        ),
        ("fuse", given(plain(), numbered("/dev/fuse", 10, 229))),
        ("gpu-beside-a-request", given(asks(&[("devices", "1")]), node(gpu))),
        ("gpu-and-rule", ruled(given(plain(), node(gpu)), allow("c", major, minor, "rw"))),
        (
            "gpu-and-all",
            ruled(given(plain(), node(gpu)), json!({ "allow": true, "access": "rwm" })),
        ),
        ("rule", ruled(plain(), allow("c", major, minor, "rwm"))),
        ("rule-reading", ruled(plain(), allow("c", major, minor, "r"))),
        ("rule-making", ruled(plain(), allow("c", major, minor, "m"))),
        ("rule-major", ruled(plain(), allow("c", major, None, "rwm"))),
        ("rule-minor", ruled(plain(), allow("c", None, minor, "rwm"))),
        ("rule-characters", ruled(plain(), allow("c", None, None, "rwm"))),
        ("rule-all", ruled(plain(), allow("a", None, None, "rwm"))),
        ("rule-unbuffered", ruled(plain(), allow("u", major, minor, "rw"))),
        ("rule-of-tuns", ruled(plain(), allow("c", Some(10), Some(200), "rwm"))),
        ("rule-major-asks", ruled(half(), allow("c", major, None, "rw"))),
        ("rule-characters-asks", ruled(one(), allow("c", None, None, "rwm"))),
        (
            "rule-privileged-share",
            ruled(half(), json!({ "allow": true, "type": "c", "access": "rwm" })),
        ),
        (
            "rule-of-another",
            ruled(
                asks(&[("devices", "0"), ("compute", "0.5")]),
                allow("c", Some(other.major), Some(other.minor), "rwm"),
            ),
        ),
        ("rule-of-terminals", ruled(half(), allow("c", Some(136), None, "rwm"))),
        ("mount", mounted(open(plain()), bind(path, "/tmp/x", &[]))),
        ("mount-closed", mounted(plain(), bind(path, "/tmp/x", &[]))),
        ("mount-dev", mounted(open(plain()), bind("/dev", "/tmp/x", &["rw"]))),
        ("mount-nodev", mounted(open(plain()), bind("/dev", "/tmp/x", &["nodev"]))),
        (
            "mount-devtmpfs",
            mounted(
                open(plain()),
                json!({ "destination": "/tmp/x", "type": "devtmpfs", "source": "devtmpfs" }),
            ),
        ),
        ("mount-asks", mounted(open(one()), bind(path, "/dev/x", &[]))),
        ("mount-root-asks", mounted(half(), bind("/", "/host", &["rbind"]))),
        (
            "mount-named",
            mounted(plain(), bind("/dev/null", "/var/run/nvidia-container-devices/0", &[])),
        ),
        (
            "mount-all",
            mounted(plain(), bind("/dev/null", "/var/run/nvidia-container-devices/all", &[])),
        ),
    ]
}

fn hooks(gpus: &[Gpu; 2]) -> Vec<Named> {
    let by_uuid = format!("--device={}", gpus[0].uuid);
    let script = json!({ "path": "/bin/sh",
        "args": ["sh", "-c", "nvidia-container-cli configure --device=0 $1"] });
    let ours = |verb: &str| {
        json!({ "path": "/usr/libexec/gpulease/gpulease-hook",
            "args": ["gpulease-hook", verb, "--nonce", "0123456789abcdef0123456789abcdef"] })
    };
    vec![
        ("hook-all", by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=all"])),
        ("hook-one", by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=1"])),
        ("hook-none", by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=none"])),
        ("hook-unknown", by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=GPU-nope"])),
        ("hook-old-image", by_variables(plain(), &["CUDA_VERSION=8.0"])),
        (
            "hook-new-image",
            by_variables(plain(), &["CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12"]),
        ),
        (
            "hook-and-node",
            given(by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=1"]), node(&gpus[0])),
        ),
        ("hook-asks", by_variables(one(), &["NVIDIA_VISIBLE_DEVICES=all"])),
        ("hook-privileged", privileged(by_variables(plain(), &["NVIDIA_VISIBLE_DEVICES=all"]))),
        (
            "hook-mount",
            mounted(
                by_variables(plain(), &[]),
                bind("/dev/null", "/var/run/nvidia-container-devices/0", &[]),
            ),
        ),
        (
            "hook-cdi",
            given(
                hooked(
                    with_env(plain(), &["NVIDIA_VISIBLE_DEVICES=all"]),
                    "createContainer",
                    json!({ "path": "/usr/bin/nvidia-cdi-hook" }),
                ),
                node(&gpus[0]),
            ),
        ),
        ("command-one", by_command(plain(), &["configure", "--device=0"])),
        ("command-two", by_command(plain(), &["configure", "--device=0,1"])),
        ("command-uuid", by_command(plain(), &["configure", &by_uuid])),
        ("command-all", by_command(plain(), &["configure", "--device=all"])),
        ("command-none", by_command(plain(), &["configure"])),
        ("command-unclear", by_command(plain(), &["configure", "--device={{annotation \"x\"}}"])),
        ("command-short", by_command(plain(), &["configure", "-cud0"])),
        ("command-unknown", by_command(plain(), &["configure", "--device=GPU-nope"])),
        ("command-asks", by_command(one(), &["configure", "--device=0"])),
        ("command-script", hooked(plain(), "createRuntime", script)),
        ("network-hook", hooked(one(), "createRuntime", json!({ "path": "/bin/true" }))),
        ("ours-without-record", hooked(plain(), "createRuntime", ours("create-runtime"))),
        ("ours-asks", hooked(one(), "createRuntime", ours("create-runtime"))),
        (
            "ours-with-files",
            hooked(
                asks(&[("count", "1"), ("gpulease.granted/driver", "native")]),
                "createRuntime",
                ours("create-runtime"),
            ),
        ),
        (
            "ours-no-nonce",
            hooked(
                plain(),
                "poststop",
                json!({ "path": "/usr/libexec/gpulease/gpulease-hook", "args": ["gpulease-hook", "poststop"] }),
            ),
        ),
    ]
}

fn users(gpus: &[Gpu; 2]) -> Vec<Named> {
    vec![
        ("apart", apart(one(), 65536)),
        ("apart-few", apart(one(), 1)),
        ("apart-plain", apart(plain(), 65536)),
        ("apart-share", apart(asks(&[("compute", "0.5")]), 65536)),
        ("apart-injected", apart(given(plain(), node(&gpus[0])), 65536)),
        (
            "apart-joined",
            set(
                one(),
                &["linux", "namespaces"],
                json!([{ "type": "pid" }, { "type": "user", "path": "/proc/self/ns/user" }]),
            ),
        ),
        ("env-nvidia", with_env(plain(), &["NVIDIA_VISIBLE_DEVICES=all"])),
        ("env-nvidia-one", with_env(plain(), &["NVIDIA_VISIBLE_DEVICES=0"])),
        ("env-nvidia-void", with_env(plain(), &["NVIDIA_VISIBLE_DEVICES=void"])),
        ("env-amd", with_env(plain(), &["AMD_VISIBLE_DEVICES=all"])),
        ("env-count", with_env(plain(), &["GPULEASE_COUNT=1"])),
        ("env-share", with_env(plain(), &["GPULEASE_COMPUTE=0.5"])),
        ("env-bad", with_env(plain(), &["GPULEASE_COUNT=x"])),
        ("env-and-words", with_env(one(), &["NVIDIA_VISIBLE_DEVICES=all", "GPULEASE_COUNT=3"])),
        ("env-requires", with_env(one(), &["NVIDIA_REQUIRE_CUDA=cuda>=99.0"])),
        ("env-requires-odd", with_env(one(), &["NVIDIA_REQUIRE_X=%%%=<>"])),
        ("env-capabilities", with_env(one(), &["NVIDIA_DRIVER_CAPABILITIES=all"])),
        (
            "env-all-of-it",
            with_env(
                plain(),
                &["NVIDIA_VISIBLE_DEVICES=all", "AMD_VISIBLE_DEVICES=all", "GPULEASE_COUNT=1"],
            ),
        ),
    ]
}
