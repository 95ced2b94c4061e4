//! Hooks by which NVIDIA's tools put GPUs into containers.

use crate::bundle;
use crate::support::{Host, needs_root, ok, stderr};
use serde_json::{Value, json};
use std::fs;

/// What containerd makes of `ctr run --gpus`, and nerdctl of its own.
fn with_command(spec: &mut Value, words: &[&str]) {
    let args = ["containerd", "oci-hook", "--", "/usr/bin/nvidia-container-cli", "--load-kmods"];
    let rest = ["--compute", "--utility", "--pid={{pid}}", "{{rootfs}}"];
    let args = [&args[..], words, &rest].concat();
    spec["hooks"] = json!({ "prestart": [{ "path": "/usr/bin/containerd", "args": args }] });
}

fn uuid(index: usize) -> String {
    let profile = gpulease::door::inventory::profiles::find("h100x8").unwrap();
    let node = gpulease::door::inventory::static_file::parse(profile.toml).unwrap();
    node.devices[index].uuid.to_string()
}

#[test]
fn what_containerds_hook_names_is_leased() {
    needs_root!();
    let host = Host::new("h100x8");
    let by_uuid = format!("--device={}", uuid(5));
    for (name, words, indices) in [
        ("one", "--device=0", &[0][..]),
        ("two", "--device=1,2", &[1, 2]),
        ("uuid", by_uuid.as_str(), &[5]),
    ] {
        bundle(&host, name, &[], |spec| with_command(spec, &["configure", words]));
        let before = host.spec(name);
        ok(host.create(name));
        let expected: Vec<String> = indices.iter().map(|index| uuid(*index)).collect();
        assert_eq!(host.devices(name), expected, "{words}");
        let after = host.spec(name);
        assert_eq!(after["hooks"]["prestart"], before["hooks"]["prestart"], "{words}");
        assert_eq!(after["linux"]["devices"], Value::Null, "{words}");
    }
    bundle(&host, "late", &[], |spec| with_command(spec, &["configure", "--device=all"]));
    let text = stderr(&host.create("late"));
    assert!(text.contains("no-capacity") && text.contains("container one"), "{text}");
    // It names none, so it gives none.
    bundle(&host, "none", &[], |spec| with_command(spec, &["configure"]));
    let before = host.spec("none");
    ok(host.create("none"));
    assert_eq!((host.lease("none"), host.spec("none")), (None, before));
}

#[test]
fn a_hook_that_cannot_be_read_is_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    for (words, said) in [
        (&["configure", "--device={{annotation \"x\"}}"][..], "it is unclear"),
        (&["configure", "-cud0"], "it is unclear"),
        (&["configure", "--device=GPU-nope"], "the inventory does not have"),
    ] {
        bundle(&host, "web", &[], |spec| with_command(spec, words));
        let text = stderr(&host.create("web"));
        assert!(text.starts_with("gpulease: policy-denied: ") && text.contains(said), "{text}");
    }
    let script = "nvidia-container-cli configure --device=0 $1";
    bundle(&host, "web", &[], |spec| {
        spec["hooks"] =
            json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    });
    assert!(stderr(&host.create("web")).contains("it is unclear"));
    assert!(host.leases().is_empty());
}

#[test]
fn a_hook_and_words_are_two_requests() {
    needs_root!();
    let host = Host::new("h100x8");
    let count = &[("gpulease/count", "1")];
    bundle(&host, "web", count, |spec| with_command(spec, &["configure", "--device=0"]));
    let text = stderr(&host.create("web"));
    assert!(text.contains("policy-denied") && text.contains("nvidia-container-cli"), "{text}");
    assert!(host.leases().is_empty());
}

#[test]
fn a_vendors_hook_needs_its_vendors_devices() {
    needs_root!();
    let host = Host::new("mi300x8");
    for words in ["--device=0", "-cud0"] {
        bundle(&host, "web", &[], |spec| with_command(spec, &["configure", words]));
        ok(host.create("web"));
        assert!(host.lease("web").is_none());
        host.kill("web");
        ok(host.delete("web"));
    }
}

#[test]
fn a_hook_counts_whatever_is_broken() {
    needs_root!();
    let host = Host::new("h100x8");
    bundle(&host, "web", &[], |spec| with_command(spec, &["configure", "--device=0"]));
    fs::write(host.config(), "no_such_key = 1\n").unwrap();
    let text = stderr(&host.create("web"));
    assert!(text.starts_with("gpulease: bad-config: "), "{text}");
}
