use super::*;
use crate::injection;
use serde_json::{Value, json};

/// As dockerd writes it, with two GPUs and two other devices.
const DOCKER: &str = include_str!("../../../tests/fixtures/docker-config.json");

/// The rules that containerd, runc and crun write for every container. Those of Docker and Podman
/// are among them.
fn usual() -> Vec<Value> {
    let rule = |major: i64, minor: Option<i64>| json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    let numbers = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200)];
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "major": -1, "minor": -1, "access": "m" }),
        json!({ "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm" }),
        rule(136, None),
    ];
    rules.extend(numbers.map(|(major, minor)| rule(major, Some(minor))));
    rules
}

fn facts(rules: Vec<Value>, devices: Value, mounts: Value) -> Facts {
    let spec = json!({
        "mounts": mounts,
        "linux": { "devices": devices, "resources": { "devices": rules } },
    });
    injection::facts(spec.to_string().as_bytes()).unwrap()
}

/// The devices that one more rule opens.
fn by_rule(rule: Value) -> Access {
    let rules = usual().into_iter().chain([rule]).collect();
    Access::of(&facts(rules, json!([]), json!([])))
}

fn by_mount(rules: Vec<Value>, mount: Value) -> Access {
    Access::of(&facts(rules, json!([]), json!([mount])))
}

fn privileged() -> Vec<Value> {
    usual().into_iter().chain([json!({ "allow": true, "access": "rwm" })]).collect()
}

#[test]
fn what_every_engine_writes_opens_nothing() {
    let mount = json!({ "destination": "/x", "source": "/dev", "type": "bind" });
    let facts = facts(usual(), Value::Null, json!([mount]));
    assert!(Access::of(&facts).is_empty() && !facts.may_be_injected());
    let none = injection::facts(b"{}").unwrap();
    assert!(Access::of(&none).is_empty() && !none.may_be_injected());
}

#[test]
fn a_rule_opens_what_it_covers() {
    let gpu = (195, 3);
    for rule in [
        json!({ "allow": true, "type": "c", "major": 195, "minor": 3, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "major": 195, "minor": 3, "access": "r" }),
        json!({ "allow": true, "type": "u", "major": 195, "minor": 3, "access": "w" }),
        json!({ "allow": true, "type": "char", "major": 195, "minor": 3, "access": "rw" }),
        json!({ "allow": true, "type": "all", "major": 1, "minor": 3, "access": "rw" }),
        json!({ "allow": true, "type": "c", "major": 195, "access": "rw" }),
        json!({ "allow": true, "type": "c", "major": 195, "minor": -1, "access": "rw" }),
        json!({ "allow": true, "type": "c", "major": null, "minor": 3, "access": "rw" }),
        json!({ "allow": true, "type": "c", "access": "rwm" }),
        json!({ "allow": true, "type": "a", "access": "rwm" }),
        // The runtimes ignore the numbers of a rule without a type, and of type `a`.
        json!({ "allow": true, "type": "a", "major": 1, "minor": 3, "access": "m" }),
        json!({ "allow": true, "major": 10, "minor": 3, "access": "rwm" }),
    ] {
        assert!(by_rule(rule.clone()).opens("/dev/nvidia3", Some(gpu)), "{rule}");
    }
    for rule in [
        json!({ "allow": true, "type": "c", "major": 195, "minor": 3, "access": "m" }),
        json!({ "allow": true, "type": "c", "major": 195, "access": "m" }),
        json!({ "allow": true, "type": "c", "major": 195, "minor": 4, "access": "rwm" }),
        json!({ "allow": true, "type": "c", "major": 196, "access": "rwm" }),
        json!({ "allow": true, "type": "b", "major": 195, "access": "rwm" }),
        json!({ "allow": true, "type": "p", "major": 195, "minor": 3, "access": "rwm" }),
        json!({ "allow": false, "type": "c", "major": 195, "minor": 3, "access": "rwm" }),
    ] {
        let access = by_rule(rule.clone());
        assert!(!access.opens("/dev/nvidia3", Some(gpu)), "{rule}");
        assert!(!access.opens("/dev/nvidia3", None), "{rule}");
    }
}

#[test]
fn a_node_is_known_by_path_or_by_number() {
    let given = |path: &str, kind: &str| {
        let node = json!({ "path": path, "type": kind, "major": 195, "minor": 3 });
        Access::of(&facts(usual(), json!([node]), json!([])))
    };
    for (path, kind) in [
        ("/dev/x", "c"),
        ("/dev/x", "u"),
        ("/dev/x", ""),
        ("/dev/x", "char"),
        ("/dev/nvidia3", "b"),
    ] {
        assert!(given(path, kind).opens("/dev/nvidia3", Some((195, 3))), "{path} {kind}");
    }
    assert!(!given("/dev/x", "b").opens("/dev/nvidia3", Some((195, 3))));
    assert!(!given("/dev/x", "c").opens("/dev/nvidia3", Some((195, 4))));
    assert!(!given("/dev/x", "c").opens("/dev/nvidia3", None));
}

