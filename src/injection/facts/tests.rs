use super::*;
use crate::injection::Document;
use proptest::prelude::*;

pub(super) fn read(json: &str) -> Facts {
    facts(json.as_bytes()).unwrap()
}

#[test]
fn a_container_is_read() {
    let facts = read(
        r#"{"annotations":{"gpulease/count":"1","n":7,"io.kubernetes.cri.container-name":"web"},
        "process":{"env":["A=1=2","B","A=3",4],
            "capabilities":{"bounding":["CAP_KILL",7],"permitted":["CAP_SYS_ADMIN"]}},
        "root":{"path":"rootfs"},
        "mounts":[{"destination":"/a","options":["ro","rbind"]},{"destination":"/b","type":"tmpfs"},7],
        "hooks":{"prestart":[{"path":"/usr/bin/nvidia-container-runtime-hook"}],"new":[{}],
            "poststop":[{"path":"/x/gpulease-hook","args":["h","poststop"],"timeout":2}]},
        "linux":{"cgroupsPath":"a:b:c","namespaces":[{"type":"pid"},{"type":"user"}],
            "devices":[{"path":"/dev/kfd","type":"c","major":234,"minor":0,"fileMode":438}]}}"#,
    );
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(facts.annotations.get("gpulease/count").map(String::as_str), Some("1"));
    assert_eq!(facts.annotations.len(), 2);
    assert_eq!(facts.env, [pair("A", "1=2"), pair("B", ""), pair("A", "3")]);
    assert_eq!(facts.hooks.len(), 2);
    assert!(facts.hooks.iter().any(|h| h.stage == "poststop" && h.args == ["h", "poststop"]));
    assert!(facts.vendor_hooks.by_variables && facts.user_namespace && facts.system_admin);
    let other = r#"{"process":{"capabilities":{"bounding":["CAP_KILL"],"ambient":null}}}"#;
    assert!(!read(other).system_admin);
    let binds: Vec<_> = facts.mounts.iter().map(|m| (m.destination.as_str(), m.bind)).collect();
    assert_eq!(
        (facts.root.as_deref(), binds.as_slice()),
        (Some("rootfs"), &[("/a", true), ("/b", false), ("", false)][..])
    );
    assert!(!facts.privileged && !facts.is_sandbox && !facts.granted_keys);
    assert_eq!(facts.cgroups_path.as_deref(), Some("a:b:c"));
    assert_eq!(facts.container_name.as_deref(), Some("web"));
    let kfd = SpecDevice {
        path: "/dev/kfd".to_owned(),
        kind: "c".to_owned(),
        major: Some(234),
        minor: Some(0),
    };
    assert_eq!(facts.device_paths, [kfd]);
}

