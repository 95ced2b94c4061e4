//! Containers whose daemon is gone while they live.

use crate::node::{Node, kill};
use crate::support::{eventually, needs_root, ok, stderr};
use gpulease::door::model::lease::{Lease, Owner};
use serde_json::Value;
use std::process::Command;

/// Attaches a lease and records its daemon, as the shim does.
fn seated(node: &Node, name: &str, milli: u32, mib: u64) -> Lease {
    let mut lease = node.lease(name, milli, mib);
    let attached = node.attached(&lease);
    let process: Owner = serde_json::from_value(attached["process"].clone()).unwrap();
    let seat = lease.mps.as_mut().unwrap();
    seat.pipe = Some(attached["pipe"].as_str().unwrap().to_owned());
    seat.process = Some(process);
    node.put(&lease);
    lease
}

fn json(node: &Node, args: &[&str]) -> Value {
    let output = node.cli(&[args, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lost(node: &Node) -> Vec<Value> {
    let doctor = json(node, &["doctor"]);
    let checks = doctor["checks"].as_array().unwrap().clone();
    checks.into_iter().filter(|check| check["code"] == "mps-lost").collect()
}

#[test]
fn leases_of_a_lost_daemon_are_recognised() {
    needs_root!();
    let node = Node::new();
    let old = seated(&node, "old", 505, 40000);
    let first = node.daemon_pid();
    assert_eq!(old.mps.as_ref().unwrap().process.as_ref().unwrap().pid, first);
    assert_eq!(
        (lost(&node).len(), json(&node, &["leases"])["leases"][0]["cut_off"].as_bool()),
        (0, Some(false))
    );
    kill(first);
    eventually(|| node.processes().is_empty());
    // No other daemon was started yet.
    assert_eq!(json(&node, &["mps", "status"])["cut_off"], serde_json::json!([old.id]));
    assert_eq!(lost(&node).len(), 1);
    // Only an administrator can have another one: the old lease's container could not use it.
    let waiting = node.lease("new", 250, 1024);
    let text = node.refused(&waiting);
    assert!(
        text.contains("is gone, and is used by lease") && text.contains("container old"),
        "{text}"
    );
    assert!(text.contains("--force"), "{text}");
    let text = stderr(&node.cli(&["mps", "start", "0"]));
    assert!(text.contains("container old"), "{text}");
    assert!(node.processes().is_empty());
    ok(node.cli(&["mps", "stop", "0", "--force"]));
    let new = seated(&node, "new", 250, 1024);
    assert_ne!(node.daemon_pid(), first);
    assert_eq!(
        node.limits(),
        ("25.0".to_owned(), "1G".to_owned()),
        "the old one does not come back"
    );
    let status = json(&node, &["mps", "status"]);
    assert_eq!(status["cut_off"], serde_json::json!([old.id]));
    assert_eq!(node.rows()[0]["leases"], serde_json::json!([new.id]));
    let text = String::from_utf8(ok(node.cli(&["mps", "status"])).stdout).unwrap();
    assert!(text.contains("warning: lease") && text.contains("container old"), "{text}");
    let leases = json(&node, &["leases"]);
    let is_cut_off = |lease: &Lease| {
        let mut all = leases["leases"].as_array().unwrap().iter();
        all.find(|seen| seen["id"] == lease.id.as_str()).unwrap()["cut_off"].as_bool().unwrap()
    };
    assert!(is_cut_off(&old) && !is_cut_off(&new), "{leases}");
    let text = String::from_utf8(ok(node.cli(&["leases"])).stdout).unwrap();
    assert!(text.contains("container old") && text.contains("is gone"), "{text}");
    let found = lost(&node);
    assert_eq!(found.len(), 1, "{found:?}");
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.contains("container old"), "{message}");
    // The old lease does not keep the new daemon from being ended.
    node.release(&new);
    node.reap();
    node.assert_nothing_left();
    node.release(&old);
}

#[test]
fn a_foreign_silent_daemon_is_not_killed() {
    needs_root!();
    let node = Node::with("start_timeout = \"1s\"\nstop_grace = \"0s\"");
    let old = seated(&node, "old", 505, 40000);
    let pid = node.daemon_pid();
    let signal =
        |name: &str| ok(Command::new("kill").args([name, &pid.to_string()]).output().unwrap());
    signal("-STOP");
    let new = node.lease("new", 250, 1024);
    let text = node.refused(&new);
    assert!(text.contains("does not answer") && text.contains("container old"), "{text}");
    assert_eq!((node.processes(), node.daemon_pid()), (vec![pid], pid));
    signal("-CONT");
    node.attached(&new);
    assert_eq!(node.daemon_pid(), pid);
    // Without the other lease it is ended.
    node.release(&old);
    signal("-STOP");
    node.attached(&new);
    assert_ne!(node.daemon_pid(), pid);
    node.release(&new);
    node.reap();
}

#[test]
fn orphaned_servers_of_a_live_lease_stay() {
    needs_root!();
    let node = Node::new();
    let lease = seated(&node, "web", 250, 1024);
    kill(node.daemon_pid());
    eventually(|| node.processes().is_empty());
    // Its container may still compute by a server.
    node.reap();
    assert!(node.place().join("journal.json").exists());
    let refused = node.cli(&["mps", "stop", "0"]);
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    node.release(&lease);
    node.reap();
}
