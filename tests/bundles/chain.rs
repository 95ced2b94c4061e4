//! A vendor's runtime between the shim and runc: a script with its name, which keeps what it was
//! called with and the spec that it read, and becomes runc, as the real one does.

use super::lab::{FUSE, LOOP, Lab, Place, REAL, uuids, values};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const VENDORS: &str = r#"#!/bin/sh
echo "$*" >>"$OUT/argv"
bundle=. before=
for word; do [ "$before" != --bundle ] || bundle=$word; before=$word; done
case " $* " in *" create "*) cp "$bundle/config.json" "$OUT/seen-$(basename "$bundle").json" ;; esac
exec "$RUNTIME" "$@"
"#;

/// Who holds a container to a whole device.
const WHOLE: &str = "compute=kernel,memory=kernel";

/// Two GPUs of AMD's that have an id and none, and whose nodes need not be there.
const AMD: &str = r#"
[[device]]
uuid = "GPU-0123456789abcdef"
vendor = "amd"
model = "A"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/dri/renderD250"]
[[device]]
uuid = "GPU-odd"
vendor = "amd"
model = "A"
memory_mib = 1024
pci = "0000:02:00.0"
nodes = ["/dev/dri/renderD251"]
"#;

fn lab(place: Place, name: &str, devices: &str, more: &str) -> Lab {
    let lab = Lab::new(place, devices);
    let vendors = lab.host.path(name);
    fs::write(&vendors, VENDORS).unwrap();
    fs::set_permissions(&vendors, fs::Permissions::from_mode(0o755)).unwrap();
    lab.host.configure(&vendors, more);
    lab
}

/// What the vendor's runtime read.
fn seen(lab: &Lab, name: &str) -> Value {
    let path = lab.host.path("out").join(format!("seen-{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bundle(lab: &Lab, name: &str, annotations: &[(&str, &str)], env: &[&str]) -> Value {
    lab.bundle_with(name, annotations, |spec| {
        spec["process"]["args"] = json!(["sh", "-c", "env; ls /dev; echo END; sleep 60"]);
        let list = spec["process"]["env"].as_array_mut().unwrap();
        list.extend(env.iter().map(|variable| json!(variable)));
    });
    serde_json::from_slice(&fs::read(lab.config_json(name)).unwrap()).unwrap()
}

/// `before` with these variables, in the order of the list.
fn with_env(mut before: Value, remove: &[&str], set: &[(&str, String)]) -> Value {
    let env = before["process"]["env"].as_array_mut().unwrap();
    let name = |entry: &Value| entry.as_str().unwrap().split('=').next().unwrap().to_owned();
    env.retain(|entry| !remove.contains(&name(entry).as_str()));
    for (key, value) in set {
        let value = json!(format!("{key}={value}"));
        match env.iter().position(|entry| name(entry) == *key) {
            Some(at) => env[at] = value,
            None => env.push(value),
        }
    }
    before
}

pub fn the_vendors_runtime_is_told_the_lease(place: Place) {
    let lab = lab(place, "nvidia-container-runtime", REAL, "driver = \"chain\"");
    let env = ["NVIDIA_VISIBLE_DEVICES=all", "CUDA_VISIBLE_DEVICES=1", "DOCKER_RESOURCE_GPU=1"];
    let before = bundle(&lab, "web", &[("gpulease/devices", "1")], &env);
    bundle(&lab, "run", &[("gpulease/count", "1")], &[]);
    bundle(&lab, "both", &[("gpulease/count", "1"), ("cdi.k8s.io/x", "nvidia.com/gpu=0")], &[]);
    let cdi = bundle(&lab, "cdi", &[("cdi.k8s.io/x", "nvidia.com/gpu=0")], &env);
    bundle(&lab, "taken", &[("cdi.k8s.io/x", "runtime.nvidia.com/gpu=all")], &env);
    bundle(&lab, "unknown", &[("cdi.k8s.io/x", "nvidia.com/gpu=7")], &env);
    let script = r#"
        make web create web
        step start gl start "$P-web"
        until_ says web END
        leases held
        printf '{"args":["env"],"cwd":"/","env":["PATH=/bin","NVIDIA_VISIBLE_DEVICES=all"],
            "user":{"uid":0,"gid":0}}' >"$OUT/process.json"
        step exec gl exec --process "$OUT/process.json" "$P-web"
        make run run run
        make both create both
        make unknown create unknown
        make taken create taken
        make cdi create cdi
        leases adopted
        step delete gl delete --force "$P-web"
        step delete2 gl delete --force "$P-cdi"
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["web", "start", "cdi", "delete", "delete2"] {
        steps.ok(step);
    }
    let lease = steps.lease("held");
    assert_eq!(uuids(&lease), [LOOP]);

    // Nothing but the variables, our hooks and what we say of the grant.
    let mut expected = with_env(
        before,
        &["DOCKER_RESOURCE_GPU"],
        &[
            ("NVIDIA_VISIBLE_DEVICES", LOOP.to_owned()),
            ("GPULEASE_ENFORCEMENT", WHOLE.to_owned()),
            ("NVIDIA_DRIVER_CAPABILITIES", "compute,utility".to_owned()),
        ],
    );
    let seen_web = seen(&lab, "web");
    assert_eq!(seen_web["annotations"]["gpulease.granted/driver"], "chain");
    for (key, value) in seen_web["annotations"].as_object().unwrap() {
        if key.starts_with("gpulease.granted/") {
            expected["annotations"][key] = value.clone();
        }
    }
    for stage in ["createRuntime", "poststop"] {
        assert_eq!(seen_web["hooks"][stage].as_array().unwrap().len(), 1);
    }
    assert_eq!(seen_web["hooks"].as_object().unwrap().len(), 2);
    expected["hooks"] = seen_web["hooks"].clone();
    assert_eq!(seen_web, expected);
    let text = steps.out("web");
    assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [LOOP]);
    assert!(!text.contains("loop-control"), "the nodes are the vendor's to make: {text}");

    // A new process has the same.
    let exec = steps.ok("exec");
    assert_eq!(values(&exec, "NVIDIA_VISIBLE_DEVICES"), [LOOP]);
    assert_eq!(values(&exec, "NVIDIA_DRIVER_CAPABILITIES"), ["compute,utility"]);
    assert!(values(&exec, "CUDA_VISIBLE_DEVICES").is_empty() && !exec.contains("HIP_"), "{exec}");

    let text = steps.refused("run", "bad-request");
    assert!(text.contains("`run`") && text.contains("`create`"), "{text}");
    let text = steps.refused("both", "policy-denied");
    assert!(text.contains("`cdi.k8s.io/`"), "{text}");
    assert!(steps.refused("unknown", "policy-denied").contains("`nvidia.com/gpu=7`"));
    assert!(steps.refused("taken", "no-capacity").contains(&lease.id.to_string()));

    // A GPU that is asked of the vendor's runtime is leased, and variables give no others.
    let mut adopted = steps.leases("adopted");
    adopted.retain(|lease| lease.container_id.as_str() == lab.id("cdi"));
    assert_eq!(uuids(&adopted[0]), [FUSE]);
    let void = [("NVIDIA_VISIBLE_DEVICES", "void".to_owned())];
    let expected = with_env(cdi, &["DOCKER_RESOURCE_GPU"], &void);
    assert_eq!(seen(&lab, "cdi")["process"], expected["process"]);
    assert_eq!(seen(&lab, "cdi")["annotations"]["cdi.k8s.io/x"], "nvidia.com/gpu=0");
    assert!(steps.leases("end").is_empty());
}

