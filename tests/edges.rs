//! What a spec or a call can say beside a request, and what must not come of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

#[path = "edges/adopted.rs"]
mod adopted;
#[path = "edges/vendor_hooks.rs"]
mod vendor_hooks;

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{HOOK, Host, STUB, needs_root, ok, stderr};

fn bundle(host: &Host, name: &str, annotations: &[(&str, &str)], edit: impl FnOnce(&mut Value)) {
    let dir = host.bundle(name, annotations);
    let mut spec = host.spec(name);
    edit(&mut spec);
    fs::write(dir.join("config.json"), spec.to_string()).unwrap();
}

fn with_vendor_hook(spec: &mut Value, env: &[&str]) {
    spec["hooks"] = json!({ "prestart": [{ "path": "/usr/bin/nvidia-container-runtime-hook" }] });
    spec["process"]["env"] = json!(env);
}

fn gpu(index: u32) -> Value {
    json!({ "path": format!("/dev/nvidia{index}"), "type": "c", "major": 1219, "minor": index })
}

#[test]
fn nodes_and_the_vendors_hook_are_one_request() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("holder", &[("gpulease/devices", "1")]));
    let both = |spec: &mut Value| {
        with_vendor_hook(spec, &["NVIDIA_VISIBLE_DEVICES=1"]);
        spec["linux"]["devices"] = json!([gpu(0)]);
    };
    bundle(&host, "web", &[], both);
    let refused = stderr(&host.create("web"));
    assert!(refused.contains("no-capacity") && refused.contains("holder"), "{refused}");
    host.kill("holder");
    ok(host.create("web"));
    assert_eq!(host.devices("web").len(), 2);
}

#[test]
fn an_old_image_behind_the_vendors_hook_asks_for_all() {
    needs_root!();
    let host = Host::new("h100x8");
    bundle(&host, "old", &[], |spec| with_vendor_hook(spec, &["CUDA_VERSION=8.0"]));
    ok(host.create("old"));
    assert_eq!(host.devices("old").len(), 8);
    bundle(&host, "new", &[], |spec| {
        with_vendor_hook(spec, &["CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12"]);
    });
    ok(host.create("new"));
    assert!(host.lease("new").is_none());
}

#[test]
fn privilege_hides_no_request() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("holder", &[("gpulease/count", "all")]));
    let everything = json!([{ "allow": true, "access": "rwm" }]);
    bundle(&host, "gpus", &[], |spec| {
        with_vendor_hook(spec, &["NVIDIA_VISIBLE_DEVICES=all"]);
        spec["linux"]["resources"]["devices"] = everything.clone();
    });
    assert!(stderr(&host.create("gpus")).contains("no-capacity"));
    // A rule for everything beside a device that was asked for is not a host's list of nodes.
    bundle(&host, "rule", &[], |spec| {
        spec["linux"]["devices"] = json!([gpu(0)]);
        spec["linux"]["resources"]["devices"] = everything.clone();
    });
    assert!(stderr(&host.create("rule")).contains("no-capacity"));
}

#[test]
fn a_rule_that_opens_other_gpus_is_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    let half = &[("gpulease/compute", "0.5")];
    for (rule, words) in [
        (json!({ "allow": true, "type": "c", "access": "rwm" }), "privileged"),
        (json!({ "allow": true, "type": "c", "major": 1219, "access": "rw" }), "major 1219"),
        // Of these runc and crun regard neither numbers nor access.
        (
            json!({ "allow": true, "type": "a", "major": 1, "minor": 3, "access": "m" }),
            "privileged",
        ),
        (json!({ "allow": true, "major": 1, "minor": 3, "access": "r" }), "privileged"),
        // Docker's `c *:1 rw`.
        (
            json!({ "allow": true, "type": "c", "major": -1, "minor": 1, "access": "rw" }),
            "privileged",
        ),
        (json!({ "allow": true, "type": "c", "minor": 1, "access": "r" }), "privileged"),
    ] {
        bundle(&host, "web", half, |spec| spec["linux"]["resources"]["devices"] = json!([rule]));
        let text = stderr(&host.create("web"));
        assert!(text.contains("policy-denied") && text.contains(words), "{text}");
    }
    let harmless = json!([{ "allow": true, "type": "c", "access": "m" },
        { "allow": true, "type": "c", "major": 136, "access": "rwm" }]);
    bundle(&host, "web", half, |spec| spec["linux"]["resources"]["devices"] = harmless);
    ok(host.create("web"));
    assert!(host.records().len() == 1);
}