#[test]
fn whatever_is_not_ours_may_be_anything() {
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    let json = format!(
        r#"{{"x":"\ud800","\ud800":1,"deep":{deep},"big":1e9999,"annotations":null,"hooks":5,
        "process":{{"args":["\udfff"],"env":null,"oomScoreAdj":123456789012345678901234567890}},
        "linux":{{"devices":{{}},"namespaces":[null,3,"user",{{"type":5}}],"resources":null,
            "cgroupsPath":""}}}}"#
    );
    assert_eq!(read(&json), Facts::default());
    assert_eq!(read(r#"{"annotations":1.5,"process":-1}"#), Facts::default());
    assert_eq!(read("{\"process\":null,\"linux\":[],\"annotations\":\"\"}"), Facts::default());
}

#[test]
fn only_objects_and_our_own_requests_can_fail() {
    for bad in ["", "{", "{x}", r#"{"a":}"#] {
        let error = facts(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("cannot parse config.json: "), "{bad}: {error}");
    }
    for bad in ["[]", "null", " 3", "\"{\""] {
        let error = facts(bad.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "config.json is not an object", "{bad}");
    }
    for key in ["gpulease/count", "web.gpulease/count"] {
        let error = facts(format!(r#"{{"annotations":{{"{key}":1}}}}"#).as_bytes());
        assert_eq!(error.unwrap_err().to_string(), format!("annotation `{key}` must be a string"));
    }
    assert!(read(r#"{"annotations":{"gpulease.granted/devices":1}}"#).granted_keys);
}

#[test]
fn privileged_is_one_rule_for_everything() {
    let privileged = |rules: &str| {
        read(&format!(r#"{{"linux":{{"resources":{{"devices":{rules}}}}}}}"#)).privileged
    };
    for yes in [
        r#"[{"allow":true,"access":"rwm"}]"#,
        r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"a","access":"mrw"}]"#,
        r#"[{"allow":true,"type":null,"major":null,"minor":-1,"access":"rwm"}]"#,
        r#"[{"allow":true,"access":"rw"}]"#,
        r#"[{"allow":true,"type":"c","access":"rwm"}]"#,
        r#"[{"allow":true,"type":"c","minor":1,"access":"r"}]"#,
        r#"[{"allow":true,"type":"c","major":-1,"minor":1,"access":"w"}]"#,
        r#"[{"allow":true,"type":"a","major":1,"minor":3,"access":"m"}]"#,
        r#"[{"allow":true,"major":195,"access":"rwm"}]"#,
    ] {
        assert!(privileged(yes), "{yes}");
    }
    for no in [
        r#"[{"allow":false,"access":"rwm"}]"#,
        r#"[{"allow":true,"type":"c","access":"m"},{"allow":true,"type":"b","access":"rwm"}]"#,
        r#"[{"allow":true,"type":"c","major":195,"access":"rwm"}]"#,
        r#"[{"allow":false,"type":"a","major":1,"access":"rwm"}]"#,
        "null",
    ] {
        assert!(!privileged(no), "{no}");
    }
}

#[test]
fn a_pod_tells_its_containers_apart() {
    let name = |key: &str, value: &str| {
        read(&format!(r#"{{"annotations":{{"{key}":"{value}"}}}}"#)).container_name
    };
    assert_eq!(name("io.kubernetes.container.name", "web").as_deref(), Some("web"));
    let long = name("io.kubernetes.cri-o.ContainerName", "k8s_web_pod_ns_uid_0");
    assert_eq!(long.as_deref(), Some("web"));
    for key in ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"] {
        let sandbox = |kind| read(&format!(r#"{{"annotations":{{"{key}":"{kind}"}}}}"#));
        assert!(sandbox("sandbox").is_sandbox);
        assert!(!sandbox("container").is_sandbox);
    }
}

#[test]
fn nonces_are_found_in_both_spellings() {
    let facts = read(
        r#"{"hooks":{"createRuntime":[
        {"path":"/usr/libexec/gpulease-hook","args":["h","create-runtime","--nonce","ab01"]},
        {"path":"/opt/gpulease-hook","args":["h","--nonce=cd02","--nonce","../x","--nonce"]},
        {"path":"/opt/gpulease-hook","args":["h","--nonces=ee","--nonce=ab01"]},
        {"path":"/usr/bin/other-hook","args":["--nonce","ef03"]}]}}"#,
    );
    let nonces = facts.our_nonces();
    let found: Vec<&str> = nonces.iter().map(Nonce::as_str).collect();
    assert_eq!(found, ["ab01", "cd02"]);
}

#[test]
fn gpu_nodes_are_known_by_path() {
    for yes in [
        "/dev/nvidia0",
        "/dev/nvidia15",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia-modeset",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/kfd",
        "/dev/dri/card0",
        "/dev/dri/renderD128",
    ] {
        assert!(is_gpu_node_path(yes), "{yes}");
    }
    for no in [
        "/dev/nvidia",
        "/dev/nvidia0x",
        "/dev/nvidia-caps",
        "/dev/nvidia-caps/",
        "/dev/dri",
        "/dev/dri/by-path",
        "/dev/dri/renderD",
        "/dev/null",
        "nvidia0",
    ] {
        assert!(!is_gpu_node_path(no), "{no}");
    }
}

/// JSON text with the keys that are read, repeated, and with values of any kind.
fn text() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "annotations",
        "process",
        "env",
        "linux",
        "devices",
        "path",
        "hooks",
        "poststop",
        "args",
        "resources",
        "allow",
        "access",
        "namespaces",
        "capabilities",
        "bounding",
        "type",
        "major",
        "x",
    ]);
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        "18446744073709551616",
        "\"a\"",
        "\"user\"",
        "\"rwm\"",
        "\"CAP_SYS_ADMIN\"",
        "\"A=\\u00fc\"",
        "[]",
        "{}",
    ])
    .prop_map(str::to_owned);
    let value = leaf.prop_recursive(6, 64, 6, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(k, v)| format!("\"{k}\":{v}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    });
    let top = prop::sample::select(vec!["annotations", "process", "linux", "hooks"]);
    prop::collection::vec((top, value), 0..6).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn facts_and_document_agree(text in text()) {
        let document = Document::parse(text.as_bytes()).unwrap();
        let direct = facts(text.as_bytes()).unwrap();
        // A document has each key once.
        if direct.doubt.is_none() {
            prop_assert_eq!(direct, facts(&document.to_bytes()).unwrap());
        }
    }
}

#[test]
fn the_user_is_counted_as_the_host_counts() {
    let uid = |uid: &str, linux: &str| {
        read(&format!(r#"{{"process":{{"user":{{"uid":{uid}}}}},"linux":{linux}}}"#)).uid
    };
    for (own, host) in [("0", Some(0)), ("1000", Some(1000)), ("4294967294", Some(4_294_967_294))] {
        assert_eq!(uid(own, "{}"), host);
    }
    for hostile in ["-1", "4294967295", "1e3", "\"0\"", "null", "[]", "99999999999999999999"] {
        assert_eq!(uid(hostile, "{}"), None, "{hostile}");
    }
    let mapped = |own: &str, mappings: &str| {
        let namespaces = r#"[{"type":"pid","path":"/x"},{"type":"user"}]"#;
        uid(own, &format!(r#"{{"uidMappings":{mappings},"namespaces":{namespaces}}}"#))
    };
    let map = r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65536}]"#;
    assert_eq!(mapped("0", map), Some(1000));
    assert_eq!(mapped("1", map), Some(100_000));
    assert_eq!(mapped("65536", map), Some(165_535));
    assert_eq!(mapped("65537", map), None);
    for hostile in [
        "null",
        "[]",
        "[7,null]",
        r#"[{"containerID":0,"hostID":-5,"size":9}]"#,
        r#"[{"containerID":-1,"hostID":0,"size":9}]"#,
        r#"[{"containerID":0,"hostID":4294967295,"size":9}]"#,
        r#"[{"containerID":0,"hostID":9223372036854775807,"size":9223372036854775807}]"#,
        r#"[{"containerID":0,"hostID":5}]"#,
    ] {
        assert_eq!(mapped("0", hostile), None, "{hostile}");
    }
    assert_eq!(mapped("5", r#"[{"containerID":0,"hostID":9223372036854775805,"size":9}]"#), None);
    // The spec does not say how a joined namespace maps ids.
    let joined = format!(r#"{{"uidMappings":{map},"namespaces":[{{"type":"user","path":"/p"}}]}}"#);
    assert_eq!(uid("0", &joined), None);
    assert_eq!(read("{}").uid, None);
}
