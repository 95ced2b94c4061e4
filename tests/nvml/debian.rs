//! Debian's real library, on a host without the driver: the way of most hosts of this world.

use crate::support::{CLI, needs_root, ok};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the rest of the arguments with a `/dev` of their own, and without this host's driver.
const OWN_DEV: &str = r#"
    set -e
    mount -t tmpfs none /proc/driver
    mount -t tmpfs none /sys/module
    mount -t tmpfs none /dev
    for node in null:3 zero:5 random:8 urandom:9; do
        mknod -m 666 "/dev/${node%:*}" c 1 "${node#*:}"
    done
    exec "$@"
"#;

#[test]
fn the_real_library_without_a_driver() {
    needs_root!();
    let fetched = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/nvidia.sh"));
    let root = fetched_to(fetched);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let run = dir.path().join("run");
    fs::write(
        &config,
        format!("driver_root = {root:?}\nrun_dir = {run:?}\nsources = [\"nvidia\"]\n"),
    )
    .unwrap();
    // The library makes /dev/nvidiactl where there is none: not in this host's /dev.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", OWN_DEV, "sh"]);
    command.arg(CLI).arg("--gpulease-config").arg(&config);
    ok(command.args(["inventory", "refresh"]).output().unwrap());
    let text = fs::read_to_string(run.join("inventory.json")).unwrap();
    let inventory: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(inventory["node"]["devices"], serde_json::json!([]));
    let notes = inventory["notes"].as_array().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    let note = notes[0].as_str().unwrap();
    assert_eq!(note, "NVIDIA's NVML was not used: the NVIDIA driver is not loaded");
}

fn fetched_to(mut command: Command) -> String {
    let output = ok(command.output().unwrap());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