#[test]
fn a_rule_for_another_gpu_is_left_out() {
    needs_root!();
    let host = Host::new("h100x8");
    let rule = |minor: u32| json!({ "allow": true, "type": "c", "major": 1219, "minor": minor, "access": "rwm" });
    bundle(&host, "web", &[("gpulease/devices", "0"), ("gpulease/compute", "0.5")], |spec| {
        spec["linux"]["resources"]["devices"] = json!([rule(0), rule(1)]);
    });
    ok(host.create("web"));
    let rules = host.spec("web")["linux"]["resources"]["devices"].clone();
    let opens = |minor: u32| {
        let rules = rules.as_array().unwrap().iter();
        rules.filter(|rule| rule["major"] == 1219 && rule["minor"] == minor).count()
    };
    assert!(opens(0) > 0 && opens(1) == 0, "{rules}");
}

#[test]
fn what_only_looks_like_an_injected_gpu_is_none() {
    needs_root!();
    let host = Host::new("h100x8");
    bundle(&host, "disk", &[], |spec| {
        spec["linux"]["devices"] =
            json!([{ "path": "/dev/sdx", "type": "b", "major": 1219, "minor": 3 }]);
    });
    ok(host.create("disk"));
    assert!(host.lease("disk").is_none());
    // The hooks that CDI brings read no variables: the device in the spec is the request.
    bundle(&host, "cdi", &[], |spec| {
        spec["process"]["env"] = json!(["NVIDIA_VISIBLE_DEVICES=all"]);
        spec["hooks"] = json!({ "createContainer": [{ "path": "/usr/bin/nvidia-cdi-hook" }] });
        spec["linux"]["devices"] = json!([gpu(0)]);
    });
    ok(host.create("cdi"));
    assert_eq!(host.devices("cdi").len(), 1);
}

#[test]
fn what_others_can_write_is_not_believed() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", &[("gpulease/count", "1")]));
    let marker = host.path("marker");
    let trap = host.path("trap");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(host.run_dir().join("runtime"), format!("{}\n", trap.display())).unwrap();
    host.configure(Path::new("/nonexistent/runc"), "");
    let state = || host.shim().args(["state", "web"]).output().unwrap();
    fs::set_permissions(host.run_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    state();
    assert!(!marker.exists(), "a program was run that anybody could have named");
    fs::set_permissions(host.run_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    state();
    assert!(marker.exists(), "the trap does not work");
}

#[test]
fn statuses_reach_an_engine_that_ignores_sigchld() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", &[("gpulease/count", "1")]));
    let ignoring = |mut command: Command, env: &str| {
        command.env("STUB_FAIL", env);
        // SAFETY: sets a disposition, which is async-signal-safe.
        #[allow(unsafe_code, reason = "the engine of this test")]
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            });
        }
        command.output().unwrap()
    };
    let delete = || {
        let mut command = host.shim();
        command.args(["delete", "--force", "web"]);
        command
    };
    let failed = ignoring(delete(), "delete");
    assert_eq!(failed.status.code(), Some(3), "{}", stderr(&failed));
    ok(ignoring(delete(), ""));
    assert!(host.leases().is_empty());
    // And one whose start renews the inventory. (The stub cannot wait for its hooks then.)
    fs::remove_file(host.run_dir().join("inventory.json")).unwrap();
    host.bundle("web", &[("gpulease/count", "1")]);
    let mut create = host.create_command("web");
    create.env("STUB_NO_HOOKS", "1");
    ok(ignoring(create, ""));
}

