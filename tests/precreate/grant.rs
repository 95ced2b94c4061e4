//! What is granted, to whom, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::podman::{ALL, Container, ONE, Podman, ROOT, assert_one_grant};
use crate::support::{HOOK, Host, STUB, kill, needs_root, ok, stderr};
use gpulease::door::model::lease::{Lease, LeaseState};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_grant_belongs_to_podman_until_the_start() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, ALL);
    let asked = web.spec("config.json");
    podman.grant(&host, &web);
    assert_ne!(web.spec("config.json"), asked);
    let lease = assert_one_grant(&host, &web, LeaseState::Pending);
    assert_eq!((lease.owner.pid, lease.engine.as_str()), (podman.pid(), "podman"));
    assert_eq!(lease.runtime_root, ROOT);
    let precreate = lease.precreate.as_ref().unwrap();
    assert!(precreate.since >= lease.owner.start_time);
    assert!(stderr(&host.start("next", ONE)).contains("no-capacity"));
    ok(web.create());
    let lease = assert_one_grant(&host, &web, LeaseState::Bound);
    assert_eq!((lease.owner.pid, lease.precreate), (web.pid(), None));
    ok(web.delete());
    assert!(host.leases().is_empty(), "the poststop hook releases");
    // Podman restores a checkpoint by what is there, and crun then runs no hook.
    assert_eq!(web.spec("config.json"), asked, "nothing of the grant stays in the bundle");
    ok(host.start("next", ALL));
}

#[test]
fn a_container_without_a_request_is_unchanged() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let plain = Container::new(&host, &[("a", "b")]);
    let odd = b"{ \"process\":{\"env\":[\"NVIDIA_VISIBLE_DEVICES=all\"]},\n\t\"x\": 1.50e3 ,\"y\":\"\\u003c\" } ";
    let texts: [&[u8]; 5] = [
        &fs::read(plain.path("config.json")).unwrap(),
        odd,
        b"",
        b"no JSON at all",
        br#"{"linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}]}}"#,
    ];
    // Whatever state gpulease is in, and whatever its arguments are.
    let states: [fn(&Host); 5] = [
        |_| {},
        |host| host.configure(Path::new(STUB), "no_such_key = 1"),
        |host| fs::write(host.config(), "=").unwrap(),
        |host| fs::write(host.run_dir(), "no directory").unwrap(),
        |host| fs::remove_file(host.path("etc/devices.toml")).unwrap(),
    ];
    for (state, spoil) in states.iter().enumerate() {
        spoil(&host);
        // Whether a node is a GPU, only the inventory knows: it is made where that can be done.
        for text in &texts[..if state == 0 { 4 } else { 5 }] {
            fs::write(plain.path("config.json"), text).unwrap();
            let said = podman.call(&host, &plain);
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{state}");
            assert_eq!(said.stdout, *text, "{state}");
            let said = podman.call_with(&host, &plain, "", "--no-such-option >out.json");
            assert_eq!((said.status, said.stdout.as_slice()), (0, *text));
        }
        assert!(!host.run_dir().is_dir(), "no state for those who ask for nothing");
    }
    // A pretender is cleaned, and no more.
    let pretender = Container::new(&host, &[("gpulease.granted/devices", "GPU-1"), ("a", "b")]);
    let said = podman.call(&host, &pretender);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let spec: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(spec["annotations"], json!({"a": "b"}));
}

#[test]
fn a_shim_takes_the_grant_over() {
    needs_root!();
    // By another root than the hook could know of, and by the same one.
    for root in [None, Some(ROOT)] {
        let host = Host::new("h100x8");
        let mut podman = Podman::new();
        let web = Container::new(&host, ALL);
        let granted = podman.grant(&host, &web);
        let root = root.map_or_else(|| host.root(), Into::into);
        let shim = |words: &[&str]| ok(shim(&host, &web, &root, words).output().unwrap());
        shim(&["create", "--bundle", ".", "--pid-file", "pid"]);
        let lease = assert_one_grant(&host, &web, LeaseState::Bound);
        assert_eq!((lease.id.clone(), lease.devices.clone()), (granted.id, granted.devices));
        assert_eq!((lease.owner.pid, Path::new(&lease.runtime_root)), (web.pid(), root.as_path()));
        assert_eq!(host.records().len(), 1);
        // Its exec and its delete know the container.
        fs::write(web.path("process.json"), r#"{"env":["CUDA_VISIBLE_DEVICES=all"]}"#).unwrap();
        let process = shim(&["exec", "--process", "process.json"]).stdout;
        let process = String::from_utf8(process).unwrap();
        assert!(process.contains(lease.devices[0].uuid.as_str()), "{process}");
        shim(&["delete", "--force"]);
        assert!(host.leases().is_empty());
        let _ = fs::remove_dir_all(root.join(&web.id));
    }
}

#[test]
fn precreate_and_shim_do_not_grant_twice() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, ONE);
    let asked = fs::read(web.path("config.json")).unwrap();
    let root = host.root();
    let words = ["create", "--bundle", ".", "--pid-file", "pid"];
    let create = || shim(&host, &web, &root, &words).output().unwrap();
    ok(create());
    let first = web.pid();
    fs::write(web.path("config.json"), &asked).unwrap();
    let granted = podman.grant(&host, &web);
    assert!(stderr(&create()).contains("already-leased"));
    assert_eq!(host.records().len(), 2, "both are as they were");
    kill(first);
    ok(create());
    let held: Vec<_> = host.records().into_iter().map(|lease| lease.unwrap().id).collect();
    assert_eq!(held, [granted.id]);
}

