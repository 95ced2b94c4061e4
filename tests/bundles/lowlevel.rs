//! Which low-level runtime serves a container that is there already.

use super::lab::{FUSE, Lab, Place, REAL, values};
use std::fs;

pub fn a_container_stays_with_the_runtime_that_made_it(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("gpulease/devices", "0")], "echo END; sleep 60");
    let other = if place.runtime == "crun" { "/usr/sbin/runc" } else { "/usr/bin/crun" };
    let config = fs::read_to_string(lab.host.config()).unwrap();
    let changed = config.replace(&place.program().display().to_string(), other);
    assert_ne!(config, changed);
    fs::write(lab.host.path("changed.toml"), changed).unwrap();
    let script = r#"
        make web run web --detach
        until_ says web END
        ls "$ROOT/$P-web" >"$OUT/files.out"
        cp "$(dirname "$CONFIG")/../changed.toml" "$CONFIG"
        step state gl state "$P-web"
        step exec gl exec "$P-web" env
        step kill gl kill "$P-web" KILL
        until_ gone "$(pid web)"
        step delete gl delete "$P-web"
        leases end
        "#;
    let Some(steps) = lab.run(script) else { return };
    steps.ok("web");
    let file = if place.runtime == "crun" { "status" } else { "state.json" };
    assert!(steps.out("files").lines().any(|line| line == file), "{}", steps.out("files"));
    assert!(steps.ok("state").contains("\"running\""));
    assert_eq!(values(&steps.ok("exec"), "NVIDIA_VISIBLE_DEVICES"), [FUSE]);
    steps.ok("kill");
    steps.ok("delete");
    assert!(steps.leases("end").is_empty());
    assert!(!lab.host.root().join(lab.id("web")).exists(), "deleted for good");
}
