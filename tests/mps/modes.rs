//! The compute mode around a daemon's life. `nvidia-smi` does nothing without its driver, so a script
//! that keeps a mode in a file stands in for it.

use crate::node::{Node, control, kill};
use crate::support::{needs_root, ok, stderr};
use gpulease::door::model::lease::Lease;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const SMI: &str = r#"#!/bin/sh
dir=$(dirname "$0")/../..
[ "$2" = "$(cat "$dir/gpu")" ] || { echo "No devices were found"; exit 6; }
case "$3" in
    --query-gpu=compute_mode) cat "$dir/mode" ;;
    -c)
        [ ! -e "$dir/refuse" ] || { echo "Insufficient Permissions" >&2; exit 4; }
        [ ! -e "$dir/lie" ] || exit 0
        echo "$4" >>"$dir/set"
        case "$4" in
            EXCLUSIVE_PROCESS) echo Exclusive_Process ;;
            DEFAULT) echo Default ;;
            PROHIBITED) echo Prohibited ;;
        esac >"$dir/mode"
        # As one that is killed because the driver takes too long afterwards.
        [ ! -e "$dir/late" ] || { touch "$dir/refuse"; exit 9; } ;;
esac
"#;

/// The real control program, whose servers cannot run without a GPU: they are played.
const CONTROL: &str = r#"#!/bin/sh
dir=$(dirname "$0")/host
[ $# = 0 ] || { rm -f "$dir/server" "$dir/percent"; exec "$REAL" "$@"; }
read -r command
case "$command" in
    start_server*) echo "$command" >>"$dir/server" ;;
    get_server_list) [ ! -e "$dir/server" ] || echo 4242 ;;
    "get_server_status 4242") echo ACTIVE ;;
    "get_active_thread_percentage 4242") cat "$dir/percent" 2>/dev/null || echo 100.0 ;;
    "set_active_thread_percentage 4242 "*) echo "${command##* }.0" >"$dir/percent" ;;
    *) echo "$command" | "$REAL" ;;
esac
"#;

