//! A container that sees the host's lease directory, if only to read it, and sits on its lock.

use super::lab::{Lab, Place, REAL};
use serde_json::{Value, json};
use std::fs;

const FIRST: &[(&str, &str)] = &[("gpulease/devices", "0")];

pub fn a_container_that_sits_on_the_lock_is_named(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", FIRST, "sleep 60");
    lab.bundle("late", FIRST, "sleep 60");
    // Taken by a program that ends, and by one that stays.
    for (name, shell) in [
        ("alone", "exec 9</gl/lock; flock -x 9; echo HELD; exec sleep 60"),
        ("shared", "flock -s /gl/lock sh -c 'echo HELD; exec sleep 60'"),
    ] {
        let source = lab.host.run_dir();
        lab.bundle_with(name, &[], |spec| {
            spec["process"]["args"] = json!(["sh", "-c", shell]);
            spec["process"]["capabilities"] = json!({});
            let options = ["rbind", "ro"];
            // Busybox has no flock; the host's wants the host's libraries.
            let host = ["/usr", "/lib", "/lib64"].map(|dir| (dir, fs::canonicalize(dir)));
            let host = host.into_iter().filter_map(|(dir, source)| Some((dir, source.ok()?)));
            for (to, from) in host.chain([("/gl", source.clone())]) {
                let mount = json!({
                    "destination": to, "type": "bind", "source": from, "options": options
                });
                spec["mounts"].as_array_mut().unwrap().push(mount);
            }
        });
    }
    let script = r#"
        make web create web
        for how in alone shared; do
            make $how create $how
            step $how-start gl start "$P-$how"
            until_ says $how HELD
            make $how-late run late --detach
            step $how-doctor "$CLI" --gpulease-config "$CONFIG" doctor --json
            step $how-health "$CLI" --gpulease-config "$CONFIG" health --json
            kill9 "$(pid $how)"
        done
        step doctor "$CLI" --gpulease-config "$CONFIG" doctor --json
        step health "$CLI" --gpulease-config "$CONFIG" health --json
        step kill gl kill "$P-web" KILL
        until_ gone "$(pid web)"
        make late run late --detach
        "#;
    let Some(steps) = lab.run(script) else { return };
    steps.ok("web");
    for how in ["alone", "shared"] {
        let text = steps.refused(&format!("{how}-late"), "lock-timeout");
        assert!(text.contains(&format!(" of container {}", lab.id(how))), "{text}");
        assert!(text.contains("(flock)") || text.contains("(sleep)"), "{text}");
        assert_eq!(text.contains(", shared"), how == "shared", "{text}");
        assert!(text.contains("; hint: end "), "{text}");
        let doctor: Value = serde_json::from_str(&steps.out(&format!("{how}-doctor"))).unwrap();
        let checks = doctor["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["code"] == "lock-foreign").unwrap();
        assert_eq!(found["level"], "fault");
        assert!(found["message"].as_str().unwrap().contains(&lab.id(how)), "{found}");
        assert!(steps.out(&format!("{how}-health")).contains("lock-foreign"));
        assert_eq!(steps.rc(&format!("{how}-health")), 1);
    }
    assert!(!steps.out("doctor").contains("lock-"), "{}", steps.out("doctor"));
    assert!(!steps.out("health").contains("lock-"), "{}", steps.out("health"));
    steps.ok("late");
}
