//! MIG instances, on a simulated node: the nodes and rules are real, the driver is not there.

use super::lab::{Lab, Place, Steps, has_line, numbers_of, open_is, uuids, values};
use gpulease::door::model::device::{Device, DeviceNode, Node};
use gpulease::door::model::isolation::{Enforcement, Isolation};
use gpulease::door::model::lease::Lease;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Two whole GPUs, 0 and 1; 2 and 3 are in MIG mode.
fn a100x4() -> (&'static str, Node) {
    let toml = gpulease::door::inventory::profiles::find("a100x4").unwrap().toml;
    (toml, gpulease::door::inventory::static_file::parse(toml).unwrap())
}

fn at<'n>(node: &'n Node, place: &str) -> &'n Device {
    node.devices.iter().find(|device| device.place().to_string() == place).unwrap()
}

fn numbers(node: &DeviceNode) -> (u32, u32) {
    let numbers = node.simulated.unwrap();
    (numbers.major, numbers.minor)
}

/// What a container sees of a device: its nodes under their numbers, which can be opened as far as
/// the rules go.
#[track_caller]
fn sees(text: &str, node: &Node, device: &Device) {
    for own in node.nodes_of(device) {
        let name = own.path.rsplit('/').next().unwrap();
        assert_eq!(numbers_of(text, name), Some(numbers(own)), "{text}");
        open_is(text, &own.path, "No such device or address");
    }
}

/// The nodes of the container, by the names that GPUs' nodes have.
fn gpu_nodes(text: &str) -> BTreeSet<&str> {
    let nodes = text.lines().filter(|line| line.starts_with('c'));
    nodes
        .filter_map(|line| line.split(' ').next_back())
        .filter(|n| n.starts_with("nvidia"))
        .collect()
}

#[track_caller]
fn lease_of(steps: &Steps, moment: &str, id: &str) -> Lease {
    let leases = steps.leases(moment);
    leases
        .into_iter()
        .find(|lease| lease.container_id.as_str() == id)
        .expect("a lease of that name")
}

pub fn instances_of_a_gpu_go_to_different_containers(place: Place) {
    let (toml, node) = a100x4();
    let lab = Lab::new(place, toml);
    let (first, second) = (at(&node, "2:2"), at(&node, "2:3"));
    // Each tries its GPU's node, both instances' capabilities, and to make the other one's.
    let script = |own: &Device, other: &Device| {
        let mut script = "ls -ln /dev /dev/nvidia-caps; env".to_owned();
        for own in node.nodes_of(own) {
            script += &format!("; try {}", own.path);
        }
        for other in &other.nodes {
            let (major, minor) = numbers(other);
            script += &format!("; other {major} {minor}");
        }
        script + "; echo END; sleep 60"
    };
    let words = [("gpulease/mig-profile", "1g.5gb"), ("gpulease/devices", "2")];
    lab.bundle("one", &words, &script(first, second));
    lab.bundle("two", &words, &script(second, first));
    lab.bundle("three", &words, "echo END");
    let gpu = [("gpulease/count", "1")];
    lab.bundle("whole", &gpu, "ls -ln /dev; ls /dev/nvidia-caps; env; echo END; sleep 60");
    lab.bundle("gpus", &[("gpulease/count", "2")], "echo END");
    lab.bundle("parent", &[("gpulease/devices", "3")], "echo END");
    let steps = lab.run(
        r#"
        make one run one --detach
        make two run two --detach
        make whole run whole --detach
        until_ says one END
        until_ says two END
        until_ says whole END
        make three run three
        make gpus run gpus
        make parent run parent
        leases held
        cp "$B/one/config.json" "$OUT/one.config.out"
        kill9 "$(pid one)"
        make freed run three
        for name in one two whole; do step "delete-$name" gl delete --force "$P-$name"; done
        leases end
        "#,
    );
    let Some(steps) = steps else { return };
    for (step, device) in [("one", first), ("two", second)] {
        let text = steps.ok(step);
        sees(&text, &node, device);
        assert_eq!(gpu_nodes(&text).len(), 3 + 3, "control nodes, GPU, capabilities: {text}");
        open_is(&text, "/dev/other", "Operation not permitted");
        assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [device.uuid.as_str()]);
        assert_eq!(values(&text, "CUDA_VISIBLE_DEVICES"), [device.uuid.as_str()]);
        assert_eq!(values(&text, "GPULEASE_SIMULATED"), ["true"]);
        let lease = lease_of(&steps, "held", &lab.id(step));
        assert_eq!(uuids(&lease), [device.uuid.as_str()]);
        assert_eq!(lease.devices[0].mig.as_ref(), device.instance());
        assert_eq!(lease.devices[0].memory_bytes, device.capacity());
        let isolation = &lease.isolation;
        assert_eq!((isolation.requested, isolation.effective), (Isolation::Mig, Isolation::Mig));
        assert_eq!(isolation.compute_enforcement, Enforcement::Simulated);
        assert_eq!(isolation.memory_enforcement, Enforcement::Simulated);
    }
    let whole = steps.ok("whole");
    assert_eq!(gpu_nodes(&whole).len(), 3 + 1, "{whole}");
    assert_eq!(numbers_of(&whole, "nvidia0"), Some(numbers(&at(&node, "0").nodes[0])), "{whole}");
    let no_room = steps.refused("three", "no-capacity");
    assert!(no_room.contains("1 MIG instance of the profile 1g.5gb requested"), "{no_room}");
    assert!(no_room.contains("MIG 2:2 (NVIDIA A100-SXM4-40GB MIG 1g.5gb): held excl"), "{no_room}");
    let in_mig_mode = "in MIG mode: its instances are leased, not the GPU";
    assert!(steps.refused("gpus", "no-capacity").contains(in_mig_mode));
    assert!(steps.refused("parent", "no-match").contains(in_mig_mode));
    has_line(&steps.ok("freed"), "END");
    assert!(steps.leases("end").is_empty());
    rules_are_those_of(&steps.out("one.config"), &node, first);
}

