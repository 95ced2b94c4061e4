use super::*;
use crate::injection::{HostNode, READ_WRITE};
use serde_json::json;

fn document(value: &Value) -> Document {
    Document::parse(value.to_string().as_bytes()).unwrap()
}

fn node(path: &str, minor: u32) -> ResolvedNode {
    let access = READ_WRITE.to_owned();
    ResolvedNode {
        path: path.to_owned(),
        major: 195,
        minor,
        file_mode: 0o666,
        uid: Some(0),
        gid: Some(0),
        access,
    }
}

fn host(path: &str, numbers: Option<(u32, u32)>) -> HostNode {
    HostNode { path: path.to_owned(), numbers }
}

#[test]
fn gpus_that_are_not_granted_go_by_path_and_by_number() {
    let mut spec = document(&json!({"linux": {
        "devices": [
            {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 7},
            {"path": "/dev/nvidia1", "type": "c", "major": 195, "minor": 1},
            {"path": "/dev/x", "type": "c", "major": 195, "minor": 1},
            {"path": "/dev/y", "type": "b", "major": 195, "minor": 1},
            {"path": "/dev/z", "type": "c", "major": 195, "minor": 0},
            {"path": "/dev/nvidia2"}
        ],
        "resources": {"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 195, "minor": 1, "access": "rwm"},
            {"allow": true, "type": "c", "major": 195, "minor": 0, "access": "rwm"},
            {"allow": true, "type": "c", "major": 195, "access": "rwm"},
            {"allow": false, "type": "c", "major": 195, "minor": 1, "access": "rwm"}
        ]}
    }}));
    let injection = Injection {
        nodes: vec![node("/dev/nvidia0", 0), node("/dev/nvidia0", 9)],
        hidden_nodes: vec![
            host("/dev/nvidia0", Some((195, 0))),
            host("/dev/nvidia1", Some((195, 1))),
            host("/dev/nvidia2", None),
        ],
        ..Injection::default()
    };
    apply(&mut spec, &injection).unwrap();
    let linux = &spec.tree()["linux"];
    let paths: Vec<_> =
        linux["devices"].as_array().unwrap().iter().map(|d| d["path"].clone()).collect();
    assert_eq!(paths, ["/dev/nvidia0", "/dev/y", "/dev/z"]);
    assert_eq!(linux["devices"][0], fragments::device(&node("/dev/nvidia0", 0)));
    let rules = linux["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules.len(), 5);
    assert_eq!(rules.last(), Some(&fragments::rule(&node("", 0))));
    assert!(!rules.iter().any(|r| r["allow"] == true && r["minor"] == 1));
}

#[test]
fn a_variable_is_there_once_or_not_at_all() {
    let mut spec = document(&json!({"process": {"env": ["A=1", "B=1", "A=2", "B", "BB=1"]}}));
    let env = [("A", Some("3")), ("B", None), ("C", Some("4")), ("D", None)];
    let env = env.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
    apply(&mut spec, &Injection { env, ..Injection::default() }).unwrap();
    assert_eq!(spec.tree(), json!({"process": {"env": ["A=3", "BB=1", "C=4"]}}));
}

#[test]
fn only_what_is_needed_is_created() {
    let mut spec = document(&json!({"process": null}));
    let env = [("A".to_owned(), None)].into();
    let injection = Injection {
        env,
        gids: vec![0],
        hidden_nodes: vec![host("/dev/kfd", None)],
        ..Injection::default()
    };
    assert_eq!(apply(&mut spec, &injection).unwrap(), Undo::default());
    assert_eq!(spec.tree(), json!({"process": null}));
}

#[test]
fn groups_are_added_once_and_never_root() {
    let mut spec = document(&json!({"process": {"user": {"additionalGids": [10, 44]}}}));
    let gids = vec![0, 44, 109, 109];
    apply(&mut spec, &Injection { gids, ..Injection::default() }).unwrap();
    assert_eq!(spec.tree()["process"]["user"]["additionalGids"], json!([10, 44, 109]));
}

