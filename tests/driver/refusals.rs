//! What is refused, and what is said then. The low-level runtime is a stub.

use crate::support::images::fetched;
use crate::support::{Host, STUB, needs_root, ok, stderr};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;

const DEVICES: &str = r#"
simulated = false
[[device]]
uuid = "GPU-00000000-0000-4000-8000-000000000003"
vendor = "nvidia"
model = "Null"
memory_mib = 1024
pci = "0000:01:00.0"
nodes = ["/dev/null"]
"#;

fn host(more: &str) -> Host {
    let host = Host::with_devices(DEVICES, Path::new(STUB));
    host.configure(Path::new(STUB), &format!("sources = [\"static\"]\n{more}"));
    host
}

fn with_driver(more: &str) -> Host {
    host(&format!("driver_root = {:?}\n{more}", fetched("nvidia.sh")))
}

/// Starts a container whose spec was edited so; its root file system is an empty directory.
fn start(host: &Host, name: &str, edit: impl FnOnce(&mut Value)) -> Output {
    let bundle = host.bundle(name, &[("gpulease/count", "1")]);
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let mut spec = host.spec(name);
    edit(&mut spec);
    fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    host.create(name)
}

#[track_caller]
fn refused(output: &Output, code: &str) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with(&format!("gpulease: {code}: ")), "{text}");
    text
}

fn driver_of(host: &Host, name: &str) -> String {
    let value = &host.spec(name)["annotations"]["gpulease.granted/driver"];
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn native_needs_files() {
    needs_root!();
    let empty = tempfile::tempdir().unwrap();
    let host = host(&format!("driver_root = {:?}\ndriver = \"native\"", empty.path()));
    let text = refused(&start(&host, "web", |_| ()), "stale-inventory");
    assert!(text.contains("`driver` is `native`"), "{text}");
    assert_eq!(host.leases().len(), 0);
}

#[test]
fn auto_goes_by_what_is_there_and_none_by_nothing() {
    needs_root!();
    let empty = tempfile::tempdir().unwrap();
    let plain = host(&format!("driver_root = {:?}", empty.path()));
    ok(start(&plain, "web", |_| ()));
    assert_eq!(driver_of(&plain, "web"), "none");
    let none = with_driver("driver = \"none\"");
    ok(start(&none, "web", |_| ()));
    assert_eq!(driver_of(&none, "web"), "none");
    let auto = with_driver("");
    ok(start(&auto, "web", |_| ()));
    assert_eq!(driver_of(&auto, "web"), "none: no C library in the image");
}

#[test]
fn simulated_devices_have_no_driver() {
    needs_root!();
    let host = Host::new("mixed4");
    let root = fetched("nvidia.sh");
    host.configure(Path::new(STUB), &format!("driver = \"native\"\ndriver_root = {root:?}"));
    ok(start(&host, "web", |_| ()));
    assert_eq!(driver_of(&host, "web"), "none");
    assert_eq!(host.spec("web")["mounts"], Value::Null);
}

#[test]
fn a_change_of_the_setting_is_noticed() {
    needs_root!();
    let host = with_driver("driver = \"none\"");
    ok(start(&host, "web", |_| ()));
    host.kill("web");
    let root = fetched("nvidia.sh");
    host.configure(
        Path::new(STUB),
        &format!("sources = [\"static\"]\ndriver_root = {root:?}\ndriver = \"native\""),
    );
    ok(start(&host, "again", |_| ()));
    assert_eq!(driver_of(&host, "again"), "none: no C library in the image");
}

#[test]
fn an_image_that_requires_more_is_told_what_there_is() {
    needs_root!();
    // The version of a kernel module is not known here, so nothing but the words is at hand.
    let host = with_driver("");
    let with = |name: &str, env: Value| start(&host, name, |spec| spec["process"]["env"] = env);
    // Unknown values hold.
    ok(with("web", json!(["NVIDIA_REQUIRE_CUDA=cuda>=99.0", "NVIDIA_REQUIRE_X=%%%=<>"])));
}

#[test]
fn a_rootfs_that_is_not_there_is_named() {
    needs_root!();
    let host = with_driver("");
    let output = start(&host, "web", |spec| spec["root"]["path"] = json!("elsewhere"));
    let text = refused(&output, "bad-bundle");
    assert!(text.contains("elsewhere"), "{text}");
    let output = start(&host, "web", |spec| spec["root"] = Value::Null);
    refused(&output, "bad-bundle");
    assert_eq!(host.leases().len(), 0);
}
