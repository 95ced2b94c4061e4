//! Which files are written, when, and by whose leave.

use super::{ENGINES, Node, fixture, has_runtime};
use crate::support::{CLI, golden, ok, stderr};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn a_dry_run_shows_the_diff_and_changes_nothing() {
    let file = fixture("docker", "03-nvidia-toolkit.json");
    let node = Node::with("docker", &file);
    let said = node.says("install", &["--dry-run"]);
    let config = node.config();
    assert!(said.starts_with(&format!("--- {0}\n+++ {0}\n@@ ", config.display())), "{said}");
    assert!(said.lines().any(|line| line.starts_with('+') && line.contains("\"gpulease\": {")));
    assert!(said.ends_with("\nnothing was changed: it was a dry run\n"), "{said}");
    assert_eq!(node.text(), fs::read_to_string(&file).unwrap());
    assert_eq!(fs::read_dir(node.dir.path()).unwrap().count(), 1);
    let said = node.says("install", &[]);
    assert!(said.contains("\nbackup: /") && !said.contains("dry run"), "{said}");
    let text = node.text();
    let said = node.says("uninstall", &["--dry-run"]);
    assert!(said.lines().any(|line| line.starts_with('-') && line.contains("\"gpulease\": {")));
    assert_eq!((node.text(), node.records()), (text, 1));
    let output = node.run("install", &["--dry-run", "--reload"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn where_there_was_no_file_there_is_no_backup() {
    let node = Node::new("docker");
    let said = node.says("install", &[]);
    assert!(said.contains("\nrecord: /") && !said.contains("backup"), "{said}");
}

/// It is not looked for below a temporary directory, so this is about the host of the tests.
#[test]
fn an_engine_that_is_not_installed_is_told() {
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
    };
    for (engine, program) in [("docker", "dockerd"), ("podman", "podman"), ("crio", "crio")] {
        let installed = on_path(program) || Path::new("/usr/bin").join(program).exists();
        let said = Node::new(engine).says("install", &["--dry-run"]);
        let note = format!("note: {program} is not installed here: ");
        assert_eq!(said.contains(&note), !installed, "{said}");
    }
}

/// Holds an answer against its golden file. Notes are left out: they depend on the engines and the
/// directories of this host.
pub fn is_golden(name: &str, node: &Node, mut answer: Value) {
    let without_notes = |edit: &mut Value| {
        edit["notes"].as_array_mut().unwrap().clear();
    };
    match answer.get_mut("files") {
        Some(files) => files.as_array_mut().unwrap().iter_mut().for_each(without_notes),
        None => without_notes(&mut answer),
    }
    golden::check(name, answer, node.dir.path());
}

#[test]
fn json_tells_all_of_it() {
    let node = Node::with("containerd", &fixture("containerd", "09-imports-crlf.toml"));
    let json =
        |verb: &str| -> Value { serde_json::from_str(&node.says(verb, &["--json"])).unwrap() };
    let told = json("install");
    assert_eq!(told["runtime"], crate::support::SHIM);
    let notes = told["notes"].to_string();
    assert!(!notes.contains("imports"), "{notes}");
    assert!(fs::exists(told["backup"].as_str().unwrap()).unwrap());
    is_golden("install", &node, told);
    assert_eq!(json("install")["changed"], false);
    is_golden("uninstall", &node, json("uninstall"));
    assert_eq!(json("uninstall")["changed"], false);
}

#[test]
fn owner_mode_and_symbolic_link_stay() {
    let node = Node::new("docker");
    let real = node.dir.path().join("managed");
    fs::create_dir(&real).unwrap();
    let real = real.join("daemon.json");
    fs::write(&real, "{}\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, node.config()).unwrap();
    node.says("install", &[]);
    assert!(node.config().is_symlink());
    assert!(has_runtime("docker", &fs::read_to_string(&real).unwrap()));
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_dir(real.parent().unwrap()).unwrap().count(), 1);
    node.says("uninstall", &[]);
    assert_eq!(fs::read_to_string(&real).unwrap(), "{}\n");
    assert!(node.config().is_symlink());

    // A link to nothing is not made into something, nor one out of everybody's directory.
    fs::remove_file(&real).unwrap();
    assert!(!node.run("install", &[]).status.success());
    assert!(!real.exists());
    fs::write(&real, "{}\n").unwrap();
    fs::set_permissions(real.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = node.run("install", &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("is not safe to use"), "{}", stderr(&output));
}

#[test]
fn directories_are_made_and_taken_away_again() {
    for engine in ENGINES {
        let node = Node::new(engine);
        let config = node.dir.path().join("etc/engine/conf.d/60-gpulease.conf");
        let run = |verb: &str| {
            let mut command = Command::new(CLI);
            command.args([verb, engine, "--config"]).arg(&config);
            ok(command.arg("--state-dir").arg(node.state()).output().unwrap());
        };
        run("install");
        assert!(config.is_file());
        run("uninstall");
        assert!(!node.dir.path().join("etc").exists());
    }
}

#[test]
fn the_engine_is_reloaded_only_on_demand() {
    let node = Node::with("docker", &fixture("docker", "02-empty-object.json"));
    let bin = node.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let (systemctl, log) = (bin.join("systemctl"), node.dir.path().join("log"));
    let script = |last: &str| {
        let text = format!("#!/bin/sh\necho \"$@\" >>{}\necho no bus >&2\n{last}\n", log.display());
        // Another process writes it: a file that this one has open for writing cannot be executed,
        // and a fork of another test may have it open for a moment longer.
        let write = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
        let mut shell = Command::new("sh");
        ok(shell.args(["-c", write, "sh", &text]).arg(&systemctl).output().unwrap());
    };
    let run = |verb: &str, more: &[&str]| {
        node.command(verb).args(more).env("PATH", &bin).output().unwrap()
    };
    script("exit 0");
    let said = ok(run("install", &[])).stdout;
    assert!(String::from_utf8(said).unwrap().ends_with("next: systemctl reload docker\n"));
    assert!(!log.exists());
    // Nothing is to be written, but the engine may not have read the file yet.
    ok(run("install", &["--reload"]));
    assert_eq!(fs::read_to_string(&log).unwrap(), "reload docker\n");
    ok(run("uninstall", &["--reload"]));
    assert_eq!(fs::read_to_string(&log).unwrap(), "reload docker\nreload docker\n");
    script("exit 1");
    let output = run("install", &["--reload"]);
    assert_eq!(output.status.code(), Some(5));
    let said = stderr(&output);
    assert!(said.contains("the file is written, but `systemctl reload docker` failed"), "{said}");
    assert!(said.contains("no bus") && has_runtime("docker", &node.text()), "{said}");
    // An engine that does not run reads the file when it starts.
    for state in ["inactive", "failed"] {
        script(&format!("[ $1 = show ] && echo {state} && exit 0; exit 1"));
        for verb in ["uninstall", "install"] {
            let said = ok(run(verb, &["--reload"])).stdout;
            assert!(String::from_utf8(said).unwrap().contains("next: nothing"), "{state}");
        }
    }
}

#[test]
fn paths_may_be_relative() {
    let node = Node::with("docker", &fixture("docker", "02-empty-object.json"));
    for verb in ["install", "uninstall"] {
        let mut command = Command::new(CLI);
        command.args([verb, "docker", "--config", "engine.conf", "--state-dir", "state"]);
        ok(command.current_dir(node.dir.path()).output().unwrap());
        assert_eq!(has_runtime("docker", &node.text()), verb == "install");
    }
    for words in [["install", "docker"], ["uninstall", "--recorded"]] {
        let mut command = Command::new(CLI);
        command.args(words).args(["--state-dir", "state"]).current_dir(node.dir.path());
        if words[0] == "install" {
            command.args(["--config", "engine.conf"]);
        }
        ok(command.output().unwrap());
        assert_eq!(has_runtime("docker", &node.text()), words[0] == "install");
    }
}

#[test]
fn the_backup_is_for_its_owner_alone() {
    let node = Node::with("docker", &fixture("docker", "10-large.json"));
    node.says("install", &[]);
    assert_eq!(fs::metadata(node.state()).unwrap().mode() & 0o777, 0o700);
    let record = fs::read_dir(node.state()).unwrap().next().unwrap().unwrap();
    assert_eq!(record.metadata().unwrap().mode() & 0o777, 0o600);
    let json: Value = serde_json::from_slice(&fs::read(record.path()).unwrap()).unwrap();
    let before = fs::read_to_string(fixture("docker", "10-large.json")).unwrap();
    assert_eq!((&json["before"], &json["after"]), (&before.into(), &node.text().into()));
}

/// Killed between any two steps, a file is as it was or as it should be, and can be undone.
#[test]
fn a_crash_loses_nothing() {
    for engine in ENGINES {
        let file = super::fixtures(engine).into_iter().nth(4).unwrap();
        let before = fs::read_to_string(&file).unwrap();
        for point in ["install-recorded", "install-written"] {
            let node = Node::with(engine, &file);
            let failpoint = format!("{point}=kill");
            let mut command = node.command("install");
            let killed = command.env("GPULEASE_FAILPOINT", failpoint).output().unwrap();
            assert!(killed.status.code().is_none(), "{engine} {point}");
            assert_eq!(node.records(), 1, "the backup comes first");
            assert_eq!(has_runtime(engine, &node.text()), point == "install-written");
            assert!(node.text() == before || point == "install-written");
            for _ in 0..2 {
                node.says("uninstall", &[]);
                assert_eq!((node.text(), node.records()), (before.clone(), 0));
            }
            let killed =
                node.command("install").env("GPULEASE_FAILPOINT", "install-recorded=kill").output();
            assert!(killed.unwrap().status.code().is_none());
            node.says("install", &[]);
            let mut command = node.command("uninstall");
            command.env("GPULEASE_FAILPOINT", "uninstall-written=kill");
            assert!(command.output().unwrap().status.code().is_none());
            assert_eq!((node.text(), node.records()), (before.clone(), 1));
            node.says("install", &[]);
            node.says("uninstall", &[]);
            assert_eq!((node.text(), node.records()), (before.clone(), 0));
        }
    }
}

#[test]
fn a_damaged_record_is_said_and_can_be_put_away() {
    let node = Node::with("podman", &fixture("podman", "04-runtimes.conf"));
    node.says("install", &["--default-runtime"]);
    let record = fs::read_dir(node.state()).unwrap().next().unwrap().unwrap().path();
    fs::write(&record, "{").unwrap();
    let output = node.run("uninstall", &[]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    fs::remove_file(&record).unwrap();
    node.says("uninstall", &[]);
    let text = node.text();
    assert!(!text.contains("gpulease") && text.contains("#kata = "), "{text}");
}

#[test]
fn another_file_that_still_names_it_is_pointed_out() {
    let node = Node::new("crio");
    let dir = node.dir.path().join("crio.conf.d");
    fs::create_dir(&dir).unwrap();
    let other = dir.join("10-house.conf");
    fs::write(&other, "[crio.runtime]\ndefault_runtime = \"gpulease\"\n").unwrap();
    let run = |verb: &str| {
        let mut command = Command::new(CLI);
        command.args([verb, "crio", "--config"]).arg(dir.join("60-gpulease.conf"));
        let output = ok(command.arg("--state-dir").arg(node.state()).output().unwrap());
        String::from_utf8(output.stdout).unwrap()
    };
    run("install");
    let said = run("uninstall");
    let note = format!("note: `{}` still makes gpulease the default", other.display());
    assert!(said.contains(&note), "{said}");
}

#[test]
fn a_program_that_is_not_there_is_not_wired() {
    let node = Node::new("docker");
    let alone = node.dir.path().join("gpulease");
    ok(Command::new("cp").arg(CLI).arg(&alone).output().unwrap());
    let output = Command::new(&alone).args(["install", "docker", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("gpulease-runtime"), "{}", stderr(&output));
}

#[test]
fn a_program_that_others_can_replace_is_pointed_out() {
    if !crate::support::is_root("a_program_that_others_can_replace_is_pointed_out") {
        return;
    }
    let node = Node::with("docker", &fixture("docker", "02-empty-object.json"));
    let theirs = node.dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let hook = Path::new(crate::support::HOOK);
    for program in [Path::new(CLI), Path::new(crate::support::SHIM), hook] {
        ok(Command::new("cp").arg(program).arg(&theirs).output().unwrap());
    }
    fs::set_permissions(node.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&theirs, Some(12345), None).unwrap();
    let mut command = Command::new(theirs.join("gpulease"));
    command.args(["install", "docker", "--config"]).arg(node.config()).arg("--state-dir");
    let said = String::from_utf8(ok(command.arg(node.state()).output().unwrap()).stdout).unwrap();
    assert!(said.contains("note: ") && said.contains("12345"), "{said}");
}

#[test]
fn nothing_is_written_where_others_can_write() {
    let node = Node::with("docker", &fixture("docker", "02-empty-object.json"));
    let open = node.dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let before = node.text();
    let install = |config: &Path, state: &Path| {
        let mut command = Command::new(CLI);
        command.args(["install", "docker", "--config"]).arg(config).arg("--state-dir").arg(state);
        command.output().unwrap()
    };
    for output in [install(&node.config(), &open), install(&open.join("x"), &node.state())] {
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(stderr(&output).contains("is not safe to use"), "{}", stderr(&output));
    }
    assert_eq!((fs::read_dir(&open).unwrap().count(), node.records()), (0, 0));
    assert_eq!(node.text(), before);
}
