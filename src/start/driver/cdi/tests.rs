use super::*;
use crate::inventory::cache::Settings;
use crate::model::cdi::{CdiDevice, CdiSpec};
use crate::model::device::{ControlNodes, Device, DeviceNode, Node, PciAddress, Vendor};
use crate::model::fixtures;
use crate::model::quantity::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

const OWN: &str = "/dev/own";
const OTHER: &str = "/dev/other";
const CONTROL: &str = "/dev/control";

/// A host with these nodes, whose numbers are the same on every Linux: 1:3, 1:5 and 1:7. Owner, group
/// and mode are whatever this one has.
struct Host {
    _dir: tempfile::TempDir,
    paths: Paths,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        fs::create_dir_all(&paths.dev).unwrap();
        for (node, real) in [(OWN, "null"), (OTHER, "zero"), (CONTROL, "full")] {
            symlink(Path::new("/dev").join(real), dir.path().join(&node[1..])).unwrap();
        }
        fs::write(paths.dev.join("file"), "").unwrap();
        Self { _dir: dir, paths }
    }
}

fn device(uuid: &str, bus: u8, node: &str) -> Device {
    Device {
        index: u32::from(bus),
        memory_total_bytes: Some(Bytes(1)),
        pci: PciAddress { domain: 0, bus, device: 0, function: 0 },
        nodes: fixtures::nodes(&[node]),
        ..fixtures::device(uuid, Vendor::Amd)
    }
}

fn inventory(edits: ContainerEdits, common: ContainerEdits) -> Inventory {
    let own = device("GPU-own", 0, OWN);
    let named =
        CdiDevice { uuid: own.uuid.clone(), name: "amd.com/gpu=0".to_owned(), spec: 0, edits };
    let control = DeviceNode { path: CONTROL.to_owned(), simulated: None };
    Inventory {
        v: 0,
        boot_id: String::new(),
        settings: Settings::of(&crate::config::Config::default()),
        from: Vec::new(),
        stamps: Vec::new(),
        node: Node {
            devices: vec![own, device("GPU-other", 1, OTHER)],
            control: vec![ControlNodes { vendor: Vendor::Amd, nodes: vec![control] }],
            links: Vec::new(),
        },
        drivers: Vec::new(),
        cdi: Cdi {
            specs: vec![CdiSpec { path: "/etc/cdi/a.yaml".to_owned(), edits: common }],
            devices: vec![named],
        },
        notes: Vec::new(),
        made_at: String::new(),
    }
}

/// Of one device, as a record has it.
fn lease(uuid: &str) -> Lease {
    let isolation = json!({"requested": "none", "effective": "none",
        "compute_enforcement": "none", "memory_enforcement": "none"});
    serde_json::from_value(json!({
        "v": crate::model::lease::RECORD_VERSION, "id": "l-abababababab", "nonce": "ab".repeat(16),
        "state": "pending", "container_id": "c", "runtime_root": "/run/runc", "engine": "runc",
        "runtime": "runc", "bundle": "/b", "created_at": "2026-01-01T00:00:00Z",
        "owner": {"pid": 1, "start_time": 1, "boot_id": "b", "pid_namespace": 1},
        "devices": [{"uuid": uuid, "index": 0, "vendor": "amd", "model": "Test",
            "pci": "0000:00:00.0", "nodes": [OWN], "milli": 1000, "memory_bytes": 1,
            "sharing": "exclusive", "simulated": false}],
        "isolation": isolation, "env": {}, "priority": 5, "release_grace_ms": 0
    }))
    .unwrap()
}

/// As a start has it before: the granted node, and a variable of ours.
fn before() -> Injection {
    Injection {
        nodes: vec![ResolvedNode {
            path: OWN.to_owned(),
            major: 1,
            minor: 3,
            file_mode: 0o666,
            uid: Some(0),
            gid: Some(0),
            access: READ_WRITE.to_owned(),
        }],
        env: [("HIP_VISIBLE_DEVICES".to_owned(), Some("0".to_owned()))].into(),
        ..Injection::default()
    }
}

fn added(edits: &serde_json::Value, common: &serde_json::Value) -> Result<Injection, Failure> {
    let read = |value: &serde_json::Value| serde_json::from_value(value.clone()).unwrap();
    let inventory = inventory(read(edits), read(common));
    let mut injection = before();
    add(&mut injection, &inventory, &lease("GPU-own"), &Host::new().paths)?;
    Ok(injection)
}