/// The shim, called for a container by this root.
fn shim(host: &Host, container: &Container, root: &Path, words: &[&str]) -> Command {
    let mut shim = Command::new(crate::support::SHIM);
    shim.arg("--gpulease-config").arg(host.config()).arg("--root").arg(root).args(words);
    shim.arg(&container.id).current_dir(&container.dir).stdin(Stdio::null());
    shim
}

#[test]
fn a_shim_killed_at_the_takeover_blocks_nothing() {
    needs_root!();
    let points = [
        "create.locked",
        "store.before-put",
        "store.after-put",
        "store.before-remove",
        "create.recorded",
        "bundles.after-put",
        "create.edited",
    ];
    for point in points {
        let host = Host::new("h100x8");
        let mut podman = Podman::new();
        let web = Container::new(&host, ALL);
        let pristine = fs::read(web.path("config.json")).unwrap();
        let create = ["create", "--bundle", ".", "--pid-file", "pid"];
        let mut take_over = || {
            fs::write(web.path("config.json"), &pristine).unwrap();
            podman.grant(&host, &web);
            shim(&host, &web, &host.root(), &create)
        };
        let mut killed = take_over();
        let killed = killed.env("GPULEASE_FAILPOINT", format!("{point}=kill")).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point} was not reached: {}", stderr(&killed));
        // The same container by the same podman, and then anybody by none.
        ok(take_over().output().unwrap());
        assert_one_grant(&host, &web, LeaseState::Bound);
        crate::support::kill(web.pid());
        let web = Container::new(&host, ALL);
        podman.grant(&host, &web);
        let mut killed = shim(&host, &web, &host.root(), &create);
        killed.env("GPULEASE_FAILPOINT", format!("{point}=kill")).output().unwrap();
        drop(podman);
        ok(host.start("next", ALL));
        assert_eq!(host.leases().len(), 1, "{point}");
    }
}

#[test]
fn a_shim_takes_over_only_its_containers_lease() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, &[("gpulease/count", "7")]);
    let granted = podman.grant(&host, &web);
    // Somebody who has seen the nonce, and writes it into a bundle of his own.
    let spec = web.spec("config.json");
    let dir = host.bundle("thief", ONE);
    let mut stolen = host.spec("thief");
    stolen["hooks"] = spec["hooks"].clone();
    stolen["linux"]["devices"] = spec["linux"]["devices"].clone();
    fs::write(dir.join("config.json"), stolen.to_string()).unwrap();
    ok(host.create("thief"));
    assert_eq!(host.devices("thief").len(), 1);
    let nodes = host.spec("thief")["linux"]["devices"].to_string();
    for device in &granted.devices {
        assert!(!nodes.contains(&format!("\"{}\"", device.nodes[0])), "{nodes}");
    }
    assert_eq!(web.lease(&host), Some(granted));
    ok(web.create());
    assert_eq!(web.lease(&host).unwrap().owner.pid, web.pid());
}

/// Rewrites a record, as time would.
fn rewrite(host: &Host, edit: impl FnOnce(&mut Lease)) {
    let mut lease = host.leases().into_iter().next().unwrap();
    edit(&mut lease);
    let name = format!("leases/{}.json", lease.key().unwrap().file_stem());
    fs::write(host.run_dir().join(name), serde_json::to_vec(&lease).unwrap()).unwrap();
}

