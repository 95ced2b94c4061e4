//! Driver files by CDI specs, in real containers.

use super::lab::{FUSE, LOOP, Lab, Place, REAL, has_line, numbers_of, open_is, values};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A hook that leaves its words, its environment and the container's state.
const HOOK: &str = "#!/bin/sh\n{ echo \"$@\"; env; cat; echo; } >>\"$KEEP/$1\"\n";

const LOOK: &str = "ls -ln /dev; env; cat /opt/driver/libcuda.so.1 /data/vol/mine /data/theirs; \
                    touch /opt/driver/x; id -G; try /dev/fuse; other 10 237; echo END";

fn spec(lab: &Lab, node: &str) -> Value {
    let path = |name: &str| lab.host.path(name).display().to_string();
    let hook = |stage: &str, timeout: Option<u32>| {
        let keep = format!("KEEP={}", path("kept"));
        let mut hook = json!({"hookName": stage, "path": path("hook"), "args": ["hook", stage],
            "env": [keep, "PATH=/usr/bin:/bin"]});
        if let Some(timeout) = timeout {
            hook["timeout"] = json!(timeout);
        }
        hook
    };
    json!({
        "cdiVersion": "0.7.0",
        "kind": "nvidia.com/gpu",
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void", "CDI_SAYS=first", "PATH=/bin:/cdi", "CDI_SAYS=last"],
            "mounts": [
                {"hostPath": path("data"), "containerPath": "/data", "options": ["rbind", "ro"]},
                {"hostPath": path("driver"), "containerPath": "/opt/driver",
                    "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]},
            ],
            "hooks": [hook("createRuntime", None), hook("createContainer", Some(5)), hook("poststop", None)],
            "additionalGids": [4242, 0],
        },
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/fuse", "permissions": "rwm"}]}},
            {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/fuse"}, {"path": node}]}},
        ],
    })
}