#[test]
fn who_asks_for_help_gets_no_gpu() {
    needs_root!();
    let host = Host::new("h100x8");
    let dir = host.bundle("web", &[("gpulease/count", "1")]);
    let before = fs::read(dir.join("config.json")).unwrap();
    for args in [&["create", "--help", "web"][..], &["run", "-h"]] {
        // The stub knows no help: it fails on what it takes for a create.
        host.shim().current_dir(&dir).env("STUB_FAIL", args[0]).args(args).output().unwrap();
        assert!(host.records().is_empty(), "{args:?}");
        assert_eq!(fs::read(dir.join("config.json")).unwrap(), before, "{args:?}");
    }
}

#[test]
fn leftovers_of_a_lost_start_are_always_withheld() {
    needs_root!();
    let host = Host::new("h100x8");
    host.configure(Path::new(STUB), "[policy]\ninjected = \"ignore\"");
    bundle(&host, "web", &[("gpulease/devices", "3")], |_| {});
    ok(host.create("web"));
    host.kill("web");
    fs::remove_dir_all(host.run_dir()).unwrap();
    ok(host.start("thief", &[("gpulease/devices", "3")]));
    let mut spec = host.spec("web");
    spec["annotations"]["gpulease/devices"] = json!("4");
    fs::write(host.path("bundles/web/config.json"), spec.to_string()).unwrap();
    ok(host.create("web"));
    let text = host.spec("web")["linux"]["devices"].to_string();
    assert!(text.contains("/dev/nvidia4\"") && !text.contains("/dev/nvidia3\""), "{text}");
}

#[test]
fn a_runtime_that_is_gone_strands_no_container() {
    needs_root!();
    let host = Host::new("h100x8");
    host.configure(Path::new("/usr/bin/runc-typo"), "");
    fs::create_dir_all(host.root().join("web")).unwrap();
    fs::write(host.root().join("web/state.json"), "{}").unwrap();
    // The container is runc's: runc is asked, and says what it thinks of such a state.
    let state = host.shim().args(["state", "web"]).output().unwrap();
    assert!(!stderr(&state).contains("no-runtime"), "{}", stderr(&state));
    // A new one is not started under another runtime than the one that was meant…
    let refused = host.start("new", &[]);
    assert!(stderr(&refused).contains("no-runtime"), "{}", stderr(&refused));
    // …unless that is the one that worked last.
    host.configure(Path::new(STUB), "");
    ok(host.start("first", &[("gpulease/count", "1")]));
    host.configure(Path::new("/usr/bin/runc-typo"), "");
    ok(host.start("plain", &[]));
    let refused = host.start("gpu", &[("gpulease/count", "1")]);
    assert!(stderr(&refused).contains("runc-typo"), "{}", stderr(&refused));
}

#[test]
fn a_runtime_that_cannot_be_executed_leaves_nothing() {
    needs_root!();
    let host = Host::new("h100x8");
    let broken = host.path("broken");
    fs::write(&broken, "no program at all").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    host.configure(&broken, "");
    let dir = host.bundle("web", &[("gpulease/count", "1")]);
    let before = fs::read(dir.join("config.json")).unwrap();
    let output = host.create("web");
    assert!(stderr(&output).contains("no-runtime"), "{}", stderr(&output));
    assert!(host.records().is_empty(), "{:?}", host.records());
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), before);
    assert_eq!(fs::read_dir(host.run_dir().join("bundles")).unwrap().count(), 0);
    // One that is no program by its mode is seen before anything is leased.
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(stderr(&host.create("web")).contains("no-runtime"));
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), before);
}

