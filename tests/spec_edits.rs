//! A whole spec through `injection`: what changes, what must not, and what oci-spec says of it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy permits it in test functions, but not their helpers"
)]

use gpulease::door::injection::{
    Document, HookEntry, HookStage, HostNode, Injection, MountEntry, READ_WRITE, ResolvedNode,
    apply, facts, fragments, revert, strip_granted, strip_our_hooks,
};
use oci_spec::runtime::{Hook, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount, Spec};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// As dockerd writes it, but indented, and with members that no version of the runtime
/// specification knows in most objects.
const DOCKER: &str = include_str!("fixtures/docker-config.json");

const HOOK: &str = "/usr/libexec/gpulease/gpulease-hook";

fn node(path: &str, major: u32, minor: u32, gid: u32) -> ResolvedNode {
    ResolvedNode {
        path: path.to_owned(),
        major,
        minor,
        file_mode: 0o660,
        uid: Some(0),
        gid: Some(gid),
        access: READ_WRITE.to_owned(),
    }
}

fn hook(stage: HookStage, nonce: &str) -> HookEntry {
    let args = ["gpulease-hook", stage.as_str(), "--nonce", nonce];
    HookEntry {
        stage,
        path: HOOK.to_owned(),
        args: args.map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        timeout: Some(10),
    }
}

/// A grant of one NVIDIA GPU and its control node on a host with four.
fn injection(minor: u32, nonce: &str) -> Injection {
    let uuid = format!("GPU-{minor}");
    let env = [
        ("NVIDIA_VISIBLE_DEVICES", Some(uuid.as_str())),
        ("CUDA_VISIBLE_DEVICES", Some(uuid.as_str())),
        ("CUDA_DEVICE_ORDER", Some("PCI_BUS_ID")),
        ("ROCR_VISIBLE_DEVICES", None),
    ];
    let hidden_nodes = (0..4)
        .filter(|other| *other != minor)
        .map(|other| HostNode { path: format!("/dev/nvidia{other}"), numbers: Some((195, other)) });
    Injection {
        nodes: vec![
            node(&format!("/dev/nvidia{minor}"), 195, minor, 44),
            node("/dev/nvidiactl", 195, 255, 44),
        ],
        gids: vec![44, 27, 0],
        env: env.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into(),
        annotations: [("gpulease.granted/lease".to_owned(), format!("l-{nonce}"))].into(),
        hooks: HookStage::ALL.map(|stage| hook(stage, nonce)).to_vec(),
        mounts: vec![library(minor)],
        masked: vec![format!("/proc/driver/nvidia/gpus/0000:0{minor}:00.0")],
        hidden_nodes: hidden_nodes.collect(),
    }
}

/// Of another driver for each node, so that a second edit differs.
fn library(minor: u32) -> MountEntry {
    MountEntry {
        source: format!("/usr/lib/x86_64-linux-gnu/libcuda.so.55{minor}.163"),
        destination: "/usr/lib64/libcuda.so.1".to_owned(),
        kind: "bind".to_owned(),
        options: ["ro", "nosuid", "nodev", "bind"].map(str::to_owned).into(),
    }
}

fn docker() -> Document {
    Document::parse(DOCKER.as_bytes()).unwrap()
}

/// Every difference between two trees, by JSON pointer. Arrays are compared by index.
fn differences(before: &Value, after: &Value) -> BTreeMap<String, (Value, Value)> {
    fn walk(at: &str, before: &Value, after: &Value, out: &mut BTreeMap<String, (Value, Value)>) {
        match (before, after) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    let absent = &Value::String("(absent)".to_owned());
                    let (a, b) = (a.get(key).unwrap_or(absent), b.get(key).unwrap_or(absent));
                    walk(&format!("{at}/{key}"), a, b, out);
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                for index in 0..a.len().max(b.len()) {
                    let absent = &Value::String("(absent)".to_owned());
                    let (a, b) = (a.get(index).unwrap_or(absent), b.get(index).unwrap_or(absent));
                    walk(&format!("{at}/{index}"), a, b, out);
                }
            }
            (a, b) if a != b => {
                out.insert(at.to_owned(), (a.clone(), b.clone()));
            }
            _ => {}
        }
    }
    let mut out = BTreeMap::new();
    walk("", before, after, &mut out);
    out
}

