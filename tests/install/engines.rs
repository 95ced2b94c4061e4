//! What the engines themselves say of files that were installed into: a real dockerd, containerd
//! and Podman, out of the lab root.

use super::{Node, fixtures};
use crate::support::{needs_root, ok, suite};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The lab root, built where it is missing.
fn lab_root() -> PathBuf {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/setup.sh");
    ok(Command::new(setup).output().unwrap());
    crate::support::lab_root()
}

/// Runs a command in the lab root, in mounts of its own: writes are kept in memory, `file` is at
/// `at`, and the programs of this build are where they are outside.
fn inside(file: &Path, at: &str, command: &[&str]) -> Output {
    const SCRIPT: &str = r#"
        mount -t tmpfs lab /mnt
        mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" lab /mnt/root
        root=/mnt/root
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount -t tmpfs lab "$root/run"
        mount -t tmpfs -o mode=755,dev lab "$root/dev"
        for node in null:3 zero:5 full:7 random:8 urandom:9; do
            mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
        done
        ln -s /proc/self/fd "$root/dev/fd"
        # Podman keeps its locks there.
        mkdir -m 1777 "$root/dev/shm"
        mkdir -p "$root$4" "$(dirname "$root$3")"
        mount --bind "$4" "$root$4"
        cp "$2" "$root$3"
        shift 4
        exec chroot "$root" "$@"
    "#;
    let programs = Path::new(crate::support::SHIM).parent().unwrap();
    let mut run = Command::new("unshare");
    run.args(["--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "sh"]);
    run.arg(lab_root()).arg(file).arg(at).arg(programs).args(command).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Each file of an engine, installed into in both ways.
fn each(engine: &'static str, mut judge: impl FnMut(&Path, &Path, bool)) {
    for file in fixtures(engine) {
        for more in [&[][..], &["--default-runtime"]] {
            let node = Node::with(engine, &file);
            node.says("install", more);
            judge(&file, &node.config(), !more.is_empty());
        }
    }
}

#[test]
fn dockerd_accepts_them() {
    needs_root!();
    each("docker", |name, file, _| {
        let at = "/etc/docker/daemon.json";
        let output = inside(file, at, &["dockerd", "--validate", "--config-file", at]);
        let said = ok(output);
        let said = String::from_utf8_lossy(&said.stderr).into_owned() + &stdout(&said);
        assert!(said.contains("configuration OK"), "{}: {said}", name.display());
    });
}

/// The plugin that has the runtimes, as `containerd config dump` names it.
fn cri_plugin() -> &'static str {
    if suite() == "sid" { "io.containerd.cri.v1.runtime" } else { "io.containerd.grpc.v1.cri" }
}

#[test]
fn containerd_accepts_them() {
    needs_root!();
    let mut seen = 0;
    each("containerd", |name, file, is_default| {
        // Debian 13 has containerd 1.7, which knows versions 1 and 2. 2.1 knows 3, and looks at no
        // runtimes in a file of version 1.
        let (text, is_sid) = (fs::read_to_string(file).unwrap(), suite() == "sid");
        if text.contains("version = 3") && !is_sid || !text.contains("version = ") && is_sid {
            return;
        }
        seen += 1;
        let at = "/etc/containerd/config.toml";
        let dumped =
            stdout(&ok(inside(file, at, &["containerd", "--config", at, "config", "dump"])));
        let toml: toml::Table = dumped.parse().unwrap();
        let disabled = toml["disabled_plugins"].as_array().unwrap();
        if disabled.contains(&"cri".into()) {
            return; // What a disabled plugin has is not told.
        }
        let containerd = &toml["plugins"][cri_plugin()]["containerd"];
        let (ours, name) = (&containerd["runtimes"]["gpulease"], name.display());
        assert_eq!(ours["options"]["BinaryName"].as_str(), Some(crate::support::SHIM), "{name}");
        assert_eq!(ours["runtime_type"].as_str(), Some("io.containerd.runc.v2"), "{name}");
        let default = containerd["default_runtime_name"].as_str().unwrap();
        assert_eq!(default == "gpulease", is_default, "{name}");
        // It must not be lost by our being there.
        assert!(containerd["runtimes"].get("runc").is_some(), "{name}");
        assert!(containerd["runtimes"].get(default).is_some(), "{name}");
    });
    assert!(seen >= 16);
}

#[test]
fn podman_accepts_them() {
    needs_root!();
    each("podman", |name, file, is_default| {
        let at = "/etc/containers/containers.conf.d/60-gpulease.conf";
        let format = "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}";
        let runtime: &[&str] = if is_default { &[] } else { &["--runtime", "gpulease"] };
        let words = [&["podman"], runtime, &["info", "--format", format]].concat();
        let output = inside(file, at, &words);
        let said = stdout(&ok(output));
        let expected = format!("gpulease {}", crate::support::SHIM);
        assert_eq!(said.trim(), expected, "{}", name.display());
    });
}