#[test]
fn a_directory_that_is_gone_is_no_hindrance() {
    needs_root!();
    let host = Host::new("h100x8");
    host.bundle("web", &[]);
    let gone = host.path("gone");
    fs::create_dir(&gone).unwrap();
    let script = format!("cd {0} && rmdir {0} && exec \"$@\"", gone.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", support::SHIM, "--gpulease-config"]).arg(host.config());
    command.arg("--root").arg(host.root()).args(["create", "--bundle"]);
    command.arg(host.path("bundles/web")).arg("--pid-file").arg(host.path("bundles/web/pid"));
    ok(command.arg("web").output().unwrap());
}

#[test]
fn a_poststop_hook_never_fails() {
    needs_root!();
    for args in [&["poststop"][..], &["poststop", "--new-option", "x"], &["poststop", "--key", "/"]]
    {
        let status =
            Command::new(HOOK).args(args).stdin(Stdio::null()).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(0), "{args:?}");
    }
    let mut bind = Command::new(HOOK);
    bind.arg("create-runtime").stdin(Stdio::null()).stderr(Stdio::null());
    assert_eq!(bind.status().unwrap().code(), Some(1));
}

#[test]
fn driver_and_runtime_must_fit() {
    needs_root!();
    let host = Host::new("mixed4");
    let vendors = host.path("nvidia-container-runtime");
    fs::copy(STUB, &vendors).unwrap();
    let asked = [("gpulease/count", "1")];
    let refused = |runtime: &Path, more: &str, parts: &[&str]| {
        host.configure(runtime, more);
        let text = stderr(&host.start("web", &asked));
        assert!(text.contains("gpulease: bad-config: "), "{text}");
        for part in parts {
            assert!(text.contains(part), "no {part} in: {text}");
        }
        assert!(host.records().is_empty(), "{more}: {text}");
    };
    for driver in ["none", "cdi"] {
        let key = format!("driver = \"{driver}\"");
        refused(&vendors, &key, &["`driver`", driver, "runtime = \"", "NVIDIA"]);
    }
    refused(Path::new(STUB), "driver = \"chain\"", &["`driver = \"chain\"`", "`runtime`", STUB]);
    // The devices of this host do not exist, and the vendor's runtime would find none of them.
    for more in ["", "driver = \"chain\""] {
        refused(&vendors, more, &["simulated", "`runtime`"]);
    }
}

#[test]
fn the_hook_must_have_the_name_by_which_it_is_known() {
    needs_root!();
    let host = Host::new("h100x8");
    let text = fs::read_to_string(host.config()).unwrap().replace(HOOK, "/usr/bin/hook-v2");
    fs::write(host.config(), text).unwrap();
    let text = stderr(&host.start("web", &[("gpulease/count", "1")]));
    assert!(text.contains("bad-config") && text.contains("gpulease-hook"), "{text}");
}

#[test]
fn what_a_vendors_runtime_alone_can_read_is_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    let runtime = host.path("nvidia-container-runtime");
    fs::copy("/bin/true", &runtime).unwrap();
    host.configure(&runtime, "");
    let dir = host.bundle("web", &[]);
    let plain = fs::read_to_string(dir.join("config.json")).unwrap();
    ok(host.create("web"));
    assert!(host.spec("web").to_string().contains("NVIDIA_VISIBLE_DEVICES=void"));
    // Go reads these; where nothing is to be edited they are passed over.
    for odd in [r#""\ud800""#.to_owned(), format!("{}{}", "[".repeat(200), "]".repeat(200))] {
        let text = plain.replacen('{', &format!("{{\"odd\":{odd},"), 1);
        fs::write(dir.join("config.json"), &text).unwrap();
        let refusal = stderr(&host.create("web"));
        assert!(refusal.contains("bad-bundle"), "{odd}: {refusal}");
        assert_eq!(fs::read_to_string(dir.join("config.json")).unwrap(), text);
    }
    host.configure(Path::new("/bin/true"), "");
    ok(host.create("web"));
}

#[test]
fn a_sandbox_in_one_reading_alone_is_none() {
    needs_root!();
    let host = Host::new("h100x8");
    let dir = host.bundle("web", &[("gpulease/count", "1")]);
    let path = dir.join("config.json");
    let sandbox = r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"},"#;
    let text = fs::read_to_string(&path).unwrap().replacen('{', sandbox, 1);
    fs::write(&path, text).unwrap();
    let refusal = stderr(&host.create("web"));
    assert!(refusal.contains("bad-bundle") && refusal.contains("twice"), "{refusal}");
}