#[test]
fn the_edit_is_exactly_what_was_intended() {
    let before = docker();
    let mut after = before.clone();
    apply(&mut after, &injection(0, "aa")).unwrap();

    let rule = |minor: u32| json!({"allow": true, "type": "c", "major": 195, "minor": minor, "access": "rw"});
    let hook = |stage: &str| {
        json!({
            "path": HOOK,
            "args": ["gpulease-hook", stage, "--nonce", "aa"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "timeout": 10
        })
    };
    // The expected tree, by hand: what the fixture says with the intended places changed.
    let mut expected = before.tree();
    expected["process"]["user"]["additionalGids"] = json!([1000, 27, 44]);
    expected["process"]["env"] = json!([
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=8f3b1c2d4e5f",
        "NVIDIA_VISIBLE_DEVICES=GPU-0",
        "EMPTY=",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video",
        "CUDA_VISIBLE_DEVICES=GPU-0",
        "HOME=/root",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID"
    ]);
    expected["annotations"]["gpulease.granted/lease"] = json!("l-aa");
    for stage in HookStage::ALL.map(HookStage::as_str) {
        let list = &mut expected["hooks"][stage];
        if list.is_null() {
            *list = json!([]);
        }
        list.as_array_mut().unwrap().push(hook(stage));
    }
    let device = |path: &str, minor: u32| {
        json!({"path": path, "type": "c", "major": 195, "minor": minor,
            "fileMode": 0o660, "uid": 0, "gid": 44})
    };
    let devices = expected["linux"]["devices"].as_array_mut().unwrap();
    devices[1] = device("/dev/nvidia0", 0);
    devices[3] = device("/dev/nvidiactl", 255);
    let rules = expected["linux"]["resources"]["devices"].as_array_mut().unwrap();
    let hidden = rules.iter().position(|rule| rule["major"] == 195 && rule["minor"] == 3);
    rules.remove(hidden.unwrap());
    rules.extend([rule(0), rule(255)]);
    expected["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/usr/lib64/libcuda.so.1",
        "type": "bind",
        "source": "/usr/lib/x86_64-linux-gnu/libcuda.so.550.163",
        "options": ["ro", "nosuid", "nodev", "bind"]
    }));
    let masked = expected["linux"]["maskedPaths"].as_array_mut().unwrap();
    masked.push(json!("/proc/driver/nvidia/gpus/0000:00:00.0"));

    assert_eq!(differences(&expected, &after.tree()), BTreeMap::new());
    assert_eq!(after.tree(), expected);

    // And nothing outside the places that an edit may touch.
    let places = [
        "/process/user/additionalGids/",
        "/process/env/",
        "/annotations/gpulease.granted/",
        "/hooks/createRuntime/1",
        "/hooks/prestart",
        "/hooks/createContainer",
        "/hooks/startContainer",
        "/hooks/poststart",
        "/hooks/poststop",
        "/linux/devices/",
        "/linux/resources/devices/",
        "/linux/maskedPaths/",
        "/mounts/",
    ];
    for pointer in differences(&before.tree(), &after.tree()).keys() {
        assert!(places.iter().any(|place| pointer.starts_with(place)), "{pointer}");
    }
}

#[test]
fn numbers_and_unknown_members_keep_their_spelling() {
    let mut spec = docker();
    apply(&mut spec, &injection(0, "aa")).unwrap();
    let text = String::from_utf8(spec.to_bytes()).unwrap();
    for kept in [
        "180446744073709551616",
        "18446744073709551615",
        "36893488147419103232",
        "1.50",
        "-0.0",
        "CAP_FUTURE",
        "\"comment\": \"no type of ours knows this\"",
        "größer",
    ] {
        assert!(text.contains(kept), "{kept}");
    }
    let futures = |text: &str| text.matches("\"future").count();
    assert_eq!(futures(&text), futures(DOCKER));
    assert!(futures(DOCKER) >= 9);
    assert!(text.ends_with("}\n"));
}