/// Exactly the granted nodes, each with a rule to read and write it.
fn rules_are_those_of(config: &str, node: &Node, device: &Device) {
    let spec: Value = serde_json::from_str(config).unwrap();
    let nodes: Vec<_> = node.control_of(device.vendor).chain(node.nodes_of(device)).collect();
    assert_eq!(nodes.len(), 6);
    let listed = spec["linux"]["devices"].as_array().unwrap();
    let paths: Vec<_> = listed.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(paths, nodes.iter().map(|node| node.path.as_str()).collect::<Vec<_>>());
    let rule = |node: &&_| {
        let (major, minor) = numbers(node);
        json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"})
    };
    let expected: Vec<Value> = nodes.iter().map(rule).collect();
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[rules.len() - 6..], expected);
    let gpu_majors: BTreeSet<u32> = nodes.iter().map(|node| numbers(node).0).collect();
    let of_gpus = |rule: &&Value| {
        rule["allow"] == true
            && rule["major"].as_u64().is_some_and(|m| gpu_majors.iter().any(|g| u64::from(*g) == m))
    };
    assert_eq!(rules.iter().filter(of_gpus).count(), 6, "{rules:?}");
}

pub fn an_injected_gpu_in_mig_mode_excludes_its_instances(place: Place) {
    let (toml, node) = a100x4();
    let lab = Lab::new(place, toml);
    let inject = |nodes: Vec<DeviceNode>| {
        move |spec: &mut Value| {
            let entry = |own: &DeviceNode| {
                let (major, minor) = numbers(own);
                json!({"path": own.path, "type": "c", "major": major, "minor": minor,
                       "fileMode": 0o666, "uid": 0, "gid": 0})
            };
            spec["linux"]["devices"] = nodes.iter().map(entry).collect();
            spec["process"]["args"] = json!(["sh", "-c", "echo END; sleep 60"]);
        }
    };
    let of = |place: &str| node.nodes_of(at(&node, place)).cloned().collect::<Vec<_>>();
    lab.bundle_with("gpu", &[], inject(of("2")));
    lab.bundle_with("instance", &[], inject(of("2:1")));
    lab.bundle("asks", &[("gpulease/devices", "2:1")], "echo END");
    lab.bundle("elsewhere", &[("gpulease/isolation", "mig")], "echo END");
    lab.bundle("other", &[("gpulease/devices", "2:0")], "echo END");
    let steps = lab.run(
        r#"
        make gpu run gpu --detach
        until_ says gpu END
        leases gpu
        make asks run asks
        make beside run instance
        make elsewhere run elsewhere
        step delete gl delete --force "$P-gpu"
        make instance run instance --detach
        until_ says instance END
        leases instance
        make taken run gpu
        make again run asks
        make other run other
        step delete-instance gl delete --force "$P-instance"
        leases end
        "#,
    );
    let Some(steps) = steps else { return };
    steps.ok("gpu");
    assert_eq!(uuids(&steps.lease("gpu")), [at(&node, "2").uuid.as_str()]);
    let held = "MIG 2:1 (NVIDIA A100-SXM4-40GB MIG 2g.10gb): held exclusively by lease";
    for step in ["asks", "beside", "again"] {
        let text = steps.refused(step, "no-capacity");
        assert!(text.contains(held), "{step}: {text}");
    }
    has_line(&steps.ok("elsewhere"), "END");
    steps.ok("instance");
    let lease = steps.lease("instance");
    assert_eq!(uuids(&lease), [at(&node, "2:1").uuid.as_str()]);
    assert_eq!(lease.isolation.effective, Isolation::Mig);
    let taken = steps.refused("taken", "no-capacity");
    assert!(taken.contains("GPU 2 (NVIDIA A100-SXM4-40GB): held exclusively by lease"), "{taken}");
    has_line(&steps.ok("other"), "END");
    assert!(steps.leases("end").is_empty());
}

/// NVIDIA's driver lets `CAP_SYS_ADMIN` at every instance, so that the lease must not claim more.
pub fn whoever_is_not_confined_is_not_kept_apart(place: Place) {
    let (toml, node) = a100x4();
    let lab = Lab::new(place, toml);
    let words = [("gpulease/mig-profile", "3g.20gb")];
    lab.bundle_with("admin", &words, |spec| {
        spec["process"]["args"] = json!(["sh", "-c", "echo END; sleep 60"]);
        for set in ["bounding", "effective", "permitted"] {
            let names = spec["process"]["capabilities"][set].as_array_mut().unwrap();
            names.push(json!("CAP_SYS_ADMIN"));
        }
    });
    let steps = lab.run(
        r#"
        make admin run admin --detach
        until_ says admin END
        leases held
        step delete gl delete --force "$P-admin"
        "#,
    );
    let Some(steps) = steps else { return };
    steps.ok("admin");
    let lease = steps.lease("held");
    assert_eq!(uuids(&lease), [at(&node, "2:0").uuid.as_str()]);
    assert_eq!(lease.isolation.effective, Isolation::Mig);
    assert_eq!(lease.isolation.compute_enforcement, Enforcement::None);
    assert_eq!(lease.isolation.memory_enforcement, Enforcement::None);
}
