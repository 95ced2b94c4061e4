//! Containers that can open a device by what stands in their spec: by a rule, or by a mount.

use super::lab::{FUSE, LOOP, Lab, PROBES, Place, REAL, has_line, open_is, uuids};
use serde_json::{Value, json};
use std::fs;

/// Makes a node of `/dev/fuse` and tries it.
const MADE: &str = "other 10 229; echo END; sleep 60";

fn bundle(lab: &Lab, name: &str, shell: &str, edit: impl FnOnce(&mut Value)) {
    lab.bundle_with(name, &[], |spec| {
        spec["process"]["args"] = json!(["sh", "-c", format!("{PROBES}{shell}")]);
        edit(spec);
    });
}

/// With one more rule.
fn ruled(lab: &Lab, name: &str, shell: &str, rule: &Value) {
    bundle(lab, name, shell, |spec| {
        spec["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule.clone());
    });
}

fn allow(kind: &str, major: Option<u32>, minor: Option<u32>, access: &str) -> Value {
    json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access })
}

fn mount(source: &str, destination: &str, options: &[&str]) -> Value {
    let options = [&["bind"], options].concat();
    json!({ "destination": destination, "source": source, "type": "bind", "options": options })
}

pub fn a_rule_that_opens_a_device_is_a_lease(place: Place) {
    let lab = Lab::new(place, REAL);
    let rules = [
        ("one", allow("c", Some(10), Some(229), "rwm"), &[FUSE][..]),
        ("unbuffered", allow("u", Some(10), Some(229), "rw"), &[FUSE]),
        ("spelled", allow("char", Some(10), Some(229), "rw"), &[FUSE]),
        ("spelled-all", allow("all", Some(1), Some(3), "rw"), &[FUSE, LOOP]),
        ("reading", allow("c", Some(10), Some(229), "r"), &[FUSE]),
        ("major", allow("c", Some(10), None, "rwm"), &[FUSE, LOOP]),
        ("minor", allow("c", None, Some(229), "rwm"), &[FUSE]),
        ("characters", allow("c", None, None, "rwm"), &[FUSE, LOOP]),
        ("all", allow("a", None, None, "rwm"), &[FUSE, LOOP]),
    ];
    // Such types are refused by the runtimes themselves, but crun looks at their first letter on v2.
    let odd = |name: &str| matches!(name, "unbuffered" | "spelled" | "spelled-all");
    let is_v2 = (place.runtime, place.cgroup) == ("crun", "v2");
    let starting = || rules.iter().filter(|(name, ..)| !odd(name) || (is_v2 && *name == "spelled"));
    lab.bundle("holder", &[("gpulease/devices", "0")], "echo END; sleep 60");
    let mut script = "make holder run holder --detach\nuntil_ says holder END\n".to_owned();
    for (name, rule, _) in &rules {
        ruled(&lab, name, MADE, rule);
        script.push_str(&format!("make held-{name} run {name} --detach\n"));
    }
    ruled(&lab, "makes", "other 10 229; echo END", &allow("c", Some(10), Some(229), "m"));
    ruled(&lab, "none", "other 10 235; echo END", &allow("c", Some(10), Some(235), "rwm"));
    script.push_str("make makes run makes\nmake none run none\nleases held\n");
    script.push_str("step delete gl delete --force \"$P-holder\"\n");
    for (name, ..) in starting() {
        script.push_str(&format!(
            "make {name} run {name} --detach\nuntil_ says {name} END\nleases {name}\n\
             step delete-{name} gl delete --force \"$P-{name}\"\n"
        ));
    }
    let Some(steps) = lab.run(&script) else { return };
    open_is(&steps.ok("makes"), "/dev/other", "Operation not permitted");
    has_line(&steps.ok("none"), "END");
    assert_eq!(uuids(&steps.lease("held")), [FUSE], "the holder's alone");
    for (name, ..) in &rules {
        steps.refused(&format!("held-{name}"), "no-capacity");
    }
    for (name, _, devices) in starting() {
        let text = steps.ok(name);
        let opened = if *name == "reading" { "Operation not permitted" } else { "ok" };
        open_is(&text, "/dev/other", opened);
        assert_eq!(uuids(&steps.lease(name)), *devices, "{name}");
    }
}

pub fn a_mount_that_no_rule_closes_is_a_lease(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("holder", &[("gpulease/devices", "0")], "echo END; sleep 60");
    let try_it = "try /tmp/x; try /tmp/x/fuse; echo END";
    let mounted = |name: &str, rules: Value, mount: Value| {
        bundle(&lab, name, try_it, |spec| {
            spec["linux"]["resources"]["devices"] = rules;
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
            mounts.push(mount);
        });
    };
    let (none, closed) = (json!([]), json!([{ "allow": false, "access": "rwm" }]));
    let privileged =
        json!([{ "allow": false, "access": "rwm" }, { "allow": true, "access": "rwm" }]);
    mounted("node", none.clone(), mount("/dev/fuse", "/tmp/x", &[]));
    mounted("dev", none.clone(), mount("/dev", "/tmp/x", &["rw"]));
    mounted(
        "devtmpfs",
        none.clone(),
        json!({ "destination": "/tmp/x", "type": "devtmpfs",
        "source": "devtmpfs" }),
    );
    mounted("privileged", privileged, mount("/dev/fuse", "/tmp/x", &[]));
    mounted("closed", closed, mount("/dev/fuse", "/tmp/x", &[]));
    mounted("nodev", none, mount("/dev", "/tmp/x", &["nodev"]));
    lab.bundle_with("asks", &[("gpulease/devices", "1")], |spec| {
        spec["linux"]["resources"]["devices"] = json!([]);
        spec["mounts"].as_array_mut().unwrap().push(mount("/dev/fuse", "/dev/x", &[]));
    });
    let script = r#"
        make holder run holder --detach
        make asks run asks
        until_ says holder END
        for name in node dev devtmpfs privileged closed nodev; do make "held-$name" run "$name"; done
        step delete gl delete --force "$P-holder"
        for name in node privileged; do make "$name" run "$name"; done
        "#;
    let Some(steps) = lab.run(script) else { return };
    steps.refused("asks", "policy-denied");
    for name in ["node", "dev", "devtmpfs", "privileged"] {
        steps.refused(&format!("held-{name}"), "no-capacity");
    }
    open_is(&steps.ok("held-closed"), "/tmp/x", "Operation not permitted");
    open_is(&steps.ok("held-nodev"), "/tmp/x/fuse", "Permission denied");
    open_is(&steps.ok("privileged"), "/tmp/x", "ok");
    // runc closes what no rule opens, crun does not.
    let opened = if place.runtime == "crun" { "ok" } else { "Operation not permitted" };
    open_is(&steps.ok("node"), "/tmp/x", opened);
}