#[test]
fn the_edited_spec_is_one_to_oci_spec() {
    let mut spec = docker();
    apply(&mut spec, &injection(0, "aa")).unwrap();
    // oci-spec refuses a capability that it does not know; that is why it does not edit.
    let text = String::from_utf8(spec.to_bytes()).unwrap();
    assert!(serde_json::from_str::<Spec>(&text).is_err());
    let mut known = spec.tree();
    for set in known["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        set.as_array_mut().unwrap().retain(|capability| capability != "CAP_FUTURE");
    }
    // It has no room for numbers beyond 64 bits either, but does not look where it knows nothing.
    let typed: Spec = serde_json::from_str(&known.to_string()).unwrap();

    let linux = typed.linux().as_ref().unwrap();
    let devices = linux.devices().as_ref().unwrap();
    let of = |path: &str| devices.iter().find(|device| device.path() == Path::new(path));
    assert_eq!(devices.len(), 4);
    for (path, minor) in [("/dev/nvidia0", 0), ("/dev/nvidiactl", 255)] {
        let device = of(path).unwrap();
        assert_eq!(
            (device.typ(), device.major(), device.minor()),
            (LinuxDeviceType::C, 195, minor)
        );
        assert_eq!(device.file_mode(), Some(0o660));
        assert_eq!((device.uid(), device.gid()), (Some(0), Some(44)));
    }
    assert!(of("/dev/nvidia3").is_none() && of("/dev/fuse").is_some());

    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    let last: Vec<_> = rules[rules.len() - 2..]
        .iter()
        .map(|rule| (rule.allow(), rule.typ(), rule.major(), rule.minor(), rule.access().clone()))
        .collect();
    let ours =
        |minor| (true, Some(LinuxDeviceType::C), Some(195), Some(minor), Some("rw".to_owned()));
    assert_eq!(last, [ours(0), ours(255)]);

    let hooks = typed.hooks().as_ref().unwrap();
    let create = hooks.create_runtime().as_ref().unwrap();
    assert_eq!(create.len(), 2);
    assert_eq!(create[0].path(), Path::new("/usr/libexec/site-hook"));
    for hook in [&create[1], &hooks.poststop().as_ref().unwrap()[0]] {
        assert_eq!(hook.path(), Path::new(HOOK));
        assert_eq!(hook.args().as_ref().unwrap()[2..], ["--nonce", "aa"]);
        assert_eq!(hook.env().as_ref().unwrap().len(), 1);
        assert_eq!(hook.timeout(), Some(10));
    }

    let process = typed.process().as_ref().unwrap();
    assert_eq!(process.user().additional_gids().as_deref(), Some([1000, 27, 44].as_slice()));
    let env = process.env().as_ref().unwrap();
    let named = |name: &str| env.iter().filter(|entry| entry.starts_with(name)).count();
    assert_eq!(named("NVIDIA_VISIBLE_DEVICES="), 1);
    assert_eq!(named("ROCR_VISIBLE_DEVICES="), 0);
    assert_eq!(typed.annotations().as_ref().unwrap()["gpulease.granted/lease"], "l-aa");
}

#[test]
fn each_fragment_is_oci_specs_type() {
    let node = node("/dev/kfd", 234, 0, 109);
    let device: LinuxDevice = serde_json::from_value(fragments::device(&node)).unwrap();
    assert_eq!(serde_json::to_value(&device).unwrap(), fragments::device(&node));
    let rule: LinuxDeviceCgroup = serde_json::from_value(fragments::rule(&node)).unwrap();
    assert_eq!(serde_json::to_value(&rule).unwrap(), fragments::rule(&node));
    let entry = hook(HookStage::Poststop, "aa");
    let hook: Hook = serde_json::from_value(fragments::hook(&entry)).unwrap();
    assert_eq!(serde_json::to_value(&hook).unwrap(), fragments::hook(&entry));
    let mount: Mount = serde_json::from_value(fragments::mount(&library(0))).unwrap();
    assert_eq!(serde_json::to_value(&mount).unwrap(), fragments::mount(&library(0)));
}

#[test]
fn taking_back_gives_the_original() {
    let compact = docker().tree().to_string();
    for text in [DOCKER, &compact] {
        let mut spec = Document::parse(text.as_bytes()).unwrap();
        let undo = apply(&mut spec, &injection(2, "aa")).unwrap();
        assert_ne!(spec.to_bytes(), text.as_bytes());
        let mut reread = Document::parse(&spec.to_bytes()).unwrap();
        let stored = serde_json::to_vec(&undo).unwrap();
        revert(&mut reread, &serde_json::from_slice(&stored).unwrap());
        assert_eq!(String::from_utf8(reread.to_bytes()).unwrap(), text);
    }
}

