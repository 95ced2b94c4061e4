//! `gpulease install` and `uninstall` on engines' files as users have them, with the engines
//! themselves as judges: a real dockerd, containerd and Podman out of the lab root. There is no
//! CRI-O in it, whose files are read as TOML.
//!
//! The files are in tests/fixtures/engines; a comment or the name says what is special about each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "engine_files/docker_flags.rs"]
mod docker_flags;
#[path = "engine_files/lab.rs"]
mod lab;
mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{CLI, SHIM, needs_root, ok, stderr, suite};

/// A file with gpulease in it.
struct Installed {
    /// The fixture's name, and `-default` where gpulease is the default runtime.
    name: String,
    is_default: bool,
    before: String,
    after: String,
}

/// The files of an engine; those that begin with `bad-` are not to be edited.
fn fixtures(engine: &str, are_bad: bool) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/engines").join(engine);
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| file_name(path).starts_with("bad-") == are_bad);
    files.sort();
    files
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn gpulease(verb: &str, engine: &str, file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(CLI);
    command.args([verb, engine, "--config"]).arg(file).arg("--state-dir");
    command.arg(file.with_extension("state")).args(more).output().unwrap()
}

/// Installs into each file of an engine in both ways. A dry run and a second install change
/// nothing, no setting is lost, and uninstall restores the bytes.
fn install_into_all(engine: &str) -> Vec<Installed> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let dir = tempfile::Builder::new().prefix("gpulease-test-").tempdir().unwrap();
    let mut all = Vec::new();
    for fixture in fixtures(engine, false) {
        for is_default in [false, true] {
            let name =
                format!("{}{}", file_name(&fixture), if is_default { "-default" } else { "" });
            let more: &[&str] = if is_default { &["--default-runtime"] } else { &[] };
            let file = dir.path().join(&name);
            fs::copy(&fixture, &file).unwrap();
            let before = fs::read_to_string(&file).unwrap();
            let read = || fs::read_to_string(&file).unwrap();
            ok(gpulease("install", engine, &file, &[more, &["--dry-run"]].concat()));
            assert_eq!(read(), before, "{name}: a dry run");
            ok(gpulease("install", engine, &file, more));
            let after = read();
            let lost = lost_settings(&values(engine, &before), &values(engine, &after), is_default);
            assert_eq!(lost, Vec::<String>::new(), "{name}: {after}");
            ok(gpulease("install", engine, &file, more));
            assert_eq!(read(), after, "{name}: a second install");
            ok(gpulease("uninstall", engine, &file, &[]));
            assert_eq!(read(), before, "{name}: uninstall");
            all.push(Installed { name, is_default, before, after });
        }
    }
    all
}

/// The values of a file.
fn values(engine: &str, text: &str) -> Value {
    let text = text.trim_start_matches('\u{feff}');
    if engine != "docker" {
        return serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    }
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).unwrap()
}

/// The paths of settings that are missing or different, but for those that gpulease sets.
fn lost_settings(before: &Value, after: &Value, is_default: bool) -> Vec<String> {
    const DEFAULTS: [&str; 4] =
        ["default-runtime", "default_runtime_name", "default_runtime", "runtime"];
    let mut lost = Vec::new();
    for (key, value) in before.as_object().into_iter().flatten() {
        let is_ours = key == "gpulease" || is_default && DEFAULTS.contains(&key.as_str());
        match after.get(key) {
            _ if is_ours || value.is_null() => {}
            Some(new) if value.is_object() && new.is_object() => {
                let inner = lost_settings(value, new, is_default);
                lost.extend(inner.iter().map(|inner| format!("{key}.{inner}")));
            }
            Some(new) if new == value => {}
            _ => lost.push(key.clone()),
        }
    }
    lost
}

#[test]
fn dockerd_accepts_each_file() {
    needs_root!();
    let all = install_into_all("docker");
    assert!(all.len() >= 50, "{}", all.len());
    let answers = lab::judge(&all, "dockerd --validate --config-file \"$file\" 2>&1");
    for (installed, answer) in all.iter().zip(answers) {
        assert!(answer.contains("configuration OK"), "{}: {answer}", installed.name);
        let json = values("docker", &installed.after);
        assert_eq!(json["runtimes"]["gpulease"]["path"].as_str(), Some(SHIM), "{}", installed.name);
    }
}