#[test]
fn a_failure_leaves_everything_as_it_was() {
    let hook = HookEntry {
        stage: HookStage::Poststop,
        path: "/usr/libexec/gpulease-hook".to_owned(),
        args: vec!["gpulease-hook".to_owned()],
        env: Vec::new(),
        timeout: Some(5),
    };
    let injection = Injection {
        nodes: vec![node("/dev/nvidia0", 0)],
        gids: vec![44],
        env: [("A".to_owned(), Some("1".to_owned()))].into(),
        annotations: [("gpulease.granted/lease".to_owned(), "l-1".to_owned())].into(),
        hooks: vec![hook],
        ..Injection::default()
    };
    for (bad, pointer) in [
        (json!({"linux": 1}), "/linux"),
        (json!({"linux": {"devices": {}}}), "/linux/devices"),
        (json!({"linux": {"devices": [1]}}), "/linux/devices/0"),
        (json!({"linux": {"resources": {"devices": [{}, []]}}}), "/linux/resources/devices/1"),
        (json!({"process": {"user": {"additionalGids": ["1"]}}}), "/process/user/additionalGids/0"),
        (json!({"process": {"env": {"A": "1"}}}), "/process/env"),
        (json!({"annotations": []}), "/annotations"),
        (
            json!({"annotations": {"gpulease.granted/a": "x", "b": "c"}, "linux": null,
            "hooks": {"poststop": "no"}}),
            "/hooks/poststop",
        ),
    ] {
        let mut spec = document(&bad);
        let error = apply(&mut spec, &injection).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{pointer}` must be ")), "{error}");
        assert_eq!(spec.to_bytes(), bad.to_string().as_bytes());
    }
}

#[test]
fn serde_jsons_private_number_key_is_refused() {
    let bytes = br#"{"annotations":{"$serde_json::private::Number":"5"}}"#;
    let mut spec = Document::parse(bytes).unwrap();
    let annotations = [("gpulease.granted/a".to_owned(), "b".to_owned())].into();
    apply(&mut spec, &Injection { annotations, ..Injection::default() }).unwrap_err();
}

#[test]
fn an_injection_that_breaks_its_own_rules_is_refused() {
    let mut spec = document(&json!({}));
    let annotations = [("gpulease/count".to_owned(), "1".to_owned())].into();
    let error = apply(&mut spec, &Injection { annotations, ..Injection::default() }).unwrap_err();
    let text = "annotation `gpulease/count` is not under `gpulease.granted/`";
    assert_eq!(error.to_string(), text);
    let hook = HookEntry {
        stage: HookStage::CreateRuntime,
        path: "gpulease-hook".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        timeout: Some(5),
    };
    let injection = Injection { hooks: vec![hook], ..Injection::default() };
    let error = apply(&mut spec, &injection).unwrap_err();
    assert_eq!(error.to_string(), "hook path `gpulease-hook` is not absolute");
}

#[test]
fn a_mount_hides_nothing_and_is_not_hidden() {
    let there = ["/proc", "/data/a/b", "/data//c", "/database", "/opt", "/opt/x"];
    let list = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"destination": name, "type": "tmpfs"})).collect()
    };
    let mount = |destination: &str| MountEntry {
        source: "tmpfs".to_owned(),
        destination: destination.to_owned(),
        kind: "tmpfs".to_owned(),
        options: Vec::new(),
    };
    let order = |ours: &[&str]| -> Vec<String> {
        let text = json!({"mounts": list(&there)}).to_string();
        let mut spec = Document::parse(text.as_bytes()).unwrap();
        let mounts = ours.iter().map(|destination| mount(destination)).collect();
        let undo = apply(&mut spec, &Injection { mounts, ..Injection::default() }).unwrap();
        let tree = spec.tree();
        revert(&mut spec, &undo);
        assert_eq!(spec.to_bytes(), text.as_bytes());
        let found = tree["mounts"].as_array().unwrap().iter();
        found.map(|m| m["destination"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(order(&["/usr/lib/x.so"])[6..], ["/usr/lib/x.so"]);
    // Before the mounts inside it. The parent of two comes before both, whatever their order.
    assert_eq!(order(&["/data/", "/"])[..4], ["/", "/proc", "/data/", "/data/a/b"]);
    // After the mount at the same place, which it covers.
    assert_eq!(order(&["/opt"])[4..], ["/opt", "/opt", "/opt/x"]);
    assert_eq!(order(&["/opt/x"])[5..], ["/opt/x", "/opt/x"]);
    // Among our own mounts, parents come first.
    assert_eq!(order(&["/n/a/b", "/n", "/n/a"])[6..], ["/n", "/n/a", "/n/a/b"]);
}

#[test]
fn every_stage_has_a_list_a_node_may_have_no_rule() {
    let hook = |stage: HookStage, timeout| HookEntry {
        stage,
        path: format!("/bin/{}", stage.as_str()),
        args: Vec::new(),
        env: Vec::new(),
        timeout,
    };
    let text = r#"{"hooks":{"poststart":[{"path":"/bin/theirs"}]}}"#;
    let mut spec = Document::parse(text.as_bytes()).unwrap();
    let injection = Injection {
        nodes: vec![
            ResolvedNode { access: String::new(), ..node("/dev/a", 1) },
            ResolvedNode { access: "r".to_owned(), ..node("/dev/b", 2) },
        ],
        hooks: HookStage::ALL.map(|stage| hook(stage, None)).to_vec(),
        ..Injection::default()
    };
    let undo = apply(&mut spec, &injection).unwrap();
    let undo = serde_json::from_str(&serde_json::to_string(&undo).unwrap()).unwrap();
    let tree = spec.tree();
    for stage in HookStage::ALL {
        assert_eq!(stage.as_str().parse(), Ok(stage));
        let last = tree["hooks"][stage.as_str()].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            last,
            json!({"path": format!("/bin/{}", stage.as_str()), "args": [], "env": []})
        );
    }
    assert_eq!("createruntime".parse::<HookStage>(), Err(()));
    assert_eq!(tree["hooks"]["poststart"].as_array().unwrap().len(), 2);
    let rules = tree["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!((&rules[0]["minor"], &rules[0]["access"]), (&json!(2), &json!("r")));
    revert(&mut spec, &undo);
    assert_eq!(spec.to_bytes(), text.as_bytes());
}
