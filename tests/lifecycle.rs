//! A lease's life around a low-level runtime, step by step, and every way in which it must not go
//! wrong. The containers are a stub's; real runtimes are in `bundles.rs` and `docker.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use gpulease::door::model::lease::LeaseState;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use support::{HOOK, Host, needs_root, ok, stderr};

const WHOLE: &[(&str, &str)] = &[("gpulease/count", "1")];
const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

#[test]
fn a_lease_is_bound_and_ends_with_the_container() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    let lease = host.lease("web").unwrap();
    assert_eq!(lease.state, LeaseState::Bound);
    assert_eq!(Some(lease.owner.pid), host.pid("web"));
    assert_eq!(lease.devices.len(), 1);
    let spec = host.spec("web");
    let nodes: Vec<&str> = spec["linux"]["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["path"].as_str().unwrap())
        .collect();
    assert!(nodes.contains(&"/dev/nvidiactl") && nodes.contains(&"/dev/nvidia0"), "{nodes:?}");
    let uuid = lease.devices[0].uuid.to_string();
    let env = spec["process"]["env"].to_string();
    assert!(env.contains(&format!("NVIDIA_VISIBLE_DEVICES={uuid}")), "{env}");
    assert!(env.contains("GPULEASE_SIMULATED=true"), "{env}");
    ok(host.delete("web"));
    assert!(host.leases().is_empty());
}

#[test]
fn one_container_too_many_is_refused_cleanly() {
    needs_root!();
    let host = Host::new("mixed4");
    for n in 0..2 {
        ok(host.start(&format!("c{n}"), &[("gpulease/count", "1"), ("gpulease/vendor", "nvidia")]));
    }
    let bundle = host.bundle("late", &[("gpulease/count", "1"), ("gpulease/vendor", "nvidia")]);
    let before = fs::read(bundle.join("config.json")).unwrap();
    let output = host.create("late");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    let lease = host.lease("c0").unwrap();
    for word in ["no-capacity", "GPU 0", "GPU 1", lease.id.as_str(), "c0", "hint:"] {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    let log: Value = serde_json::from_slice(&fs::read(bundle.join("log.json")).unwrap()).unwrap();
    assert_eq!(log["level"], "error");
    assert_eq!(log["msg"].as_str().unwrap(), text.trim_end());
    assert_eq!(fs::read(bundle.join("config.json")).unwrap(), before);
    assert_eq!(host.leases().len(), 2);
    assert!(host.lease("late").is_none());
}

#[test]
fn a_dead_holders_device_goes_to_the_next_who_asks() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("old", ALL));
    assert!(stderr(&host.start("new", WHOLE)).contains("no-capacity"));
    // No delete, no hook, no daemon: the process is just gone.
    host.kill("old");
    ok(host.start("new", ALL));
    assert_eq!(host.devices("new").len(), 4);
    assert!(host.lease("old").is_none());
}

#[test]
fn a_restart_gets_its_devices_unless_they_are_taken() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("other", &[("gpulease/devices", "0,1,2")]));
    ok(host.start("web", &[("gpulease/devices", "6")]));
    let first = host.devices("web");
    host.kill("web");
    ok(host.delete("web"));
    assert_eq!(host.records().len(), 2, "the grace is a record");
    // Somebody else comes in between and is kept off, as there is enough for both.
    ok(host.start("between", WHOLE));
    assert_ne!(host.devices("between"), first);
    ok(host.start("web", WHOLE));
    assert_eq!(host.devices("web"), first);
    // A grace is no reservation: whoever needs all of it gets it.
    host.kill("web");
    ok(host.delete("web"));
    ok(host.start("needy", &[("gpulease/count", "4")]));
    assert!(host.devices("needy").contains(&first[0]));
}

#[test]
fn a_live_holder_keeps_its_device_despite_its_id() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    let nonce = host.lease("web").unwrap().nonce;
    let again = host.create("web");
    assert!(stderr(&again).contains("already-leased"), "{}", stderr(&again));
    assert_eq!(host.lease("web").unwrap().nonce, nonce);
    let refused = host.cli(&["release", "web"]);
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    assert_eq!(host.leases().len(), 1);
    // Dead, the same id replaces its own lease.
    host.kill("web");
    fs::remove_dir_all(host.root().join("web")).unwrap();
    ok(host.start("web", WHOLE));
    assert_ne!(host.lease("web").unwrap().nonce, nonce);
    assert_eq!(host.leases().len(), 1);
}