#[test]
fn containerd_accepts_each_file() {
    needs_root!();
    let is_sid = suite() == "sid";
    let plugin = if is_sid { "io.containerd.cri.v1.runtime" } else { "io.containerd.grpc.v1.cri" };
    let mut all = install_into_all("containerd");
    assert!(all.len() >= 60, "{}", all.len());
    // Debian 13 has containerd 1.7, which knows versions 1 and 2. 2.1 knows 3, and looks at no
    // runtimes in a file of version 1.
    all.retain(|installed| match values("containerd", &installed.after)["version"].as_u64() {
        Some(3..) => is_sid,
        Some(2) => true,
        _ => !is_sid,
    });
    assert!(all.len() >= 40, "{}", all.len());
    let answers = lab::judge(
        &all,
        "containerd --config \"$file\" config dump 2>/mnt/error || cat /mnt/error",
    );
    for (Installed { name, is_default, before, .. }, dumped) in all.iter().zip(answers) {
        let toml: toml::Table = dumped.parse().unwrap_or_else(|e| panic!("{name}: {e}: {dumped}"));
        if toml["disabled_plugins"].as_array().unwrap().contains(&"cri".into()) {
            continue; // The settings of a disabled plugin are not shown.
        }
        let plugins = toml["plugins"].as_table().unwrap();
        let cri = plugins.get(plugin).unwrap_or_else(|| panic!("{name}: {dumped}"));
        let containerd = &cri["containerd"];
        let ours = &containerd["runtimes"]["gpulease"];
        assert_eq!(ours["options"]["BinaryName"].as_str(), Some(SHIM), "{name}");
        assert_eq!(ours["runtime_type"].as_str(), Some("io.containerd.runc.v2"), "{name}");
        let default = containerd["default_runtime_name"].as_str().unwrap();
        assert_eq!(default == "gpulease", *is_default, "{name}");
        // The built-in runc is there as long as a file has no runtime.
        let runtimes = containerd["runtimes"].as_table().unwrap();
        assert!(runtimes.contains_key("runc") || before.contains("runtimes."), "{name}");
        assert!(runtimes.contains_key(default) || default.starts_with("${"), "{name}");
    }
}

#[test]
fn podman_accepts_each_file() {
    needs_root!();
    let all = install_into_all("podman");
    assert!(all.len() >= 34, "{}", all.len());
    let ask = "runtime=--runtime=gpulease
        case $file in *-default) runtime= ;; esac
        # A storage on an overlay is only taken when it is new.
        rm -rf --one-file-system /var/lib/containers /run/containers /run/libpod /dev/shm/libpod*
        CONTAINERS_CONF=$file podman $runtime info \
            --format '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}' 2>&1 | tail -n 1";
    for (installed, answer) in all.iter().zip(lab::judge(&all, ask)) {
        assert_eq!(answer.trim(), format!("gpulease {SHIM}"), "{}", installed.name);
    }
}

#[test]
fn crio_files_have_the_handler() {
    let all = install_into_all("crio");
    assert!(all.len() >= 34, "{}", all.len());
    for Installed { name, is_default, before, after } in &all {
        let (toml, before) = (values("crio", after), values("crio", before));
        let runtime = &toml["crio"]["runtime"];
        assert_eq!(runtime["runtimes"]["gpulease"]["runtime_path"], SHIM, "{name}");
        let default = &runtime["default_runtime"];
        if *is_default {
            assert_eq!(default, "gpulease", "{name}");
        } else {
            let was = &before["crio"]["runtime"]["default_runtime"];
            assert_eq!(default, was, "{name}");
        }
    }
}

#[test]
fn files_that_engines_refuse_are_left_alone() {
    let dir = tempfile::Builder::new().prefix("gpulease-test-").tempdir().unwrap();
    let mut count = 0;
    for engine in ["docker", "containerd", "podman", "crio"] {
        for fixture in fixtures(engine, true) {
            let file = dir.path().join(file_name(&fixture));
            fs::copy(&fixture, &file).unwrap();
            let output = gpulease("install", engine, &file, &[]);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(4), "{}: {text}", fixture.display());
            assert!(text.contains(file_name(&fixture)) && text.contains("hint: "), "{text}");
            assert_eq!(fs::read(&file).unwrap(), fs::read(&fixture).unwrap());
            count += 1;
        }
    }
    assert!(count >= 8);
}

#[test]
fn a_daemon_json_in_utf_16_stays_in_it() {
    needs_root!();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let dir = tempfile::Builder::new().prefix("gpulease-test-").tempdir().unwrap();
    let text = "\u{feff}{\r\n  \"labels\": [\"site=Köln\"]\r\n}\r\n";
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    for (name, is_little) in [("le.json", true), ("be.json", false)] {
        let unit = |unit: u16| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        let bytes = |text: &str| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let file = dir.path().join(name);
        fs::write(&file, bytes(text)).unwrap();
        ok(gpulease("install", "docker", &file, &["--default-runtime"]));
        let after = fs::read(&file).unwrap();
        let has = |part: &str| after.windows(part.len() * 2).any(|window| window == bytes(part));
        assert!(has("\"gpulease\"") && has("site=K") && has(SHIM), "{name}");
        assert_eq!(after[..2], bytes(text)[..2], "{name}: the byte order mark");
        fs::copy(&file, files.join(name)).unwrap();
        ok(gpulease("uninstall", "docker", &file, &[]));
        assert_eq!(fs::read(&file).unwrap(), bytes(text), "{name}");
    }
    let script = "for file in /mnt/files/*; do dockerd --validate --config-file $file 2>&1; done";
    let output = ok(lab::inside(Some(&files), script));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("configuration OK").count(), 2, "{said}");
}
