//! `uninstall --recorded`, by which a package undoes every `install` of its programs.

use super::files::is_golden;
use super::{Node, fixture, has_runtime};
use crate::support::{CLI, ok, stderr};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn recorded(node: &Node, more: &[&str]) -> Output {
    let mut command = Command::new(CLI);
    command.args(["uninstall", "--recorded", "--state-dir"]).arg(node.state());
    command.args(more).output().unwrap()
}

/// Three engines' files with one place for their records.
fn three() -> (Node, Vec<(std::path::PathBuf, String)>) {
    let node = Node::new("docker");
    let mut files = Vec::new();
    for (engine, name) in [
        ("docker", "03-nvidia-toolkit.json"),
        ("podman", "04-runtimes.conf"),
        ("containerd", "07-v3.toml"),
    ] {
        let path = node.dir.path().join(format!("{engine}.conf"));
        let text = fs::read_to_string(fixture(engine, name)).unwrap();
        fs::write(&path, &text).unwrap();
        let mut command = Command::new(CLI);
        command.args(["install", engine, "--config"]).arg(&path);
        ok(command.arg("--state-dir").arg(node.state()).output().unwrap());
        assert!(has_runtime(engine, &fs::read_to_string(&path).unwrap()), "{engine}");
        files.push((path, text));
    }
    assert_eq!(node.records(), 3);
    (node, files)
}

#[test]
fn all_that_was_installed_is_undone_to_the_byte() {
    let (node, files) = three();
    let said = ok(recorded(&node, &["--dry-run"])).stdout;
    assert_eq!(String::from_utf8(said).unwrap().matches("--- ").count(), 3);
    assert_eq!(node.records(), 3);
    let told: Value = serde_json::from_slice(&ok(recorded(&node, &["--json"])).stdout).unwrap();
    let changed =
        told["files"].as_array().unwrap().iter().filter(|report| report["changed"] == true);
    assert_eq!(changed.count(), 3);
    is_golden("uninstall-recorded", &node, told);
    for (path, text) in files {
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    assert_eq!(node.records(), 0);
    let said = String::from_utf8(ok(recorded(&node, &[])).stdout).unwrap();
    assert!(said.ends_with("has no record; nothing to do\n"), "{said}");
}

#[test]
fn dockerd_is_told_its_own_default() {
    // A reload takes from dockerd only what the file names anew.
    let text = "{\n  \"log-driver\": \"json-file\"\n}\n";
    let node = Node::with_text("docker", text.as_bytes());
    node.says("install", &["--default-runtime"]);
    ok(recorded(&node, &[]));
    let json: Value = serde_json::from_str(&node.text()).unwrap();
    assert_eq!(json, serde_json::json!({"log-driver": "json-file", "default-runtime": "runc"}));
    // Where the whole file was made, it goes.
    let node = Node::new("docker");
    node.says("install", &["--default-runtime"]);
    ok(recorded(&node, &[]));
    assert!(!node.config().exists());
    // Who uninstalls by hand is told to restart it, and has the file as it was.
    let node = Node::with_text("docker", text.as_bytes());
    node.says("install", &["--default-runtime"]);
    assert!(node.says("uninstall", &[]).contains("until it is restarted"));
    assert_eq!(node.text(), text);
}

#[test]
fn a_reload_that_failed_is_tried_again() {
    let node = Node::with_text("docker", b"{}\n");
    node.says("install", &[]);
    let bin = node.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let log = node.dir.path().join("log");
    let systemctl = |status: u8| {
        let text = format!("#!/bin/sh\necho \"$@\" >>{}\nexit {status}\n", log.display());
        let write = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("/bin/sh");
        ok(shell.args(["-c", write, "sh", &text]).arg(bin.join("systemctl")).output().unwrap());
    };
    let run = || {
        let mut command = Command::new(CLI);
        command.args(["uninstall", "--recorded", "--reload", "--state-dir"]).arg(node.state());
        command.env("PATH", &bin).output().unwrap()
    };
    systemctl(1);
    assert_eq!(run().status.code(), Some(5));
    assert_eq!((node.text().trim(), node.records()), ("{}", 1), "known to be unread");
    systemctl(0);
    ok(run());
    assert_eq!(node.records(), 0);
    assert_eq!(fs::read_to_string(log).unwrap().matches("reload docker").count(), 2);
}

#[test]
fn podmans_hook_goes_too() {
    let node = Node::new("podman");
    let drop_in = node.dir.path().join("containers.conf.d/90-gpulease-precreate.conf");
    let mut command = Command::new(CLI);
    command.args(["install", "podman", "--precreate", "--config"]).arg(&drop_in);
    ok(command.arg("--state-dir").arg(node.state()).output().unwrap());
    let hooks = node.dir.path().join("gpulease-hooks.d");
    assert!(drop_in.is_file() && fs::read_dir(&hooks).unwrap().count() == 1);
    assert_eq!(node.records(), 2);
    let said = String::from_utf8(ok(recorded(&node, &[])).stdout).unwrap();
    assert!(said.find("containers.conf.d").unwrap() < said.find("gpulease-hooks.d").unwrap());
    assert!(!drop_in.exists() && !hooks.exists());
    assert_eq!(node.records(), 0);
}

#[test]
fn one_failure_does_not_stop_the_others() {
    let (node, files) = three();
    fs::write(&files[0].0, "{ // broken since").unwrap();
    let output = recorded(&node, &[]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("docker.conf") && said.contains("of 3 installs 2 are undone"), "{said}");
    assert_eq!(node.records(), 1);
    for (path, text) in &files[1..] {
        assert_eq!(&fs::read_to_string(path).unwrap(), text);
    }
    // A temporary file that a crash left is no record.
    fs::write(node.state().join(".docker.tmp"), "{").unwrap();
    fs::write(&files[0].0, &files[0].1).unwrap();
    ok(recorded(&node, &[]));
    assert_eq!(fs::read_to_string(&files[0].0).unwrap(), files[0].1);
}

#[test]
fn a_record_that_lies_is_not_followed() {
    let (node, files) = three();
    let victim = node.dir.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let entries = fs::read_dir(node.state()).unwrap().map(|entry| entry.unwrap().path());
    let docker = entries.into_iter().find(|path| path.to_string_lossy().contains("docker:"));
    let docker = docker.unwrap();
    let text = fs::read_to_string(&docker).unwrap();
    let (from, to) = (files[0].0.to_str().unwrap(), victim.to_str().unwrap());
    fs::write(&docker, text.replace(from, to)).unwrap();
    let output = recorded(&node, &[]);
    assert!(stderr(&output).contains("it is not that of the file"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    fs::write(&docker, text.replace("\"docker\"", "\"rkt\"")).unwrap();
    let output = recorded(&node, &[]);
    assert!(stderr(&output).contains("`rkt` is not known"), "{}", stderr(&output));
}

#[test]
fn it_is_all_or_one_engine() {
    let node = Node::new("docker");
    for more in [&["docker"][..], &["--config", "/x"]] {
        assert_eq!(recorded(&node, more).status.code(), Some(2), "{more:?}");
    }
    let output = Command::new(CLI).arg("uninstall").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ENGINE"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--recorded"), "{}", stderr(&output));
}