#[test]
fn a_failed_start_leaves_no_lease() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    let output = host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    // Engines delete what they could not create.
    ok(host.delete("web"));
    assert!(host.records().is_empty(), "{:?}", host.records());
    // And one that does not is swept.
    host.create_command("web").env("STUB_FAIL", "create").output().unwrap();
    ok(host.start("next", ALL));
    assert_eq!(host.leases().len(), 1);
}

#[test]
fn a_container_that_nobody_bound_is_found_alive() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", ALL);
    ok(host.create_command("web").env("STUB_NO_HOOKS", "1").output().unwrap());
    assert_eq!(host.lease("web").unwrap().state, LeaseState::Pending);
    // Its shim is gone, yet the runtime's state shows that it lives: the sweep binds it.
    assert!(stderr(&host.start("next", WHOLE)).contains("no-capacity"));
    let lease = host.lease("web").unwrap();
    assert_eq!((lease.state, Some(lease.owner.pid)), (LeaseState::Bound, host.pid("web")));
    host.kill("web");
    ok(host.start("next", ALL));
}

/// As a runtime leaves them that runs containers in the foreground: it deletes them without us.
#[test]
fn grants_forget_bundles_that_no_delete_forgot() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    let records = host.run_dir().join("bundles");
    let all = || fs::read_dir(&records).unwrap().flatten().map(|entry| entry.path());
    let record = fs::read_to_string(all().next().unwrap()).unwrap();
    let bundle = host.path("bundles/web").display().to_string();
    for number in 0..100 {
        let gone = record.replace(&bundle, &format!("/gone/{number}"));
        fs::write(records.join(format!("{number:016x}.json")), gone).unwrap();
    }
    ok(host.start("next", WHOLE));
    // Web's may be among those that were looked at.
    let left = all().count();
    assert!((94..=95).contains(&left), "{left}");
}

#[test]
fn a_bundle_has_only_its_latest_grant() {
    needs_root!();
    let host = Host::new("h100x8");
    let bundle = host.bundle("web", WHOLE);
    let pristine = host.spec("web");
    ok(host.create("web"));
    let first = host.devices("web")[0].clone();
    host.kill("web");
    ok(host.delete("web"));
    // Another container takes the first device, so that the second grant must differ.
    ok(host.start("thief", &[("gpulease/devices", &first)]));
    ok(host.create("web"));
    let second = host.devices("web")[0].clone();
    assert_ne!(first, second);
    let text = fs::read_to_string(bundle.join("config.json")).unwrap();
    assert!(!text.contains(&first) && text.contains(&second), "{text}");
    let spec = host.spec("web");
    assert_eq!(spec["hooks"]["createRuntime"].as_array().unwrap().len(), 1);
    assert_eq!(spec["hooks"]["poststop"].as_array().unwrap().len(), 1);
    let own = spec["linux"]["devices"].as_array().unwrap().iter();
    let own = own.filter(|d| {
        d["path"].as_str().unwrap().strip_prefix("/dev/nvidia").unwrap().parse::<u8>().is_ok()
    });
    assert_eq!(own.count(), 1);
    // Without the request the bundle is what its author wrote.
    host.kill("web");
    ok(host.delete("web"));
    let mut spec = host.spec("web");
    spec["annotations"].as_object_mut().unwrap().remove("gpulease/count");
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    ok(host.create("web"));
    let mut bare = pristine;
    bare["annotations"].as_object_mut().unwrap().clear();
    assert_eq!(host.spec("web"), bare);
    assert!(host.lease("web").is_none());
}

