//! A crash at every step that changes something. After each, whatever was not running is free for
//! the next who asks, what runs keeps its devices, and the bundle can be started again and then
//! carries one grant's edits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use std::fs;
use std::process::Output;
use support::{Host, needs_root, ok, stderr};

const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

/// Steps of the shim's create, in their order.
const CREATE: &[&str] = &[
    "create.locked",
    "store.before-put",
    "store.after-put",
    "create.recorded",
    "bundles.before-put",
    "bundles.after-put",
    "create.before-edit",
    "create.edited",
];
/// Steps of the bind hook.
const BIND: &[&str] = &["bind.begin", "bind.described", "bind.recorded"];
/// Steps of the shim's delete.
const DELETE: &[&str] = &[
    "delete.before-runtime",
    "delete.after-runtime",
    "release.locked",
    "store.before-put",
    "store.after-put",
];

fn create_killed_at(host: &Host, point: &str) -> Output {
    host.create_command("web").env("GPULEASE_FAILPOINT", format!("{point}=kill")).output().unwrap()
}

fn assert_one_grant(host: &Host, container: &str) {
    let spec = host.spec(container);
    for stage in ["createRuntime", "poststop"] {
        assert_eq!(spec["hooks"][stage].as_array().unwrap().len(), 1, "{stage}");
    }
    let lease = host.lease(container).unwrap();
    let hooks = spec["hooks"].to_string();
    assert!(hooks.contains(lease.nonce.as_str()), "the hooks are of this start");
    let nodes = spec["linux"]["devices"].as_array().unwrap();
    let mut paths: Vec<_> = nodes.iter().map(|node| node["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all, "no node twice");
}

#[test]
fn killed_at_any_step_of_create() {
    needs_root!();
    for point in CREATE {
        let host = Host::new("h100x8");
        host.bundle("web", ALL);
        let output = create_killed_at(&host, point);
        assert_eq!(output.status.code(), None, "{point} was not reached: {}", stderr(&output));
        // Nobody else needs to do anything: the next who asks gets it all.
        ok(host.start("next", ALL));
        assert_eq!(host.leases().len(), 1, "{point}");
        // The engine's clean-up, then the same container again.
        ok(host.delete("web"));
        host.kill("next");
        ok(host.delete("next"));
        ok(host.create("web"));
        assert_one_grant(&host, "web");
        let leftovers = fs::read_dir(host.run_dir().join("leases")).unwrap().flatten();
        let leftovers: Vec<_> = leftovers
            .map(|e| e.file_name())
            .filter(|n| n.to_string_lossy().ends_with(".tmp"))
            .collect();
        // A temporary file of a killed process is harmless, but must not be read as a record.
        assert!(leftovers.len() <= 1, "{point}: {leftovers:?}");
        assert!(host.records().iter().all(Result::is_ok), "{point}");
    }
}

#[test]
fn killed_at_any_step_of_bind() {
    needs_root!();
    for point in BIND {
        let host = Host::new("h100x8");
        host.bundle("web", ALL);
        // The hook dies, so the runtime fails the start and kills its init.
        let output = create_killed_at(&host, point);
        assert_eq!(output.status.code(), Some(1), "{point}: {}", stderr(&output));
        ok(host.start("next", ALL));
        assert_eq!(host.leases().len(), 1, "{point}");
        ok(host.delete("web"));
        ok(host.delete("next"));
        ok(host.create("web"));
        assert_one_grant(&host, "web");
    }
}

#[test]
fn killed_at_any_step_of_delete() {
    needs_root!();
    for point in DELETE {
        let host = Host::new("h100x8");
        host.bundle("web", ALL);
        ok(host.create("web"));
        let killed = host
            .shim()
            .args(["delete", "--force", "web"])
            .env("GPULEASE_FAILPOINT", format!("{point}=kill"))
            // Else poststop has already released when the shim comes to it.
            .env("STUB_NO_HOOKS", "1")
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point} was not reached: {}", stderr(&killed));
        // If the runtime was not reached, the container lives and keeps its devices.
        if *point == "delete.before-runtime" {
            assert!(stderr(&host.start("next", ALL)).contains("no-capacity"), "{point}");
            ok(host.delete("web"));
        }
        ok(host.start("next", ALL));
        assert_eq!(host.leases().len(), 1, "{point}");
    }
}

#[test]
fn delete_releases_after_a_killed_poststop_hook() {
    needs_root!();
    for point in ["release.locked", "store.before-put", "store.after-put"] {
        let host = Host::new("h100x8");
        host.bundle("web", ALL);
        ok(host.create("web"));
        // Into the hook's environment only, as its author would write it.
        let path = host.path("bundles/web/config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut spec: serde_json::Value = serde_json::from_str(&text).unwrap();
        let env = spec["hooks"]["poststop"][0]["env"].as_array_mut().unwrap();
        env.push(format!("GPULEASE_FAILPOINT={point}=kill").into());
        fs::write(&path, spec.to_string()).unwrap();
        let delete = host.delete("web");
        assert!(stderr(&delete).contains("poststop hook failed"), "{point} was not reached");
        ok(delete);
        assert!(host.leases().is_empty(), "{point}: the shim's own delete releases too");
        ok(host.start("next", ALL));
    }
}

/// A file that was being written by a killed start lies there until the next one.
#[test]
fn what_the_killed_were_writing_is_removed() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    create_killed_at(&host, "create.before-edit");
    let pid = host.lease("web").unwrap().owner.pid;
    let place = |name: &str| host.run_dir().join(name);
    let files = [
        place(&format!(".runtime.{pid}.tmp")),
        place(&format!("bundles/.x.json.{pid}.tmp")),
        host.path(&format!("bundles/web/.config.json.{pid}.tmp")),
    ];
    for file in &files {
        fs::write(file, "half").unwrap();
    }
    ok(host.start("next", ALL));
    assert_eq!(files.each_ref().map(|file| file.exists()), [false; 3]);
}