pub fn a_rule_that_opens_others_too_stops_a_request(place: Place) {
    let lab = Lab::new(place, REAL);
    let mut script = String::new();
    for (name, rule) in [
        ("major", allow("c", Some(10), None, "rwm")),
        ("characters", allow("c", None, None, "rwm")),
        ("all", allow("a", None, None, "rwm")),
    ] {
        lab.bundle_with(name, &[("gpulease/count", "1")], |spec| {
            spec["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule);
        });
        script.push_str(&format!("make {name} run {name}\n"));
    }
    let Some(steps) = lab.run(&script) else { return };
    for name in ["major", "characters", "all"] {
        let text = steps.refused(name, "policy-denied");
        assert!(text.contains("--device-cgroup-rule"), "{text}");
    }
}

pub fn a_known_device_is_refused_without_an_inventory(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("holder", &[("gpulease/devices", "0")], "echo END; sleep 60");
    let given = |name: &str, minor: u32| {
        bundle(&lab, name, "echo END", |spec| {
            spec["linux"]["devices"] = json!([{ "path": "/dev/given", "type": "c", "major": 10,
                "minor": minor, "fileMode": 438, "uid": 0, "gid": 0 }]);
        });
    };
    given("renamed", 229);
    given("other", 235);
    ruled(&lab, "ruled", "echo END", &allow("c", Some(10), None, "rwm"));
    ruled(&lab, "else", "echo END", &allow("c", Some(7), None, "rwm"));
    let good = fs::read_to_string(lab.host.config()).unwrap();
    let broken = lab.host.path("broken.toml");
    fs::write(&broken, format!("unknown = true\n{good}")).unwrap();
    let bare = lab.host.path("bare.toml");
    fs::write(lab.host.path("etc/bad.toml"), "[[device]]\n").unwrap();
    fs::write(&bare, good.replace("devices.toml", "bad.toml")).unwrap();
    let gone = lab.host.path("gone.toml");
    fs::write(&gone, good.replace("devices.toml", "missing.toml")).unwrap();
    let script = format!(
        r#"
        make holder run holder --detach
        until_ says holder END
        for config in {} {} {}; do
            CONFIG=$config
            for name in renamed ruled other else; do
                make "$(basename "$config" .toml)-$name" run "$name"
            done
        done
        "#,
        broken.display(),
        bare.display(),
        gone.display()
    );
    let Some(steps) = lab.run(&script) else { return };
    for (config, code) in
        [("broken", "bad-config"), ("bare", "bad-inventory"), ("gone", "stale-inventory")]
    {
        for name in ["renamed", "ruled"] {
            let text = steps.refused(&format!("{config}-{name}"), code);
            let said = if config == "gone" { "no longer in the" } else { "knows as a GPU" };
            let (reason, _) = text.split_once("; hint: ").unwrap();
            assert!(reason.contains(said), "{text}");
        }
        for name in ["other", "else"] {
            has_line(&steps.ok(&format!("{config}-{name}")), "END");
        }
    }
}

pub fn rules_of_engines_need_nothing_of_gpulease(place: Place) {
    let lab = Lab::new(place, REAL);
    bundle(&lab, "web", "echo END", |spec| {
        let numbers = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200)];
        let mut rules = vec![
            json!({ "allow": false, "access": "rwm" }),
            json!({ "allow": true, "type": "c", "access": "m" }),
            json!({ "allow": true, "type": "b", "access": "m" }),
            allow("c", Some(136), None, "rwm"),
        ];
        rules.extend(numbers.map(|(major, minor)| allow("c", Some(major), Some(minor), "rwm")));
        spec["linux"]["resources"]["devices"] = rules.into();
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
        mounts.push(mount("/dev/fuse", "/tmp/x", &[]));
    });
    let before = fs::read(lab.config_json("web")).unwrap();
    let broken = lab.host.path("broken.toml");
    fs::write(&broken, format!("runtime = {:?}\n]]\n", place.program())).unwrap();
    let script = format!(
        "mount -t tmpfs none /run\nmake good run web\nCONFIG={}\nmake web run web\nls /run >\"$OUT/left.out\"",
        broken.display()
    );
    let Some(steps) = lab.run(&script) else { return };
    has_line(&steps.ok("good"), "END");
    has_line(&steps.ok("web"), "END");
    assert_eq!(fs::read(lab.config_json("web")).unwrap(), before);
    assert!(!lab.host.run_dir().exists(), "no state was made");
}