#[test]
fn the_same_bundle_twice_without_our_records_of_it() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", &[("gpulease/devices", "3")]);
    ok(host.create("web"));
    host.kill("web");
    ok(host.delete("web"));
    // A reboot: /run is empty, the bundle is where it was.
    fs::remove_dir_all(host.run_dir()).unwrap();
    ok(host.start("thief", &[("gpulease/devices", "3")]));
    let mut spec = host.spec("web");
    spec["annotations"]["gpulease/devices"] = "4".into();
    fs::write(host.path("bundles/web/config.json"), spec.to_string()).unwrap();
    ok(host.create("web"));
    let text = host.spec("web").to_string();
    assert!(text.contains("/dev/nvidia4\"") && !text.contains("/dev/nvidia3\""), "{text}");
    assert_eq!(host.spec("web")["hooks"]["poststop"].as_array().unwrap().len(), 1);
}

#[test]
fn unrecorded_driver_files_are_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    for (way, refused) in [("native", true), ("cdi", true), ("none", false), ("chain", false)] {
        let bundle = host.bundle(way, WHOLE);
        ok(host.create(way));
        host.kill(way);
        ok(host.delete(way));
        fs::remove_dir_all(host.run_dir()).unwrap();
        let mut spec = host.spec(way);
        spec["annotations"]["gpulease.granted/driver"] = way.into();
        let text = spec.to_string();
        fs::write(bundle.join("config.json"), &text).unwrap();
        let output = host.create(way);
        if !refused {
            ok(output);
            host.kill(way);
            ok(host.delete(way));
            continue;
        }
        let message = stderr(&output);
        assert!(message.starts_with("gpulease: bad-bundle: "), "{message}");
        assert!(message.contains("write config.json again"), "{message}");
        assert_eq!(fs::read_to_string(bundle.join("config.json")).unwrap(), text);
        assert!(host.leases().is_empty());
    }
}

/// Runs a hook by hand, as a runtime would.
fn hook(host: &Host, verb: &str, container: &str, nonce: &str, pid: i32) -> std::process::Output {
    let key = format!(
        "{container}@{}",
        host.root().display().to_string().trim_start_matches('/').replace('/', "!")
    );
    let mut child = Command::new(HOOK)
        .args([verb, "--run-dir"])
        .arg(host.run_dir())
        .args(["--key", &key, "--nonce", nonce])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    write!(child.stdin.take().unwrap(), "{{\"id\":\"{container}\",\"pid\":{pid}}}").unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_late_hook_changes_nothing_of_its_successor() {
    needs_root!();
    let host = Host::new("h100x8");
    let pid = i32::try_from(std::process::id()).unwrap();
    ok(host.start("web", WHOLE));
    let first = host.lease("web").unwrap();
    host.kill("web");
    ok(host.delete("web"));
    ok(host.create("web"));
    let second = host.lease("web").unwrap();
    let late = hook(&host, "create-runtime", "web", first.nonce.as_str(), pid);
    assert_eq!(late.status.code(), Some(1));
    assert!(stderr(&late).contains("stale-hook"), "{}", stderr(&late));
    host.kill("web");
    ok(hook(&host, "poststop", "web", first.nonce.as_str(), pid));
    assert_eq!(host.lease("web"), Some(second.clone()), "the first's poststop is not the second's");
    // Not even with the right nonce is a bound lease bound again.
    let twice = hook(&host, "create-runtime", "web", second.nonce.as_str(), pid);
    assert!(stderr(&twice).contains("stale-hook"), "{}", stderr(&twice));
    // The right poststop releases, and a bind after it is stale too.
    ok(hook(&host, "poststop", "web", second.nonce.as_str(), pid));
    assert!(host.lease("web").is_none());
    let after = hook(&host, "create-runtime", "web", second.nonce.as_str(), pid);
    assert_eq!(after.status.code(), Some(1));
    assert!(host.lease("web").is_none());
}

#[test]
fn a_hook_of_a_killed_runtime_binds_nothing() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", WHOLE);
    let mut shim = host
        .create_command("web")
        .env("GPULEASE_FAILPOINT", "bind.begin=stop")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stopped = wait_for_stopped_hook(&host);
    shim.kill().unwrap();
    shim.wait().unwrap();
    // Swept and granted again, while the hook of the first start still waits. (The init ends as
    // soon as it sees that its runtime is gone.)
    host.bundle("all", ALL);
    support::eventually(|| host.create("all").status.success());
    let nonce = host.lease("all").unwrap().nonce;
    ok(host.delete("all"));
    fs::remove_dir_all(host.root().join("web")).ok();
    host.bundle("web", WHOLE);
    ok(host.create("web"));
    let second = host.lease("web").unwrap();
    assert_ne!(second.nonce, nonce);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(stopped), nix::sys::signal::Signal::SIGCONT)
        .unwrap();
    for _ in 0..500 {
        if !std::path::Path::new(&format!("/proc/{stopped}")).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(host.lease("web"), Some(second));
}