pub fn a_rule_is_for_a_gpu_over_a_vendors_runtime_too(place: Place) {
    let lab = lab(place, "nvidia-container-runtime", REAL, "driver = \"chain\"");
    let rule = |minor: Option<u32>| {
        json!({ "allow": true, "type": "c", "major": 10, "minor": minor,
        "access": "rwm" })
    };
    let ruled = |name: &str, annotations: &[(&str, &str)], rules: &[Value]| {
        let mut spec = bundle(&lab, name, annotations, &["NVIDIA_VISIBLE_DEVICES=all"]);
        spec["linux"]["resources"]["devices"].as_array_mut().unwrap().extend_from_slice(rules);
        fs::write(lab.config_json(name), spec.to_string()).unwrap();
    };
    ruled("asks", &[("gpulease/devices", "1")], &[rule(Some(229)), rule(Some(237))]);
    ruled("wide", &[("gpulease/devices", "1")], &[rule(None)]);
    ruled("ruled", &[], &[rule(Some(229))]);
    ruled("rival", &[], &[rule(None)]);
    let script = r#"
        make asks create asks
        make wide create wide
        make ruled create ruled
        make rival create rival
        leases held
        step delete gl delete --force "$P-asks"
        step delete2 gl delete --force "$P-ruled"
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["asks", "ruled", "delete", "delete2"] {
        steps.ok(step);
    }
    steps.refused("wide", "policy-denied");
    steps.refused("rival", "no-capacity");
    let rules = |name: &str| seen(&lab, name)["linux"]["resources"]["devices"].clone();
    let has = |name: &str, minor| rules(name).as_array().unwrap().contains(&rule(Some(minor)));
    assert!(!has("asks", 229) && has("asks", 237), "{}", rules("asks"));
    assert!(has("ruled", 229), "leased as it stands");
    let held: Vec<_> = steps.leases("held").iter().map(|lease| uuids(lease).concat()).collect();
    assert!(held.len() == 2 && held.contains(&FUSE.to_owned()), "{held:?}");
    let env = seen(&lab, "ruled")["process"]["env"].to_string();
    assert!(env.contains("NVIDIA_VISIBLE_DEVICES=void"), "{env}");
}

