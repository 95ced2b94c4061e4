//! `update --resources`: what it opens in a container that runs already.

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
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use support::{Host, needs_root, stderr};

/// A program that is called as crun is, and writes the resources that it is given.
fn host_with(name: &str) -> Host {
    let host = Host::new("h100x8");
    let program = host.path(name);
    fs::write(&program, "#!/bin/sh\n[ \"$3 $4\" = 'update -r' ] && exec cat \"$5\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    host.configure(&program, "");
    host
}

fn update(host: &Host, resources: &str, by_pipe: bool) -> Output {
    let file = host.path("resources.json");
    fs::write(&file, resources).unwrap();
    let mut shim = host.shim();
    shim.args(["update", "-r"]);
    if by_pipe {
        shim.arg("-").stdin(Stdio::from(fs::File::open(&file).unwrap()));
    } else {
        shim.arg(&file);
    }
    shim.arg("web").output().unwrap()
}

fn rule(numbers: &str) -> String {
    format!("{{\"allow\":true,\"type\":\"c\",{numbers}\"access\":\"rw\"}}")
}

#[test]
fn no_gpu_is_opened_by_an_update() {
    needs_root!();
    let host = host_with("crun");
    let gpu = rule("\"major\":1219,\"minor\":0,");
    for text in [
        format!("{{\"devices\":[{gpu}]}}"),
        format!("{{\"devices\":[{gpu}]}} // a comment"),
        format!("{{\"devices\":[],\"devices\":[{gpu}]}}"),
        format!("{{\"devices\":[{}]}}", rule("\"major\":1219,")),
        format!("{{\"devices\":[{}]}}", rule("")),
        "{".to_owned(),
    ] {
        for by_pipe in [false, true] {
            let output = update(&host, &text, by_pipe);
            assert!(!output.status.success() && output.stdout.is_empty(), "{text}: {output:?}");
            assert!(stderr(&output).contains("gpulease: "), "{text}: {}", stderr(&output));
        }
    }
    let unclear = host.shim().args(["update", "--re", "/r.json", "-y", "web"]).output().unwrap();
    assert!(stderr(&unclear).contains("cannot tell which resources"), "{}", stderr(&unclear));
}

#[test]
fn what_opens_no_gpu_is_handed_on() {
    needs_root!();
    let other = format!("{{\"devices\":[{}]}}", rule("\"major\":189,"));
    for text in ["{\"pids\":{\"limit\":7}}", &other] {
        for by_pipe in [false, true] {
            let output = update(&host_with("crun"), text, by_pipe);
            assert!(output.status.success(), "{text}: {output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
    // runc does nothing with the rules of an update.
    let gpu = format!("{{\"devices\":[{}]}}", rule("\"major\":1219,"));
    let output = update(&host_with("runc"), &gpu, false);
    assert_eq!(String::from_utf8_lossy(&output.stdout), gpu);
}