fn wait_for_stopped_hook(host: &Host) -> i32 {
    let run_dir = host.run_dir().display().to_string();
    for _ in 0..500 {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if line.contains("create-runtime") && line.contains(&run_dir) && stat.contains(") T ") {
                return pid;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the hook does not stop");
}

#[test]
fn unreadable_records_of_the_living_keep_devices() {
    needs_root!();
    let host = Host::new("mixed4");
    ok(host.start("web", &[("gpulease/devices", "1")]));
    let record = host.run_dir().join("leases");
    let record = fs::read_dir(record).unwrap().next().unwrap().unwrap().path();
    fs::write(&record, b"\0\0\0").unwrap();
    // The bundle's record still says which device it was.
    let refused = stderr(&host.start("thief", &[("gpulease/devices", "1")]));
    assert!(refused.contains("corrupt-lease"), "{refused}");
    ok(host.start("polite", &[("gpulease/devices", "0")]));
    // Without that, every device may be it.
    let (bundles, away) = (host.run_dir().join("bundles"), host.run_dir().join("away"));
    fs::rename(&bundles, &away).unwrap();
    let refused = stderr(&host.start("next", &[("gpulease/devices", "2")]));
    assert!(refused.contains("corrupt-lease"), "{refused}");
    fs::remove_dir_all(&bundles).unwrap();
    fs::rename(&away, &bundles).unwrap();
    // Dead, it is moved aside, never deleted.
    host.kill("web");
    let old = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&record).unwrap().set_modified(old).unwrap();
    ok(host.start("next", &[("gpulease/devices", "1")]));
    assert_eq!(fs::read_dir(host.run_dir().join("corrupt")).unwrap().count(), 1);
}

#[test]
fn a_full_disk_refuses_the_start_and_says_so() {
    needs_root!();
    let host = Host::new("h100x8");
    let run = host.path("run");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs"])
        .arg(&run)
        .status();
    assert!(mounted.unwrap().success(), "cannot mount a small tmpfs");
    ok(host.start("first", WHOLE));
    fs::write(run.join("ballast"), vec![0u8; 200 << 10]).unwrap_err();
    let bundle = host.bundle("late", WHOLE);
    let before = fs::read(bundle.join("config.json")).unwrap();
    let refused = host.create("late");
    let held = host.leases().len();
    let left: Vec<_> = fs::read_dir(host.run_dir().join("leases")).unwrap().flatten().collect();
    fs::remove_file(run.join("ballast")).unwrap();
    let after = host.create("late");
    host.kill("first");
    host.kill("late");
    let unmounted = Command::new("umount").arg("-l").arg(&run).status().unwrap();
    assert!(unmounted.success());
    assert!(stderr(&refused).contains("state-unavailable"), "{}", stderr(&refused));
    assert_eq!(held, 1);
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
    ok(after);
    assert_ne!(fs::read(bundle.join("config.json")).unwrap(), before);
}

#[test]
fn a_lease_directory_that_others_can_write_is_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", WHOLE));
    fs::set_permissions(host.run_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = stderr(&host.start("next", WHOLE));
    assert!(refused.contains("state-unavailable") && refused.contains("forged"), "{refused}");
}

#[test]
fn an_expired_boot_frees_everything() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let path = fs::read_dir(host.run_dir().join("leases")).unwrap().next().unwrap().unwrap().path();
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["owner"]["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
    fs::write(&path, record.to_string()).unwrap();
    ok(host.start("next", ALL));
}