pub fn a_container_without_a_lease_gets_no_gpu(place: Place) {
    // A broken configuration below a `runtime` that can be read, an inventory that cannot be made.
    let broken = "driver = \"chain\"\nno_such_key = 1";
    for (more, env, void) in [
        ("", &["NVIDIA_VISIBLE_DEVICES=all", "A=1"][..], true),
        ("driver = \"chain\"", &["NVIDIA_VISIBLE_DEVICES=0", "DOCKER_RESOURCE_X=1"], true),
        (broken, &[], true),
        ("driver = \"chain\"", &["NVIDIA_VISIBLE_DEVICES=void"], false),
        // What rules out every lease rules out all that is not leased as well.
        ("driver = \"none\"", &["NVIDIA_VISIBLE_DEVICES=all"], true),
        ("driver = \"native\"", &[], true),
        ("driver = \"cdi\"", &["NVIDIA_VISIBLE_DEVICES=all"], true),
    ] {
        let lab = lab(place, "nvidia-container-runtime", "not = [", more);
        let before = bundle(&lab, "web", &[], env);
        let bytes = fs::read(lab.config_json("web")).unwrap();
        let script = "make web create web\nstep delete gl delete --force \"$P-web\"";
        let Some(steps) = lab.run(script) else { return };
        steps.ok("web");
        let set = [("NVIDIA_VISIBLE_DEVICES", "void".to_owned())];
        let expected = if void { with_env(before, &["DOCKER_RESOURCE_X"], &set) } else { before };
        assert_eq!(seen(&lab, "web"), expected, "{more} {env:?}");
        if !void {
            assert_eq!(fs::read(lab.config_json("web")).unwrap(), bytes, "{more}");
        }
        assert!(!lab.host.run_dir().exists(), "no state was made: {more}");
    }

    // To ask for none is no request.
    let nvidia = lab(place, "nvidia-container-runtime", REAL, "");
    let none = [("cdi.k8s.io/x", "nvidia.com/gpu=none")];
    let before = bundle(&nvidia, "none", &none, &["NVIDIA_VISIBLE_DEVICES=all"]);
    let script = "make none create none\nstep delete gl delete --force \"$P-none\"";
    let Some(steps) = nvidia.run(script) else { return };
    steps.ok("none");
    let void = [("NVIDIA_VISIBLE_DEVICES", "void".to_owned())];
    assert_eq!(seen(&nvidia, "none"), with_env(before, &[], &void));

    // AMD's gives nothing unless it is told to, and is told nothing that is not leased.
    let lab = lab(place, "amd-container-runtime", AMD, "");
    let env = ["AMD_VISIBLE_DEVICES=all", "HIP_VISIBLE_DEVICES=5"];
    let without = bundle(&lab, "without", &[], &env);
    let none = bundle(&lab, "none", &[], &[]);
    let known = [("gpulease/devices", "GPU-0123456789abcdef")];
    let one = bundle(&lab, "one", &known, &env);
    bundle(&lab, "odd", &[("gpulease/devices", "0000:02:00.0")], &env);
    let script = "for b in without none odd one; do make $b create $b; done\nleases held\n\
                  for b in without none one; do step del-$b gl delete --force \"$P-$b\"; done";
    let Some(steps) = lab.run(script) else { return };
    for name in ["without", "none", "one"] {
        steps.ok(name);
    }
    let text = steps.refused("odd", "bad-config");
    assert!(text.contains("`GPU-odd`") && text.contains("path of runc"), "{text}");
    assert_eq!(uuids(&steps.lease("held")), ["GPU-0123456789abcdef"]);
    assert_eq!(seen(&lab, "without"), with_env(without, &["AMD_VISIBLE_DEVICES"], &[]));
    assert_eq!(seen(&lab, "none"), none);
    let ids = [
        ("AMD_VISIBLE_DEVICES", "0x0123456789abcdef".to_owned()),
        ("GPULEASE_ENFORCEMENT", WHOLE.to_owned()),
    ];
    assert_eq!(seen(&lab, "one")["process"], with_env(one, &[], &ids)["process"]);
    assert!(seen(&lab, "one")["linux"]["devices"].as_array().is_none_or(Vec::is_empty));
}
