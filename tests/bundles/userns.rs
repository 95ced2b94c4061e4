//! Containers in user namespaces, whose groups are not the host's.

use super::lab::{Lab, PROBES, Place, REAL, has_line, open_is};
use serde_json::{Value, json};

/// The node of one device is one group's.
const ENTER: &str = r#"
    chmod 0660 /dev/fuse
    chgrp 4242 /dev/fuse
"#;

fn apart(spec: &mut Value, gids: &Value, shell: &str) {
    spec["process"]["args"] = json!(["sh", "-c", format!("{PROBES}id -G; {shell}")]);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    spec["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    spec["linux"]["gidMappings"] = gids.clone();
}

pub fn a_host_group_is_only_given_where_it_is_mapped(place: Place) {
    let lab = Lab::new(place, REAL);
    let few = json!([{ "containerID": 0, "hostID": 100_000, "size": 66 }]);
    let many = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let mapped = json!([{ "containerID": 0, "hostID": 100_000, "size": 66 },
        { "containerID": 109, "hostID": 4242, "size": 1 }]);
    for (name, gids) in [("few", &few), ("many", &many), ("mapped", &mapped)] {
        lab.bundle_with(name, &[("gpulease/devices", "0")], |spec| {
            apart(spec, gids, "try /dev/fuse");
        });
    }
    // Anybody may open this one.
    lab.bundle_with("open", &[("gpulease/devices", "1")], |spec| {
        apart(spec, &few, "try /dev/loop-control");
    });
    let script = format!(
        r#"{ENTER}
        for name in few many mapped open; do make $name run $name; done
        leases end"#
    );
    let Some(steps) = lab.run(&script) else { return };
    for name in ["few", "many"] {
        let text = steps.refused(name, "bad-request");
        assert!(text.contains("`/dev/fuse`, which is 0660 0:4242 on the host"), "{text}");
        assert!(text.contains("the host's group 4242"), "{text}");
    }
    let text = steps.ok("mapped");
    has_line(&text, "0 109");
    open_is(&text, "/dev/fuse", "ok");
    let text = steps.ok("open");
    has_line(&text, "0");
    open_is(&text, "/dev/loop-control", "ok");
    assert!(steps.leases("end").is_empty());
}

/// containerd keeps the numbers of a container's creation.
pub fn an_adopted_node_must_have_the_hosts_number(place: Place) {
    let lab = Lab::new(place, REAL);
    let minors = [("stale", 238), ("current", 237)];
    for (name, minor) in minors {
        lab.bundle_with(name, &[], |spec| {
            let look = "ls -ln /dev; try /dev/loop-control";
            spec["process"]["args"] = json!(["sh", "-c", format!("{PROBES}{look}")]);
            spec["linux"]["devices"] =
                json!([{ "path": "/dev/loop-control", "type": "c", "major": 10, "minor": minor }]);
            let rules = spec["linux"]["resources"]["devices"].as_array_mut().unwrap();
            rules.push(
                json!({ "allow": true, "type": "c", "major": 10, "minor": minor, "access": "rw" }),
            );
        });
    }
    let script = format!("{ENTER}\nmake stale run stale\nmake current run current");
    let Some(steps) = lab.run(&script) else { return };
    let text = steps.refused("stale", "stale-inventory");
    assert!(
        text.contains("has the number 10:238 in config.json, but 10:237 on this host"),
        "{text}"
    );
    open_is(&steps.ok("current"), "/dev/loop-control", "ok");
}