/// With a GPU in this mode. Its device is no simulated one, as far as the leases go.
fn node(mode: &str) -> Node {
    let node = Node::new();
    fs::create_dir_all(node.path("host/usr/bin")).unwrap();
    let smi = node.path("host/usr/bin/nvidia-smi");
    fs::write(&smi, SMI).unwrap();
    fs::set_permissions(&smi, fs::Permissions::from_mode(0o755)).unwrap();
    let program = node.path("nvidia-cuda-mps-control");
    fs::write(&program, CONTROL.replace("$REAL", control().to_str().unwrap())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let keys = "start_timeout = \"5s\"\nstop_grace = \"0s\"";
    node.configure(&format!("control = {program:?}\n{keys}"));
    fs::write(node.path("host/gpu"), format!("{}\n", node.uuid)).unwrap();
    fs::write(node.path("host/mode"), format!("{mode}\n")).unwrap();
    node
}

fn mode(node: &Node) -> String {
    fs::read_to_string(node.path("host/mode")).unwrap().trim().to_owned()
}

fn lease(node: &Node, pinned: bool) -> Lease {
    let mut lease = node.lease("a", 250, 1024);
    lease.devices[0].simulated = false;
    lease.mps.as_mut().unwrap().pinned = pinned;
    node.put(&lease);
    lease
}

#[test]
fn the_compute_mode_is_restored_afterwards() {
    needs_root!();
    for (printed, prior) in [("Default", "DEFAULT"), ("Prohibited", "PROHIBITED")] {
        let node = node(printed);
        let lease = lease(&node, true);
        node.attached(&lease);
        assert_eq!(mode(&node), "Exclusive_Process");
        assert_eq!(node.journal()["prior_compute_mode"], prior);
        // The earlier mode survives a second lease and the death of the daemon.
        node.attached(&lease);
        kill(node.daemon_pid());
        node.attached(&lease);
        assert_eq!(node.journal()["prior_compute_mode"], prior);
        node.release(&lease);
        node.reap();
        assert_eq!(mode(&node), printed);
    }
}

#[test]
fn the_mode_is_restored_whenever_the_start_was_killed() {
    needs_root!();
    for point in ["mps.mode-journalled", "mps.mode-set", "mps.journalled", "mps.spawned"] {
        let node = node("Default");
        // Itself and not by a script: it is found by what is executed, whenever its starter is killed.
        node.configure("start_timeout = \"5s\"\nstop_grace = \"0s\"");
        let lease = lease(&node, false);
        node.attach_killed_at(&lease, point);
        node.attached(&lease);
        assert_eq!(node.journal()["prior_compute_mode"], "DEFAULT", "{point}");
        node.release(&lease);
        node.reap();
        assert_eq!(mode(&node), "Default", "{point}");
        let lease = self::lease(&node, false);
        node.attach_killed_at(&lease, point);
        node.release(&lease);
        node.reap();
        assert_eq!(mode(&node), "Default", "{point}");
        node.assert_nothing_left();
    }
}

#[test]
fn a_start_that_fails_restores_the_mode() {
    needs_root!();
    let node = node("Default");
    node.configure("control = \"/bin/false\"\nstart_timeout = \"1s\"");
    let lease = lease(&node, true);
    assert!(node.refused(&lease).contains("the MPS daemon has ended"));
    assert_eq!(mode(&node), "Default");
    let set = fs::read_to_string(node.path("host/set")).unwrap();
    assert_eq!(set, "EXCLUSIVE_PROCESS\nDEFAULT\n");
    node.release(&lease);
}

#[test]
fn without_the_mode_there_is_a_daemon_but_no_promise() {
    needs_root!();
    let node = node("Default");
    fs::write(node.path("host/refuse"), "").unwrap();
    let promised = lease(&node, true);
    let text = node.refused(&promised);
    assert!(text.contains("Insufficient Permissions"), "{text}");
    node.assert_nothing_left();
    let preferred = lease(&node, false);
    node.attached(&preferred);
    assert_eq!(mode(&node), "Default");
    // A pinned lease that comes later has the mode set while the daemon runs.
    fs::remove_file(node.path("host/refuse")).unwrap();
    let promised = lease(&node, true);
    node.attached(&promised);
    assert_eq!(mode(&node), "Exclusive_Process");
    node.release(&promised);
    node.reap();
    assert_eq!(mode(&node), "Default");
    fs::remove_file(node.path("host/usr/bin/nvidia-smi")).unwrap();
    let preferred = lease(&node, false);
    node.attached(&preferred);
    node.release(&preferred);
    node.reap();
}

#[test]
fn a_mode_that_cannot_be_restored_is_not_forgotten() {
    needs_root!();
    let node = node("Default");
    let lease = lease(&node, false);
    node.attached(&lease);
    fs::write(node.path("host/refuse"), "").unwrap();
    node.release(&lease);
    let text = stderr(&node.cli(&["mps", "reap", "--now"]));
    assert!(text.contains("still EXCLUSIVE_PROCESS") && text.contains("-c DEFAULT"), "{text}");
    assert!(node.processes().is_empty());
    assert_eq!(node.left(), [node.place().display().to_string()]);
    fs::remove_file(node.path("host/refuse")).unwrap();
    ok(node.cli(&["mps", "reap", "--now"]));
    assert_eq!(mode(&node), "Default");
}

#[test]
fn the_earlier_mode_is_never_forgotten() {
    needs_root!();
    let node = node("Default");
    let lease = lease(&node, true);
    // The script fails after it has set the mode, and from then on.
    fs::write(node.path("host/late"), "").unwrap();
    let text = node.refused(&lease);
    assert!(text.contains("still EXCLUSIVE_PROCESS") && text.contains("-c DEFAULT"), "{text}");
    assert_eq!(mode(&node), "Exclusive_Process");
    assert_eq!(node.journal()["prior_compute_mode"], "DEFAULT");
    fs::remove_file(node.path("host/late")).unwrap();
    fs::remove_file(node.path("host/refuse")).unwrap();
    node.attached(&lease);
    assert_eq!(node.journal()["prior_compute_mode"], "DEFAULT");
    node.release(&lease);
    node.reap();
    assert_eq!(mode(&node), "Default");
}

#[test]
fn a_promise_is_kept_by_the_mode_that_is_there() {
    needs_root!();
    let node = node("Default");
    let lease = lease(&node, true);
    fs::write(node.path("host/lie"), "").unwrap();
    let text = node.refused(&lease);
    assert!(text.contains("and it is DEFAULT"), "{text}");
    node.assert_nothing_left();
    fs::remove_file(node.path("host/lie")).unwrap();
    node.attached(&lease);
    // The mode is set back by hand meanwhile.
    fs::write(node.path("host/mode"), "Default\n").unwrap();
    node.attached(&lease);
    assert_eq!(mode(&node), "Exclusive_Process");
    // Another mode that was set by hand stays.
    fs::write(node.path("host/mode"), "Prohibited\n").unwrap();
    node.release(&lease);
    node.reap();
    assert_eq!(mode(&node), "Prohibited");
}

#[test]
fn a_pinned_lease_finds_a_server_with_its_limit() {
    needs_root!();
    let node = node("Default");
    let read = |name: &str| fs::read_to_string(node.path("host").join(name)).unwrap_or_default();
    let preferred = lease(&node, false);
    node.attached(&preferred);
    assert_eq!(read("server"), "", "the first client starts one");
    node.release(&preferred);
    let mut promised = lease(&node, true);
    promised.mps.as_mut().unwrap().uid = 1000;
    node.put(&promised);
    node.attached(&promised);
    assert_eq!(read("server"), "start_server -uid 1000\n");
    assert_eq!(read("percent"), "25.0\n");
    // And no second one.
    node.attached(&promised);
    assert_eq!(read("server"), "start_server -uid 1000\n");
    node.release(&promised);
    node.reap();
}

/// Without a GPU, NVIDIA's own server ends at once.
#[test]
fn without_a_server_there_is_no_promise() {
    needs_root!();
    let node = node("Default");
    node.configure("start_timeout = \"5s\"\nstop_grace = \"0s\"");
    let promised = lease(&node, true);
    let text = node.refused(&promised);
    assert!(text.contains("the MPS server of user 0 does not run"), "{text}");
    assert!(text.contains("exited with status 1"), "{text}");
    assert_eq!(mode(&node), "Default");
    node.assert_nothing_left();
    // Nor is one looked for where the device does not exist.
    let mut simulated = promised;
    simulated.devices[0].simulated = true;
    node.put(&simulated);
    node.attached(&simulated);
    node.release(&simulated);
    node.reap();
}

#[test]
fn where_the_mode_is_to_be_kept_it_is() {
    needs_root!();
    let node = node("Default");
    node.configure("compute_mode = \"keep\"\nstart_timeout = \"5s\"");
    let lease = lease(&node, false);
    node.attached(&lease);
    assert_eq!(mode(&node), "Default");
    node.release(&lease);
    node.reap();
    assert!(!node.path("host/set").exists());
}
