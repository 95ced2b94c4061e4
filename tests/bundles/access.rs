//! What a container can open, as seen from inside.

use super::lab::{FUSE, LOOP, Lab, Place, REAL, has_line, numbers_of, open_is, uuids, values};
use serde_json::json;

const LOOK: &str = "ls -ln /dev; env; try /dev/fuse; other 10 237; other 10 229; echo END";

/// `/dev/fuse` granted, `/dev/loop-control` not: both exist on the host, and the container may
/// make nodes, so only the rule decides.
#[track_caller]
fn sees_only_fuse(text: &str) {
    has_line(text, "END");
    assert_eq!(numbers_of(text, "fuse"), Some((10, 229)), "{text}");
    assert_eq!(numbers_of(text, "loop-control"), None, "{text}");
    open_is(text, "/dev/fuse", "ok");
    let others: Vec<&str> = text.lines().filter(|l| l.starts_with("open /dev/other")).collect();
    assert_eq!(others.len(), 2, "{text}");
    assert!(others[0].ends_with("Operation not permitted"), "{others:?}");
    assert!(others[1].ends_with(": ok"), "{others:?}");
    assert_eq!(values(text, "NVIDIA_VISIBLE_DEVICES"), [FUSE]);
    assert_eq!(values(text, "CUDA_VISIBLE_DEVICES"), [FUSE]);
}

pub fn only_granted_nodes_can_be_opened(place: Place) {
    let lab = Lab::new(place, REAL);
    for name in ["created", "detached", "fore"] {
        lab.bundle(name, &[("gpulease/devices", "0")], LOOK);
    }
    lab.bundle("second", &[("gpulease/devices", "1")], "try /dev/loop-control; other 10 229");
    lab.bundle("both", &[("gpulease/count", "all")], "try /dev/fuse; try /dev/loop-control");
    lab.bundle("none", &[], "ls -ln /dev; other 10 229; other 10 237");
    let script = r#"
        make created create created
        leases held
        step start gl start "$P-created"
        until_ says created END
        step delete gl delete --force "$P-created"
        make detached run detached --detach
        until_ says detached END
        step delete2 gl delete --force "$P-detached"
        make fore run fore
        make second run second
        make both run both
        make none run none
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["start", "delete", "delete2"] {
        steps.ok(step);
    }
    assert_eq!(uuids(&steps.lease("held")), [FUSE]);
    for step in ["created", "detached", "fore"] {
        sees_only_fuse(&steps.ok(step));
    }
    let second = steps.ok("second");
    open_is(&second, "/dev/loop-control", "ok");
    open_is(&second, "/dev/other", "Operation not permitted");
    let both = steps.ok("both");
    open_is(&both, "/dev/fuse", "ok");
    open_is(&both, "/dev/loop-control", "ok");
    let none = steps.ok("none");
    assert_eq!((numbers_of(&none, "fuse"), numbers_of(&none, "loop-control")), (None, None));
    open_is(&none, "/dev/other", "Operation not permitted");
}

pub fn simulated_nodes_are_there_and_lead_nowhere(place: Place) {
    let profile = gpulease::door::inventory::profiles::find("h100x8").unwrap();
    let node = gpulease::door::inventory::static_file::parse(profile.toml).unwrap();
    let numbers = |index: usize| node.devices[index].nodes[0].simulated.unwrap();
    let (two, three) = (numbers(2), numbers(3));
    let lab = Lab::new(place, profile.toml);
    let script = format!(
        "ls -ln /dev; env; try /dev/nvidia2; try /dev/nvidiactl; other {} {}",
        three.major, three.minor
    );
    lab.bundle("web", &[("gpulease/devices", "2")], &script);
    let Some(steps) = lab.run("make web run web") else { return };
    let text = steps.ok("web");
    assert_eq!(numbers_of(&text, "nvidia2"), Some((two.major, two.minor)), "{text}");
    assert_eq!(numbers_of(&text, "nvidia3"), None);
    // The rule lets it through, and then there is no driver.
    open_is(&text, "/dev/nvidia2", "No such device or address");
    open_is(&text, "/dev/nvidiactl", "No such device or address");
    open_is(&text, "/dev/other", "Operation not permitted");
    assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [node.devices[2].uuid.as_str()]);
    assert_eq!(values(&text, "GPULEASE_SIMULATED"), ["true"]);
}