#[test]
fn nodes_are_the_hosts_within_what_the_spec_allows() {
    let edits = json!({"deviceNodes": [
        {"path": OWN, "permissions": "r"},
        {"path": "/dev/alias", "hostPath": OWN, "permissions": "rwm", "fileMode": 0o600,
            "uid": 7, "gid": 0},
        {"path": CONTROL, "permissions": "none", "fileMode": 0o666, "uid": 8, "gid": 45},
        {"path": "/dev/absent", "type": "c", "major": 240, "minor": 9, "gid": 44, "fileMode": 0o660},
    ]});
    let injection = added(&edits, &json!({})).unwrap();
    let nodes: Vec<_> = injection
        .nodes
        .iter()
        .map(|n| (n.path.as_str(), n.major, n.minor, n.file_mode, n.uid, n.access.as_str()))
        .collect();
    let expected = [
        (OWN, 1, 3, 0o666, Some(0), "r"),
        ("/dev/alias", 1, 3, 0o600, Some(7), "rw"),
        (CONTROL, 1, 7, 0o666, Some(8), ""),
        ("/dev/absent", 240, 9, 0o660, Some(0), "rw"),
    ];
    assert_eq!(nodes, expected);
    assert_eq!(injection.gids, [44], "the group that may use a node comes with it");
}

#[test]
fn owner_and_mode_default_to_the_hosts() {
    let injection = added(&json!({"deviceNodes": [{"path": CONTROL}]}), &json!({})).unwrap();
    let node = injection.nodes.iter().find(|node| node.path == CONTROL).unwrap();
    let host = fs::metadata("/dev/full").unwrap();
    let expected = (host.mode() & 0o777, Some(host.uid()), Some(host.gid()));
    assert_eq!((node.file_mode, node.uid, node.gid), expected);
    assert_eq!(injection.gids, device_nodes::gids(std::slice::from_ref(node)));
}

#[test]
fn nothing_brings_a_gpu_that_is_not_granted() {
    let numbered = json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 5});
    for node in [json!({"path": OTHER}), json!({"path": "/dev/x", "hostPath": OTHER}), numbered] {
        let nodes = json!({"deviceNodes": [node]});
        let nothing = json!({});
        for (edits, common) in [(&nodes, &nothing), (&nothing, &nodes)] {
            let failure = added(edits, common).unwrap_err();
            assert_eq!(failure.code, Code::BadInventory);
            assert!(failure.message.contains("not granted"), "{}", failure.message);
            assert!(failure.message.contains("/etc/cdi/a.yaml"), "{}", failure.message);
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (node, part) in [
        (json!({"path": "/dev/sda", "type": "b", "major": 8}), "not a character device"),
        (json!({"path": "/dev/absent-node"}), "cannot be used"),
        (json!({"path": "/dev/file"}), "not a character device"),
        (json!({"path": OWN, "type": "c", "major": 240, "minor": 1}), "1:3 on this host"),
        (json!({"path": CONTROL, "type": "c", "major": 240, "minor": 1}), "1:7 on this host"),
    ] {
        let failure = added(&json!({"deviceNodes": [node]}), &json!({})).unwrap_err();
        assert!(failure.message.contains(part), "{}", failure.message);
        assert!(failure.hint.is_some());
    }
    let inventory = inventory(ContainerEdits::default(), ContainerEdits::default());
    let missing =
        add(&mut before(), &inventory, &lease("GPU-other"), &Host::new().paths).unwrap_err();
    assert_eq!(missing.code, Code::BadInventory);
    assert!(missing.message.contains("GPU-other"), "{}", missing.message);
    assert!(missing.hint.unwrap().contains("gpulease cdi list"));
}

#[test]
fn variables_hooks_and_mounts_come_from_the_spec() {
    let common = json!({
        "env": ["A=1", "NVIDIA_VISIBLE_DEVICES=void", "HIP_VISIBLE_DEVICES=7", "GPULEASE_SIMULATED=x"],
        "hooks": [{"hookName": "startContainer", "path": "/bin/a"},
            {"hookName": "prestart", "path": "/bin/b", "env": ["B=1"], "timeout": 0}],
        "mounts": [{"hostPath": "/a", "containerPath": "/b"},
            {"hostPath": "tmpfs", "containerPath": "/c", "type": "tmpfs", "options": ["ro"]}],
    });
    let injection = added(&json!({"env": ["A=2=3"], "additionalGids": [5]}), &common).unwrap();
    let expected: BTreeMap<String, Option<String>> = [
        ("A".to_owned(), Some("2=3".to_owned())),
        ("HIP_VISIBLE_DEVICES".to_owned(), Some("0".to_owned())),
    ]
    .into();
    assert_eq!(injection.env, expected);
    assert_eq!(injection.gids, [5]);
    let hooks: Vec<_> =
        injection.hooks.iter().map(|h| (h.stage.as_str(), h.env.join(" "), h.timeout)).collect();
    let expected =
        [("startContainer", HOOK_ENV.to_owned(), None), ("prestart", "B=1".to_owned(), None)];
    assert_eq!(hooks, expected);
    let mounts: Vec<_> =
        injection.mounts.iter().map(|m| (m.kind.as_str(), m.options.join(","))).collect();
    assert_eq!(mounts, [("bind", "rbind".to_owned()), ("tmpfs", "ro".to_owned())]);
}