#[test]
fn a_second_start_carries_only_the_second_grant() {
    let mut twice = docker();
    let undo = apply(&mut twice, &injection(0, "aa")).unwrap();
    revert(&mut twice, &undo);
    apply(&mut twice, &injection(3, "bb")).unwrap();
    let mut once = docker();
    apply(&mut once, &injection(3, "bb")).unwrap();
    assert_eq!(twice.to_bytes(), once.to_bytes());

    let facts = facts(&twice.to_bytes()).unwrap();
    let nonces = facts.our_nonces();
    assert_eq!(nonces.iter().map(|nonce| nonce.as_str()).collect::<Vec<_>>(), ["bb"]);
    let gpus: Vec<&str> = facts
        .device_paths
        .iter()
        .map(|device| device.path.as_str())
        .filter(|path| gpulease::door::injection::is_gpu_node_path(path))
        .collect();
    assert_eq!(gpus, ["/dev/nvidia3", "/dev/nvidiactl"]);
}

#[test]
fn undoing_and_cleaning_twice_changes_nothing() {
    let mut spec = docker();
    let undo = apply(&mut spec, &injection(0, "aa")).unwrap();
    revert(&mut spec, &undo);
    let once = spec.to_bytes();
    assert!(strip_granted(&mut spec), "the fixture's forged annotation is back, and goes");
    assert!(!strip_granted(&mut spec));

    // Without the record, what is recognisably ours goes, and a start is still correct.
    let mut spec = Document::parse(&once).unwrap();
    apply(&mut spec, &injection(0, "aa")).unwrap();
    assert!(strip_our_hooks(&mut spec));
    assert!(!strip_our_hooks(&mut spec));
    apply(&mut spec, &injection(3, "bb")).unwrap();
    let facts = facts(&spec.to_bytes()).unwrap();
    assert_eq!(facts.our_nonces().len(), 1);
    assert!(!facts.device_paths.iter().any(|device| device.path == "/dev/nvidia0"));
}

#[test]
fn the_fixture_is_read_as_it_is() {
    let facts = facts(DOCKER.as_bytes()).unwrap();
    assert_eq!(facts.annotations["gpulease/count"], "2");
    assert!(facts.granted_keys && !facts.privileged && !facts.user_namespace);
    assert_eq!(facts.hooks.len(), 2);
    assert_eq!(facts.device_paths.len(), 4);
    assert!(facts.cgroups_path.unwrap().starts_with("system.slice:docker:"));
}

