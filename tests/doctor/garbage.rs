//! Files full of anything: no panic, no hang, an answer.

use super::node::Node;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

const FILES: &[&str] = &[
    "etc/gpulease/config.toml",
    "etc/gpulease/devices.toml",
    "etc/docker/daemon.json",
    "etc/containerd/config.toml",
    "etc/containers/containers.conf",
    "etc/containers/containers.conf.d/gpulease.conf",
    "etc/crio/crio.conf",
    "usr/share/containers/oci/hooks.d/x.json",
    "run/gpulease/inventory.json",
    "run/gpulease/lock",
    "run/gpulease/leases/x@run!runc.json",
    "usr/bin/runc",
    "usr/local/bin/gpulease-hook",
];

fn garbage(node: &Node, name: &str, kind: usize) {
    let path = node.path(name);
    if std::fs::symlink_metadata(&path).is_ok() {
        node.remove(name);
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        0 => node.write(name, vec![b'['; 20 << 20]),
        1 => node.write(name, (0..=255).cycle().take(70_000).collect::<Vec<u8>>()),
        2 => symlink(&path, &path).unwrap(),
        3 => std::fs::create_dir(&path).unwrap(),
        4 => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        5 => node.write(name, "[".repeat(100_000)),
        6 => node.write(name, format!("a = {}", "[".repeat(100_000))),
        7 => node.write(name, format!("{}{}", "{\"runtimes\":".repeat(5000), "1")),
        8 => node.write(name, ""),
        9 => node.write(name, "{\"stages\": 1, \"hook\": [], \"runtimes\": [1], \"v\": \"x\"}"),
        10 => node.write(
            name,
            "imports = [1, \"/*\", \"*\", \"\"]\nplugins = 1\nengine = []\ncrio = 1\n",
        ),
        _ => {
            node.write(name, "x");
            node.chmod(name, 0);
        }
    }
}

#[test]
fn no_file_makes_it_panic_or_hang() {
    let node = Node::healthy();
    for name in FILES {
        let intact = std::fs::read(node.path(name)).ok();
        for kind in 0..12 {
            garbage(&node, name, kind);
            let before = node.listing();
            let start = Instant::now();
            let (status, checks) = node.doctor();
            assert!(status == 0 || status == 1, "{name} {kind}: {status}");
            assert!(checks.len() > 5, "{name} {kind}: {checks:#?}");
            let (status, _) = node.health();
            assert!(matches!(status, 0 | 1 | 3), "{name} {kind}: {status}");
            // Generous: the machine may be busy. A hang would be for good.
            assert!(
                start.elapsed() < Duration::from_secs(8),
                "{name} {kind}: {:?}",
                start.elapsed()
            );
            assert_eq!(node.listing(), before, "{name} {kind}");
        }
        node.remove(name);
        if let Some(intact) = intact {
            node.write(name, intact);
            node.chmod(name, if name.contains("bin/") { 0o755 } else { 0o644 });
        }
    }
}

#[test]
fn a_runtime_that_never_answers_is_given_up_on() {
    let node = Node::healthy();
    // The second keeps the pipe open in a session of its own.
    for script in ["sleep 30", "setsid sleep 30 & echo 'runc version 1.2.6'", "yes", "kill -9 $$"] {
        node.program("usr/bin/runc", script);
        let start = Instant::now();
        let checks = node.doctor_of_runtime("usr/bin/runc");
        // Its deadline is 2 s; the machine may be busy.
        assert!(start.elapsed() < Duration::from_secs(8), "{script}: {:?}", start.elapsed());
        assert_eq!(checks.len(), 1, "{script}: {checks:#?}");
        assert_ne!(checks[0]["level"], "fault", "{script}: {checks:#?}");
    }
}

#[test]
fn what_files_say_is_shown_safely() {
    let node = Node::healthy();
    let text = "{\"default-runtime\": \"a\\u001b[31m\\nb\\u202e\"}";
    node.write("etc/docker/daemon.json", text);
    node.write("usr/share/containers/oci/hooks.d/a\u{1b}[31m\n\u{202e}.json", "{");
    for arguments in [&["doctor", "-v"][..], &["doctor", "--json"], &["health"]] {
        let output = node.cli(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let is_safe = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(text.chars().all(is_safe), "{text:?}");
    }
}