pub fn what_the_specs_say_comes_with_the_granted_device(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.host.configure(&place.program(), "driver = \"cdi\"");
    for dir in ["kept", "data/vol", "driver", "volume"] {
        fs::create_dir_all(lab.host.path(dir)).unwrap();
    }
    fs::write(lab.host.path("driver/libcuda.so.1"), "the driver\n").unwrap();
    fs::write(lab.host.path("data/theirs"), "the spec's\n").unwrap();
    fs::write(lab.host.path("volume/mine"), "the user's\n").unwrap();
    fs::write(lab.host.path("hook"), HOOK).unwrap();
    fs::set_permissions(lab.host.path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    let good = spec(&lab, "/dev/loop-control");
    // A spec whose common part brings the GPU that somebody else may have.
    let mut greedy = good.clone();
    greedy["containerEdits"]["deviceNodes"] =
        json!([{"path": "/dev/other", "hostPath": "/dev/loop-control"}]);
    fs::write(lab.host.path("good.json"), good.to_string()).unwrap();
    fs::write(lab.host.path("greedy.yaml"), greedy.to_string()).unwrap();
    let config = fs::read_to_string(lab.host.config()).unwrap();
    fs::write(lab.host.path("auto.toml"), config.replace("\"cdi\"", "\"auto\"")).unwrap();
    for (name, device) in [("auto", "0"), ("bare", "1")] {
        lab.bundle(name, &[("gpulease/devices", device)], "cat /opt/driver/libcuda.so.1; env");
    }
    let volume = lab.host.path("volume");
    for (name, device) in [("web", "0"), ("twice", "0"), ("greedy", "0"), ("missing", "1")] {
        lab.bundle_with(name, &[("gpulease/devices", device)], |spec| {
            let shell = format!("{}{LOOK}", super::lab::PROBES);
            spec["process"]["args"] = json!(["sh", "-c", shell]);
            spec["process"]["env"].as_array_mut().unwrap().push(json!("NVIDIA_VISIBLE_DEVICES=all"));
            spec["mounts"].as_array_mut().unwrap().push(json!(
                {"destination": "/data/vol", "type": "bind", "source": volume, "options": ["rbind"]}));
        });
    }
    let original = fs::read(lab.config_json("web")).unwrap();
    let script = r#"
        # No specs but these.
        mount -t tmpfs none /run
        [ ! -d /etc/cdi ] || mount -t tmpfs none /etc/cdi
        mkdir /run/cdi
        make none run twice
        cp "$B/../good.json" /run/cdi/nvidia.json
        make web run web
        make missing run missing
        make twice1 run twice
        make twice2 run twice
        CONFIG=$B/../auto.toml
        make auto run auto
        make bare run bare
        CONFIG=$B/../etc/config.toml
        mv "$B/../greedy.yaml" /run/cdi/nvidia.yaml
        rm /run/cdi/nvidia.json
        make greedy run greedy
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["web", "twice1", "twice2"] {
        let text = steps.ok(step);
        has_line(&text, "END");
        for line in ["the driver", "the user's", "the spec's"] {
            has_line(&text, line);
        }
        assert!(steps.err(step).contains("Read-only file system"), "{}", steps.err(step));
        assert_eq!(values(&text, "NVIDIA_VISIBLE_DEVICES"), [FUSE]);
        assert_eq!(values(&text, "CDI_SAYS"), ["last"]);
        assert_eq!(values(&text, "PATH"), ["/bin:/cdi"]);
        assert!(text.lines().any(|l| l.split(' ').any(|gid| gid == "4242")), "{text}");
        assert_eq!(numbers_of(&text, "fuse"), Some((10, 229)), "{text}");
        assert_eq!(numbers_of(&text, "loop-control"), None, "{text}");
        open_is(&text, "/dev/fuse", "ok");
        open_is(&text, "/dev/other", "Operation not permitted");
    }
    // Each stage once for each of the four containers, with the spec's environment and no other.
    for stage in ["createRuntime", "createContainer", "poststop"] {
        let kept = fs::read_to_string(lab.host.path("kept").join(stage)).unwrap();
        assert_eq!(kept.lines().filter(|line| *line == stage).count(), 4, "{kept}");
        assert!(kept.contains("PATH=/usr/bin:/bin") && !kept.contains("CONFIG="), "{kept}");
        assert!(kept.contains(&lab.id("web")), "the state is on stdin: {kept}");
    }
    let edited: Value =
        serde_json::from_slice(&fs::read(lab.config_json("twice")).unwrap()).unwrap();
    assert_eq!(edited["annotations"]["gpulease.granted/driver"], "cdi");
    assert_eq!(edited["hooks"]["createContainer"].as_array().unwrap().len(), 1);
    assert_eq!(edited["hooks"]["createContainer"][0]["timeout"], 5);
    let mounts = edited["mounts"].as_array().unwrap();
    let at = |path: &str| mounts.iter().position(|m| m["destination"] == path).unwrap();
    assert!(at("/data") < at("/data/vol") && at("/opt/driver") == mounts.len() - 1);
    let before: Value = serde_json::from_slice(&original).unwrap();
    assert_eq!(mounts.len(), before["mounts"].as_array().unwrap().len() + 2);
    // `auto` goes by the specs where they describe the device, and without them where not.
    has_line(&steps.ok("auto"), "the driver");
    assert_eq!(values(&steps.ok("auto"), "CDI_SAYS"), ["last"]);
    assert_eq!(values(&steps.ok("bare"), "NVIDIA_VISIBLE_DEVICES"), [LOOP]);
    assert!(!steps.out("bare").contains("the driver"), "{}", steps.out("bare"));
    for (name, way) in [("auto", "cdi"), ("bare", "none")] {
        let edited: Value =
            serde_json::from_slice(&fs::read(lab.config_json(name)).unwrap()).unwrap();
        assert_eq!(edited["annotations"]["gpulease.granted/driver"], way);
    }
    for (step, uuid) in [("none", FUSE), ("missing", LOOP)] {
        let text = steps.refused(step, "bad-inventory");
        assert!(text.contains(uuid) && text.contains("nvidia-ctk cdi generate"), "{text}");
    }
    let text = steps.refused("greedy", "bad-inventory");
    assert!(text.contains("/dev/other") && text.contains("not granted"), "{text}");
    assert_eq!(fs::read(lab.config_json("greedy")).unwrap(), {
        let edited: Value = serde_json::from_slice(&original).unwrap();
        serde_json::to_vec_pretty(&edited).unwrap()
    });
}