/// Any JSON, with the keys that are edited more likely than not.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(serde_json::from_str("1e400").unwrap()),
        prop::sample::select(vec![
            "/dev/nvidia0",
            "/dev/nvidia1",
            "c",
            "NVIDIA_VISIBLE_DEVICES=1",
            "ROCR_VISIBLE_DEVICES=",
            "A",
            "ü\u{1}\"",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let key = prop::sample::select(vec![
            "process",
            "env",
            "user",
            "additionalGids",
            "linux",
            "devices",
            "resources",
            "path",
            "type",
            "major",
            "minor",
            "allow",
            "access",
            "hooks",
            "createRuntime",
            "poststop",
            "annotations",
            "gpulease.granted/x",
            "x",
            "y",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

/// A spec whose edited places mostly have the right kind.
fn spec() -> impl Strategy<Value = Value> {
    fn maybe(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        prop_oneof![12 => value, 2 => Just(Value::Null), 1 => tree()]
    }
    fn list(element: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        maybe(prop::collection::vec(element, 0..6).prop_map(Value::from))
    }
    let path = prop::sample::select(vec!["/dev/nvidia0", "/dev/nvidia1", "/dev/d", "/dev/e"]);
    let device =
        (path, 0..3u32, any::<bool>()).prop_map(|(path, minor, numbered)| match numbered {
            true => json!({"path": path, "type": "c", "major": 195, "minor": minor}),
            false => json!({"path": path, "x": 1.5}),
        });
    let rule = (any::<bool>(), prop::sample::select(vec!["a", "c"]), 0..3u32).prop_map(
        |(allow, kind, minor)| json!({"allow": allow, "type": kind, "major": 195, "minor": minor}),
    );
    let variable = prop::sample::select(vec![
        "NVIDIA_VISIBLE_DEVICES=x",
        "NVIDIA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES=",
        "A=1",
        "CUDA_VISIBLE_DEVICES=2",
    ])
    .prop_map(Value::from);
    let hook = || list(tree().prop_map(|x| json!({"path": "/bin/x", "x": x})));
    // Above, at, below and beside what is mounted.
    let place =
        prop::sample::select(vec!["/usr", "/usr/lib64/", "/usr/lib64/libcuda.so.1", "/x", ""]);
    let mounts = list((place, tree()).prop_map(|(place, x)| json!({"destination": place, "x": x})));
    let hooks = (hook(), hook(), mounts);
    let gids = list((0..50u32).prop_map(Value::from));
    let annotations = tree().prop_map(|x| json!({"gpulease.granted/x": x, "y": "z"}));
    (list(device), list(rule), list(variable), gids, hooks, maybe(annotations), tree()).prop_map(
        |(devices, rules, env, gids, (hooks, prestart, mounts), annotations, rest)| {
            json!({
                "rest": rest,
                "annotations": annotations,
                "linux": {"devices": devices, "rest": rest, "resources": {"devices": rules}},
                "process": {"user": {"additionalGids": gids, "rest": rest}, "env": env},
                "hooks": {"createRuntime": hooks, "prestart": prestart, "rest": rest},
                "mounts": mounts,
            })
        },
    )
}

/// The tree without the places that an edit may touch, and without objects that are then empty.
fn untouchable(root: &Value) -> Value {
    fn without(value: &mut Value, path: &[&str]) {
        let Some(object) = value.as_object_mut() else { return };
        match path {
            [] => {}
            [last] => {
                object.shift_remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(inner) = object.get_mut(*first) {
                    without(inner, rest);
                    if inner.is_null() || inner.as_object().is_some_and(|inner| inner.is_empty()) {
                        object.shift_remove(*first);
                    }
                }
            }
        }
    }
    let mut root = root.clone();
    for path in [
        &["linux", "devices"][..],
        &["linux", "resources", "devices"],
        &["process", "env"],
        &["process", "user", "additionalGids"],
        &["hooks", "prestart"],
        &["hooks", "createRuntime"],
        &["hooks", "createContainer"],
        &["hooks", "startContainer"],
        &["hooks", "poststart"],
        &["hooks", "poststop"],
        &["linux", "maskedPaths"],
        &["mounts"],
        &["annotations"],
    ] {
        without(&mut root, path);
    }
    root
}

fn check(root: &Value) -> Result<(), TestCaseError> {
    let bytes = root.to_string().into_bytes();
    let mut document = Document::parse(&bytes).unwrap();
    let before = document.clone();
    facts(&bytes).unwrap();
    match apply(&mut document, &injection(0, "aa")) {
        Err(_) => prop_assert_eq!(document.to_bytes(), bytes),
        Ok(undo) => {
            prop_assert_eq!(untouchable(&before.tree()), untouchable(&document.tree()));
            let mut again = document.clone();
            revert(&mut again, &undo);
            prop_assert_eq!(String::from_utf8(again.to_bytes()), String::from_utf8(bytes));
            let read = facts(&document.to_bytes()).unwrap();
            prop_assert_eq!(read.our_nonces().len(), 1);
            prop_assert!(read.device_paths.iter().any(|device| device.path == "/dev/nvidia0"));
            prop_assert!(read.device_paths.iter().all(|device| device.path != "/dev/nvidia1"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_spec_is_edited_and_restored_or_left(root in spec()) {
        check(&root)?;
    }

    #[test]
    fn any_tree_is_edited_and_restored_or_left(tree in tree()) {
        check(&json!({"linux": tree, "x": tree}))?;
        if tree.is_object() {
            check(&tree)?;
        }
    }

    #[test]
    fn an_undo_on_any_other_document_does_no_harm(root in spec(), other in spec()) {
        let parse = |root: &Value| Document::parse(root.to_string().as_bytes()).unwrap();
        let (mut first, mut other) = (parse(&root), parse(&other));
        if let Ok(undo) = apply(&mut first, &injection(0, "aa")) {
            let before = untouchable(&other.tree());
            revert(&mut other, &undo);
            prop_assert_eq!(before, untouchable(&other.tree()));
        }
    }
}