#[test]
fn the_hosts_list_of_nodes_asks_for_none() {
    let node =
        |n: i64| json!({ "path": format!("/dev/x{n}"), "type": "c", "major": 4, "minor": n });
    let mut nodes: Vec<Value> = (0..8).map(node).collect();
    nodes.push(json!({ "path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 0 }));
    let hosts = Value::from(nodes.clone());
    assert!(Access::of(&facts(privileged(), hosts.clone(), json!([]))).is_empty());
    // Without the rule, or with few other nodes, the nodes count as requested.
    assert_eq!(Access::of(&facts(usual(), hosts, json!([]))).nodes.len(), 9);
    nodes.remove(0);
    assert_eq!(Access::of(&facts(privileged(), nodes.into(), json!([]))).nodes.len(), 8);
}

#[test]
fn everything_is_asked_for_by_a_rule_with_a_type() {
    let bare = facts(privileged(), json!([]), json!([]));
    assert!(bare.privileged && !bare.may_be_injected(), "as engines write --privileged");
    for kind in ["a", "c", "u"] {
        let rule = json!({ "allow": true, "type": kind, "access": "rwm" });
        let asked = facts(usual().into_iter().chain([rule]).collect(), json!([]), json!([]));
        assert!(asked.privileged && asked.may_be_injected(), "{kind}");
    }
}

#[test]
fn a_mount_counts_where_no_rule_closes_it() {
    let mount = |source: &str, options: &[&str]| json!({ "destination": "/x", "type": "bind", "source": source, "options": options });
    for source in ["/dev/nvidia0", "/dev", "/dev/dri", "/srv/link"] {
        let mount = mount(source, &["rbind", "rw"]);
        assert_eq!(by_mount(vec![], mount.clone()).mounts.len(), 1, "{source}");
        assert!(by_mount(usual(), mount.clone()).is_empty(), "{source}");
        // A privileged container has all of `/dev` anyway.
        let is_part = source.starts_with("/dev/");
        assert_eq!(by_mount(privileged(), mount).is_empty(), !is_part, "{source}");
    }
    let closing = |access: &str, kind: Value| {
        let deny = json!({ "allow": false, "type": kind, "access": access });
        by_mount(vec![deny], mount("/dev/nvidia0", &["bind"])).is_empty()
    };
    assert!(closing("rwm", Value::Null) && closing("m", "a".into()) && closing("rw", "c".into()));
    assert!(!closing("rwm", "all".into()) && !closing("rwm", "u".into()));
    assert!(!closing("r", "c".into()) && !closing("m", "c".into()) && !closing("rwm", "b".into()));
    let devtmpfs = json!({ "destination": "/x", "type": "devtmpfs", "source": "devtmpfs" });
    assert_eq!(by_mount(vec![], devtmpfs).mounts.len(), 1);
    for closed in [
        json!({ "destination": "/x", "type": "devtmpfs", "source": "d", "options": ["nodev"] }),
        mount("/dev", &["rbind", "rnodev"]),
        json!({ "destination": "/x", "type": "tmpfs", "source": "tmpfs" }),
    ] {
        assert!(by_mount(vec![], closed.clone()).is_empty(), "{closed}");
    }
    // The last of two opposite options counts.
    assert!(!by_mount(vec![], mount("/dev", &["rbind", "rnodev", "rdev"])).is_empty());
    let reopened = by_mount(vec![], mount("/dev/nvidia0", &["bind", "nodev", "rdev"]));
    assert!(reopened.mounts.iter().all(|mount| !mount.closes_devices) && !reopened.is_empty());
}

#[test]
fn dockers_spec_opens_what_was_given() {
    let facts = injection::facts(DOCKER.as_bytes()).unwrap();
    let access = Access::of(&facts);
    let opened: Vec<_> = access.rules.iter().map(|rule| (rule.major, rule.minor)).collect();
    let one = |major, minor| (Some(major), Some(minor));
    assert_eq!(opened, [one(195, 0), one(195, 3), one(10, 232)]);
    assert!(access.mounts.is_empty());
    for (minor, is_open) in [(0, true), (3, true), (1, false)] {
        let path = format!("/dev/nvidia{minor}");
        assert_eq!(access.opens(&path, Some((195, minor))), is_open, "{path}");
    }
}

#[test]
fn a_list_in_doubt_is_not_all_the_host_has() {
    let node = |path: String, major: u32, minor: u32| json!({ "path": path, "type": "c", "major": major, "minor": minor });
    let others = (0..9).map(|n| node(format!("/dev/tty{n}"), 4, n));
    let devices: Vec<Value> = others.chain([node("/dev/nvidia0".into(), 195, 0)]).collect();
    let spec = json!({ "devices": devices, "resources": { "devices": privileged() } });
    let of = |text: String| Access::of(&injection::facts(text.as_bytes()).unwrap());
    assert!(of(format!(r#"{{"linux":{spec}}}"#)).nodes.is_empty());
    for more in [r#"{"devices":[{"path":"/dev/x"}]}"#, r#"{"resources":{"devices":[]}}"#] {
        assert!(!of(format!(r#"{{"linux":{spec},"linux":{more}}}"#)).nodes.is_empty(), "{more}");
    }
}