pub fn a_bundle_run_twice_has_only_the_second_grant(place: Place) {
    let lab = Lab::new(place, REAL);
    let look = "ls -ln /dev; env; other 10 229; other 10 237";
    lab.bundle("web", &[("gpulease/count", "1"), ("gpulease/strategy", "first-fit")], look);
    lab.bundle("thief", &[("gpulease/devices", "0")], "echo END; sleep 60");
    let script = r#"
        make first run web
        make thief run thief --detach
        make second run web
        leases end
        # Without its request, nothing of either grant is left.
        jq 'del(.annotations)' "$B/web/config.json" >"$OUT/bare.json"
        cp "$OUT/bare.json" "$B/web/config.json"
        make bare run web
        step delete gl delete --force "$P-thief"
        "#;
    let Some(steps) = lab.run(script) else { return };
    steps.ok("thief");
    steps.ok("delete");
    let (first, second) = (steps.ok("first"), steps.ok("second"));
    let opens = |text: &str| -> Vec<bool> {
        let opens = text.lines().filter_map(|line| line.strip_prefix("open /dev/other: "));
        opens.map(|said| said == "ok").collect()
    };
    assert_eq!(numbers_of(&first, "fuse"), Some((10, 229)), "{first}");
    assert_eq!(numbers_of(&first, "loop-control"), None);
    assert_eq!(
        (values(&first, "NVIDIA_VISIBLE_DEVICES"), opens(&first)),
        (vec![FUSE], vec![true, false])
    );
    assert_eq!(numbers_of(&second, "loop-control"), Some((10, 237)), "{second}");
    assert_eq!(numbers_of(&second, "fuse"), None);
    assert_eq!(
        (values(&second, "NVIDIA_VISIBLE_DEVICES"), opens(&second)),
        (vec![LOOP], vec![false, true])
    );
    assert_eq!(values(&second, "CUDA_VISIBLE_DEVICES"), [LOOP]);
    assert_eq!(uuids(&steps.lease("end")), [FUSE], "the thief's");
    let bare = steps.ok("bare");
    assert_eq!((numbers_of(&bare, "fuse"), numbers_of(&bare, "loop-control")), (None, None));
    assert_eq!((values(&bare, "NVIDIA_VISIBLE_DEVICES").len(), opens(&bare)), (0, vec![false; 2]));
    assert!(!bare.contains("CUDA"), "{bare}");
}

pub fn exec_sees_the_lease(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "1")], "echo END; sleep 60");
    lab.bundle("bare", &[], "echo END; sleep 60");
    let script = r#"
        make web run web --detach
        make bare run bare --detach
        for name in web bare; do
            cat >"$OUT/$name.json" <<'JSON'
{"terminal":false,"user":{"uid":0,"gid":0},"cwd":"/","noNewPrivileges":true,
 "args":["sh","-c","env; (exec 3<>/dev/loop-control) && echo opened"],
 "env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all","KEPT=1"]}