#[test]
fn podman_holds_a_lease_only_until_the_deadline() {
    needs_root!();
    for root in ["/run/runc", "/run/crun"] {
        let host = Host::new("h100x8");
        let mut podman = Podman::new();
        // Its runtime died before it made the container, and Podman is a service.
        let web = Container::new(&host, ALL);
        podman.grant(&host, &web);
        assert!(stderr(&host.start("next", ONE)).contains("no-capacity"));
        rewrite(&host, |lease| lease.precreate.as_mut().unwrap().until_ms = 1);
        ok(host.start("next", ALL));
        ok(host.delete("next"));
        // The container is there, by whichever runtime, but its hook was not run.
        podman.grant(&host, &web);
        let mut create =
            web.stub(&["--root", root, "create", "--bundle", ".", "--pid-file", "pid"]);
        ok(create.env("STUB_NO_HOOKS", "1").output().unwrap());
        rewrite(&host, |lease| lease.precreate.as_mut().unwrap().until_ms = 1);
        assert!(stderr(&host.start("next", ONE)).contains("no-capacity"));
        let lease = assert_one_grant(&host, &web, LeaseState::Bound);
        assert_eq!((lease.owner.pid, lease.precreate), (web.pid(), None));
        // The hook comes after all: the sweep was faster, and meant the same.
        assert!(hook_of(&web, web.pid()).status.success());
        let other = hook_of(&web, podman.pid());
        assert!(stderr(&other).contains("stale-hook"), "{}", stderr(&other));
        assert_one_grant(&host, &web, LeaseState::Bound);
        crate::support::kill(web.pid());
        ok(host.start("next", ALL));
        let _ = fs::remove_dir_all(Path::new(root).join(&web.id));
    }
}

/// Calls the create-runtime hook of a container's spec.
fn hook_of(container: &Container, pid: i32) -> std::process::Output {
    let spec = container.spec("config.json");
    let words = spec["hooks"]["createRuntime"][0]["args"].as_array().unwrap().iter();
    let mut hook = Command::new(HOOK);
    hook.args(words.skip(1).map(|word| word.as_str().unwrap()));
    let state = container.path("state");
    fs::write(&state, json!({ "id": container.id, "pid": pid }).to_string()).unwrap();
    hook.stdin(fs::File::open(state).unwrap()).output().unwrap()
}

#[test]
fn a_later_start_replaces_a_failed_one() {
    needs_root!();
    let host = Host::new("h100x8");
    let (mut podman, mut other) = (Podman::new(), Podman::new());
    let web = Container::new(&host, ALL);
    let pristine = fs::read(web.path("config.json")).unwrap();
    let first = podman.grant(&host, &web);
    let first_spec = fs::read(web.path("config.json")).unwrap();
    // Neither the service that failed nor another podman has to wait for the deadline.
    for podman in [&mut podman, &mut other] {
        fs::write(web.path("config.json"), &pristine).unwrap();
        let next = podman.grant(&host, &web);
        assert_ne!(next.nonce, first.nonce);
        assert_eq!(assert_one_grant(&host, &web, LeaseState::Pending).owner.pid, podman.pid());
    }
    // If the first one did go on, it would not get far, and would take nothing from the last.
    let last = web.lease(&host).unwrap();
    let last_spec = fs::read(web.path("config.json")).unwrap();
    fs::write(web.path("config.json"), &first_spec).unwrap();
    let late = web.create();
    assert!(stderr(&late).contains("stale-hook"), "{}", stderr(&late));
    assert_eq!(web.lease(&host), Some(last));
    fs::write(web.path("config.json"), &last_spec).unwrap();
    ok(web.create());
    // A container that runs is not started anew.
    fs::write(web.path("config.json"), &pristine).unwrap();
    let said = podman.call(&host, &web);
    assert_eq!((said.status, said.stdout.len()), (7, 0), "{}", said.stderr);
    assert!(said.stderr.contains("already-leased"), "{}", said.stderr);
    assert_eq!(web.lease(&host).unwrap().state, LeaseState::Bound);
}

#[test]
fn a_delete_after_a_failed_create_releases_at_once() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, ALL);
    podman.grant(&host, &web);
    // The shim's delete, which comes by its own key, and runc's poststop hook.
    let mut shim = Command::new(crate::support::SHIM);
    shim.arg("--gpulease-config").arg(host.config()).args(["--root", ROOT, "delete", "--force"]);
    ok(shim.arg(&web.id).output().unwrap());
    assert!(host.leases().is_empty());
    podman.grant(&host, &web);
    let spec = web.spec("config.json");
    let words = spec["hooks"]["poststop"][0]["args"].as_array().unwrap().iter();
    fs::write(web.path("state"), json!({ "id": web.id }).to_string()).unwrap();
    let mut hook = Command::new(HOOK);
    hook.args(words.skip(1).map(|word| word.as_str().unwrap()));
    ok(hook.stdin(fs::File::open(web.path("state")).unwrap()).output().unwrap());
    assert!(host.leases().is_empty());
}
