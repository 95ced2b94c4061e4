//! The examples for systemd: what Podman's own generator makes of the quadlet, and what systemd
//! says of the unit.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use crate::lab::Lab;
use crate::support::engine::stdout;
use crate::support::{ok, stderr};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const QUADLET: &str = include_str!("../../packaging/examples/gpulease-worker.container");
const UNIT: &str = include_str!("../../packaging/examples/gpulease-worker.service");

/// The value of a key of a unit's, with its continuation lines.
fn value(unit: &str, key: &str) -> String {
    let unit = unit.replace("\\\n", " ");
    let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {key} in {unit}")).to_owned()
}

fn annotations(command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "--annotation");
    pairs.map(|pair| pair[1].to_owned()).collect()
}

#[test]
fn podmans_generator_takes_the_quadlet() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let dir = "/etc/containers/systemd";
    fs::create_dir_all(lab.path(dir)).unwrap();
    let generate = |text: &str| {
        fs::write(lab.path(dir).join("gpulease-worker.container"), text).unwrap();
        let mut quadlet = lab.tool("/usr/libexec/podman/quadlet");
        quadlet.arg("-dryrun").output().unwrap()
    };
    let unit = stdout(&ok(generate(QUADLET)));
    let start = value(&unit, "ExecStart");
    let wanted: Vec<String> =
        QUADLET.lines().filter_map(|l| l.strip_prefix("Annotation=")).map(str::to_owned).collect();
    assert_eq!(annotations(&start), wanted, "{start}");
    assert!(wanted.contains(&"gpulease/count=1".to_owned()));
    assert!(start.starts_with("/usr/bin/podman --runtime=gpulease run "), "{start}");
    assert_eq!(value(&unit, "Restart"), "on-failure");
    // It does judge: a key that is not one is said.
    let wrong = generate(&QUADLET.replace("Annotation=", "Anotation="));
    assert!(stderr(&wrong).contains("Anotation"), "{}", stderr(&wrong));
}

/// A root with just what the unit names, so that nothing of the host's is looked at.
fn verified(unit: &str) -> Option<String> {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::write(at("etc/systemd/system/gpulease-worker.service"), unit).unwrap();
    let docker = "[Service]\nExecStart=/usr/bin/docker\n";
    fs::write(at("usr/lib/systemd/system/docker.service"), docker).unwrap();
    for target in ["sysinit", "basic", "shutdown", "multi-user"] {
        let text = "[Unit]\nDescription=A target\n";
        fs::write(at(&format!("usr/lib/systemd/system/{target}.target")), text).unwrap();
    }
    fs::write(at("usr/bin/docker"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at("usr/bin/docker"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no", "--root"]).arg(root.path()).arg("gpulease-worker.service");
    let output = analyze.output().ok()?;
    Some(format!("{}{}", if output.status.success() { "" } else { "failed\n" }, stderr(&output)))
}

#[test]
fn systemd_takes_the_unit() {
    let start = value(UNIT, "ExecStart");
    assert!(start.starts_with("/usr/bin/docker run ") && start.contains(" --runtime gpulease "));
    assert_eq!(annotations(&start).len(), 3, "{start}");
    let Some(said) = verified(UNIT) else {
        eprintln!("SKIPPED: systemd-analyze is not installed; its verdict on the unit");
        return;
    };
    assert_eq!(said, "");
    let wrong = verified(&UNIT.replace("Restart=on-failure", "Restart=sometimes")).unwrap();
    assert!(wrong.contains("sometimes"), "it does judge: {wrong}");
}
