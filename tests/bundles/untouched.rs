//! Containers that ask for nothing.

use super::lab::{Lab, Place, REAL, has_line, open_is};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Content, and whether it is the very file.
fn fingerprint(path: &Path) -> (Vec<u8>, u64, i64, i64, i64) {
    let meta = fs::metadata(path).unwrap();
    (fs::read(path).unwrap(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec())
}

pub fn a_container_without_request_is_as_it_was(place: Place) {
    let lab = Lab::new(place, REAL);
    lab.bundle("web", &[("org.example/count", "1")], "env; other 10 229; echo END; sleep 60");
    let before = fingerprint(&lab.config_json("web"));
    let script = r#"
        make web create web
        step start gl start "$P-web"
        until_ says web END
        step exec gl exec "$P-web" env
        step ps gl ps --format json "$P-web"
        step pause gl pause "$P-web"
        step resume gl resume "$P-web"
        step kill gl kill "$P-web" 9
        until_ gone "$(pid web)"
        step delete gl delete "$P-web"
        "#;
    let Some(steps) = lab.run(script) else { return };
    for step in ["web", "start", "exec", "ps", "kill", "delete"] {
        steps.ok(step);
    }
    assert_eq!(fingerprint(&lab.config_json("web")), before);
    assert!(!steps.out("web").contains("NVIDIA") && !steps.out("web").contains("GPULEASE"));
    open_is(&steps.out("web"), "/dev/other", "Operation not permitted");
    assert!(!lab.host.run_dir().exists(), "no state was made");
}

pub fn a_broken_gpulease_stops_only_who_asks(place: Place) {
    let lab = Lab::new(place, REAL);
    let good = fs::read_to_string(lab.host.config()).unwrap();
    let broken = lab.host.path("broken");
    fs::create_dir(&broken).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let run_dir = lab.host.run_dir().display().to_string();
    fs::write(lab.host.path("file"), "not a directory").unwrap();
    let at_file = good.replace(&run_dir, &lab.host.path("file").display().to_string());
    let below_file = good.replace(&run_dir, &lab.host.path("file/run").display().to_string());
    let no_devices = good.replace("devices.toml", "missing.toml");
    let cases: &[(&str, Option<&[u8]>, &str)] = &[
        ("garbage", Some(b"]]] = \"\x01\n"), "bad-config"),
        ("binary", Some(b"\xff\xfe\x00"), "bad-config"),
        ("unknown", Some(b"runtimes = true\n"), "bad-config"),
        ("typo", Some(b"[policy]\ninjected = \"adopted\"\n"), "bad-config"),
        ("missing", None, "bad-config"),
        ("state-is-file", Some(at_file.as_bytes()), "state-unavailable"),
        ("state-below-file", Some(below_file.as_bytes()), "state-unavailable"),
        ("no-devices", Some(no_devices.as_bytes()), "no-match"),
    ];
    lab.bundle("web", &[], "echo END");
    lab.bundle("asks", &[("gpulease/count", "1")], "echo END");
    let before = [fingerprint(&lab.config_json("web")), fingerprint(&lab.config_json("asks"))];
    let mut script = String::new();
    for (name, text, _) in cases {
        let config = broken.join(format!("{name}.toml"));
        if let Some(text) = text {
            // Where the file has anything to say, the runtime under test is what it says.
            let mut whole = if *name == "unknown" || *name == "typo" {
                format!("runtime = {:?}\n", place.program()).into_bytes()
            } else {
                Vec::new()
            };
            whole.extend_from_slice(text);
            fs::write(&config, whole).unwrap();
        }
        script.push_str(&format!(
            "CONFIG={}\nmake {name}-web run web\nmake {name}-asks run asks\n",
            config.display()
        ));
    }
    // The host's own state must not help nor be touched.
    let Some(steps) = lab.run(&format!("mount -t tmpfs none /run\n{script}")) else { return };
    for (name, _, code) in cases {
        has_line(&steps.ok(&format!("{name}-web")), "END");
        let refused = steps.refused(&format!("{name}-asks"), code);
        assert_eq!(refused.trim_end().lines().count(), 1, "{refused}");
        assert_eq!(steps.out(&format!("{name}-asks")), "");
    }
    let after = [fingerprint(&lab.config_json("web")), fingerprint(&lab.config_json("asks"))];
    assert_eq!(after, before);
}
