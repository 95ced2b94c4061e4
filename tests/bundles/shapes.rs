//! Bundles as engines write them that the labs do not have: nerdctl and CRI-O. It is their shape
//! that is tried here, not the engines.

use super::lab::{FUSE, Lab, Place, REAL, has_line, open_is, uuids};
use serde_json::{Value, json};
use std::fs;

const NERDCTL: &[(&str, &str)] = &[
    ("gpulease/devices", "0"),
    ("nerdctl/name", "web"),
    ("nerdctl/namespace", "default"),
    ("nerdctl/networks", "[\"bridge\"]"),
];

/// nerdctl's own two hooks, which make and remove the network. These tell in which state the lease
/// is when they are called, and end with this status.
fn nerdctls_hooks(lab: &Lab, status: u8) -> Value {
    let hook = |stage: &str| {
        let (leases, log) = (lab.host.run_dir().join("leases"), lab.host.path("out/hooks.out"));
        let script = format!(
            "cat >/dev/null; echo $1 $(jq -r .state {}/*.json) >>{}; exit {status}",
            leases.display(),
            log.display(),
        );
        json!([{
            "path": "/bin/sh",
            "args": ["sh", "-c", script, "sh", stage],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        }])
    };
    json!({ "createRuntime": hook("createRuntime"), "poststop": hook("poststop") })
}

pub fn nerdctls_hooks_stay_and_come_before_ours(place: Place) {
    let lab = Lab::new(place, REAL);
    for (name, status) in [("web", 0), ("broken", 3)] {
        lab.bundle_with(name, NERDCTL, |spec| spec["hooks"] = nerdctls_hooks(&lab, status));
    }
    let before = nerdctls_hooks(&lab, 0);
    let script = r#"
        make web create web
        leases created
        step start gl start "$P-web"
        step kill gl kill "$P-web" KILL
        until_ gone "$(pid web)"
        step delete gl delete "$P-web"
        leases deleted
        make broken create broken
        step force gl delete --force "$P-broken"
        leases failed
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["web", "start", "kill", "delete", "force"] {
        steps.ok(step);
    }
    let lease = steps.lease("created");
    assert_eq!((lease.engine.as_str(), uuids(&lease)), ("nerdctl", vec![FUSE]));
    assert!(steps.leases("deleted").is_empty() && steps.leases("failed").is_empty());
    assert_ne!(steps.rc("broken"), 0, "a hook of nerdctl's that fails fails the start");
    let order = steps.out("hooks");
    assert!(order.starts_with("createRuntime pending\npoststop bound\ncreateRuntime "), "{order}");

    let spec: Value = serde_json::from_slice(&fs::read(lab.config_json("web")).unwrap()).unwrap();
    for stage in ["createRuntime", "poststop"] {
        let hooks = spec["hooks"][stage].as_array().unwrap();
        assert_eq!((hooks.len(), &hooks[0]), (2, &before[stage][0]), "{stage}");
        assert!(hooks[1]["path"].as_str().unwrap().ends_with("/gpulease-hook"), "{stage}");
    }
}

/// CRI-O copies all of its pod's annotations, and what it knows itself under its own prefix.
fn of_pod<'a>(kind: &'a str, long_name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("io.kubernetes.cri-o.ContainerType", kind),
        ("io.kubernetes.cri-o.ContainerName", long_name),
        ("io.kubernetes.cri-o.Annotations", r#"{"main.gpulease/devices":"0"}"#),
        ("io.kubernetes.pod.name", "pod"),
        ("io.container.manager", "cri-o"),
        ("main.gpulease/devices", "0"),
    ]
}

pub fn of_crios_pod_only_the_container_that_asks_gets_one(place: Place) {
    let lab = Lab::new(place, REAL);
    let script = "if [ -e /dev/fuse ]; then try /dev/fuse; else echo no node; fi
        other 10 229; echo END; sleep 60";
    for (name, kind, long_name) in [
        ("pause", "sandbox", "k8s_POD_pod_default_uid_0"),
        ("side", "container", "k8s_side_pod_default_uid_0"),
        ("main", "container", "k8s_main_pod_default_uid_0"),
    ] {
        lab.bundle(name, &of_pod(kind, long_name), script);
    }
    let read = |name: &str| fs::read(lab.config_json(name)).unwrap();
    let before = ["pause", "side"].map(read);
    let script = r#"
        for c in pause side main; do
            make $c create $c
            step $c-start gl start "$P-$c"
            until_ says $c END
            [ $c != side ] || [ ! -e "$RUN_DIR" ] || exit 8
        done
        leases running
        for c in main side pause; do step $c-delete gl delete --force "$P-$c"; done
        leases deleted
        "#;
    let Some(steps) = lab.run(script) else { return };
    assert_eq!(["pause", "side"].map(read), before, "untouched");
    for name in ["pause", "side"] {
        has_line(&steps.ok(name), "no node");
        open_is(&steps.out(name), "/dev/other", "Operation not permitted");
    }
    open_is(&steps.ok("main"), "/dev/fuse", "ok");
    let lease = steps.lease("running");
    assert_eq!((lease.engine.as_str(), lease.container_id.as_str()), ("cri-o", &*lab.id("main")));
    assert!(steps.leases("deleted").is_empty());
}