JSON
            cp -p "$OUT/$name.json" "$OUT/$name.before"
            step "$name-file" gl exec --process "$OUT/$name.json" "$P-$name"
            step "$name-words" gl exec "$P-$name" env
            step "$name-same" cmp "$OUT/$name.json" "$OUT/$name.before"
        done
        step status gl exec "$P-web" sh -c 'exit 7'
        step delete gl delete --force "$P-web"
        step delete-bare gl delete --force "$P-bare"
        "#;
    let Some(steps) = lab.run(script) else { return };
    let file = steps.ok("web-file");
    assert_eq!(values(&file, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{file}");
    assert_eq!(values(&file, "CUDA_VISIBLE_DEVICES"), [LOOP]);
    assert_eq!(values(&file, "KEPT"), ["1"]);
    has_line(&file, "opened");
    let words = steps.ok("web-words");
    assert_eq!(values(&words, "NVIDIA_VISIBLE_DEVICES"), [LOOP], "{words}");
    assert_eq!(values(&steps.out("bare-file"), "NVIDIA_VISIBLE_DEVICES"), ["all"]);
    assert_eq!((steps.rc("web-same"), steps.rc("bare-same")), (0, 0), "both are the caller's");
    assert_eq!(steps.rc("status"), 7);
    steps.ok("delete");
    steps.ok("delete-bare");
}

/// The host's nodes as an engine lists them for `--privileged` or `--device`.
fn node(path: &str, minor: u32) -> serde_json::Value {
    json!({ "path": path, "type": "c", "major": 10, "minor": minor, "fileMode": 438, "uid": 0, "gid": 0 })
}

fn rule(minor: u32) -> serde_json::Value {
    json!({ "allow": true, "type": "c", "major": 10, "minor": minor, "access": "rwm" })
}

fn look(spec: &mut serde_json::Value, shell: &str) {
    let try_ = r#"try() { if said=$( (exec 3<>"$1") 2>&1 ); then echo "open $1: ok"; else echo "open $1: $said"; fi; }"#;
    spec["process"]["args"] = json!(["sh", "-c", format!("{try_}\nls -ln /dev; env; {shell}")]);
}

pub fn a_privileged_container_has_no_node_of_other_devices(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle_with("web", &[("gpulease/devices", "0")], |spec| {
        look(spec, "try /dev/fuse");
        spec["linux"]["devices"] =
            json!([node("/dev/fuse", 229), node("/dev/loop-control", 237), node("/dev/kept", 235)]);
        spec["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
    });
    let Some(steps) = lab.run("make web run web") else { return };
    let text = steps.ok("web");
    assert_eq!(numbers_of(&text, "fuse"), Some((10, 229)), "{text}");
    assert_eq!(numbers_of(&text, "loop-control"), None, "{text}");
    assert_eq!(numbers_of(&text, "kept"), Some((10, 235)), "{text}");
    open_is(&text, "/dev/fuse", "ok");
}

pub fn an_injected_device_is_leased_as_it_stands(place: Place) {
    let lab = Lab::new(place, REAL);
    let inject = |spec: &mut serde_json::Value| {
        look(spec, "try /dev/given; echo END; sleep 60");
        spec["linux"]["devices"] = json!([node("/dev/given", 237)]);
        spec["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule(237));
    };
    lab.bundle_with("web", &[], inject);
    lab.bundle_with("rival", &[], inject);
    lab.bundle("asks", &[("gpulease/devices", "1")], "echo END");
    let script = r#"
        make web run web --detach
        until_ says web END
        leases held
        make rival run rival --detach
        make asks run asks
        kill9 "$(pid web)"
        make again run rival --detach
        until_ says again END
        leases again
        step delete gl delete --force "$P-rival"
        step delete-web gl delete --force "$P-web"
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    let text = steps.ok("web");
    open_is(&text, "/dev/given", "ok");
    assert_eq!(numbers_of(&text, "loop-control"), None, "{text}");
    assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), Vec::<&str>::new());
    assert_eq!(uuids(&steps.lease("held")), [LOOP]);
    steps.refused("rival", "no-capacity");
    steps.refused("asks", "no-capacity");
    open_is(&steps.ok("again"), "/dev/given", "ok");
    assert_eq!(steps.lease("again").container_id.as_str(), lab.id("rival"));
    assert!(steps.leases("end").is_empty());
}

pub fn what_was_injected_beside_a_grant_is_taken_out(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle_with("web", &[("gpulease/devices", "0")], |spec| {
        look(spec, "try /dev/fuse; mknod /dev/other c 10 237; try /dev/other");
        spec["linux"]["devices"] = json!([node("/dev/given", 237), node("/dev/loop-control", 237)]);
        spec["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule(237));
    });
    let Some(steps) = lab.run("make web run web") else { return };
    let text = steps.ok("web");
    assert_eq!(
        (numbers_of(&text, "given"), numbers_of(&text, "loop-control")),
        (None, None),
        "{text}"
    );
    open_is(&text, "/dev/fuse", "ok");
    open_is(&text, "/dev/other", "Operation not permitted");
}

/// A user other than root, who may open the node because the host's group for it may.
pub fn a_group_that_owns_the_node_is_enough(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle_with("web", &[("gpulease/devices", "0")], |spec| {
        look(spec, "id -G; try /dev/fuse; try /dev/tty");
        spec["process"]["user"] = json!({ "uid": 65534, "gid": 65534 });
    });
    let script = r#"
        chown 0:4242 /dev/fuse
        chmod 0660 /dev/fuse
        make web run web
        "#;
    let Some(steps) = lab.run(script) else { return };
    let text = steps.ok("web");
    assert!(text.lines().any(|l| l.split(' ').any(|g| g == "4242")), "{text}");
    open_is(&text, "/dev/fuse", "ok");
}
