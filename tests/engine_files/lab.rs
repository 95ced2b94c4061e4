//! The lab root with its engines, entered once for many files.

use super::Installed;
use crate::support::{SHIM, ok};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Between the answers about two files.
const MARK: &str = "=== next file ===";

/// What an engine answers to each file. `ask` is a command of the shell, which has the path of the
/// file in `$file`.
pub fn judge(all: &[Installed], ask: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (at, Installed { name, after, .. }) in all.iter().enumerate() {
        fs::write(dir.path().join(format!("{at:03}-{name}")), after).unwrap();
    }
    let script = format!("for file in /mnt/files/*; do {ask} || :; echo '{MARK}'; done");
    let output = inside(Some(dir.path()), &script);
    let text = String::from_utf8(ok(output).stdout).unwrap();
    let answers: Vec<String> = text.split(MARK).map(str::to_owned).collect();
    assert_eq!(answers.len(), all.len() + 1, "{text}");
    answers
}

/// Runs a script in the lab root, in mounts of its own: writes are kept in memory, `files` are in
/// /mnt/files, and the programs of this build are where they are outside.
pub fn inside(files: Option<&Path>, script: &str) -> Output {
    const ENTER: &str = r#"
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
        mkdir -p "$root$2" "$root/mnt/files"
        mount --bind "$2" "$root$2"
        [ -z "$3" ] || cp "$3"/* "$root/mnt/files"
        exec chroot "$root" sh -euc "$4" sh "$2"
    "#;
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/setup.sh");
    ok(Command::new(setup).output().unwrap());
    let programs = Path::new(SHIM).parent().unwrap();
    let mut run = Command::new("unshare");
    run.args(["--mount", "--propagation", "private", "sh", "-euc", ENTER, "sh"]);
    run.arg(crate::support::lab_root()).arg(programs);
    run.arg(files.unwrap_or(Path::new(""))).arg(script).output().unwrap()
}
