//! Daemons that gpulease did not start.

use crate::node::{Node, control, say};
use crate::support::{eventually, needs_root, ok, stderr};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A real daemon of this user for the node's device, and its pipe directory.
struct Foreign {
    child: Child,
    pipe: PathBuf,
}

impl Foreign {
    fn start(node: &Node, uid: u32) -> Self {
        let (pipe, log) = (node.path("foreign"), node.path("foreign-log"));
        for dir in [&pipe, &log] {
            fs::create_dir(dir).unwrap();
            chown(dir, Some(uid), Some(uid)).unwrap();
        }
        let child = Command::new(control())
            .arg("-f")
            .env("CUDA_MPS_PIPE_DIRECTORY", &pipe)
            .env("CUDA_MPS_LOG_DIRECTORY", &log)
            .env("CUDA_VISIBLE_DEVICES", &node.uuid)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .uid(uid)
            .gid(uid)
            .spawn()
            .unwrap();
        eventually(|| pipe.join("nvidia-cuda-mps-control.pid").exists());
        Self { child, pipe }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_foreign_daemon_is_used_as_it_is() {
    needs_root!();
    let node = Node::new();
    let mut foreign = Foreign::start(&node, 0);
    say(&foreign.pipe, "set_default_active_thread_percentage 70");
    let mut lease = node.lease("a", 250, 1024);
    let attached = node.attached(&lease);
    assert_eq!(attached["pipe"], foreign.pipe.to_str().unwrap());
    assert_eq!((&attached["shm"], &attached["adopted"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(say(&foreign.pipe, "get_default_active_thread_percentage"), "70.0");
    assert!(!node.place().exists(), "nothing is made for it");
    let rows = node.rows();
    assert_eq!((&rows[0]["state"], rows.len()), (&"foreign".into(), 1));
    assert_eq!(rows[0]["active_thread_percentage"], "70.0");
    // gpulease does not stop it, and starts no other beside it.
    node.reap();
    ok(node.cli(&["mps", "stop", "--all", "--force"]));
    let text = stderr(&node.cli(&["mps", "stop", "0", "--force"]));
    assert!(text.contains("gpulease did not start"), "{text}");
    let text = stderr(&node.cli(&["mps", "start", "0"]));
    assert!(text.contains("another MPS daemon"), "{text}");
    assert!(foreign.child.try_wait().unwrap().is_none());
    // gpulease does not set its limits, so none can be promised.
    lease.mps.as_mut().unwrap().pinned = true;
    node.put(&lease);
    assert!(node.refused(&lease).contains("not gpulease's to set"));
    drop(foreign);
    // When it is gone, gpulease starts its own.
    assert_eq!(node.attached(&lease)["adopted"], false);
    node.release(&lease);
    node.reap();
}

#[test]
fn one_of_ours_is_not_left_for_a_foreign_one() {
    needs_root!();
    let node = Node::new();
    let lease = node.lease("a", 250, 1024);
    node.attached(&lease);
    let foreign = Foreign::start(&node, 0);
    assert_eq!(node.attached(&lease)["adopted"], false);
    node.release(&lease);
    node.reap();
    drop(foreign);
}

#[test]
fn where_each_lease_has_a_daemon_none_is_adopted() {
    needs_root!();
    let node = Node::with("daemon = \"lease\"\nstart_timeout = \"5s\"\nstop_grace = \"0s\"");
    let foreign = Foreign::start(&node, 0);
    let mut lease = node.lease("a", 250, 1024);
    lease.mps.as_mut().unwrap().daemon = lease.id.to_string();
    node.put(&lease);
    assert_eq!(node.attached(&lease)["adopted"], false);
    node.release(&lease);
    node.reap();
    drop(foreign);
}

#[test]
fn a_daemon_of_another_user_is_not_adopted() {
    needs_root!();
    let node = Node::new();
    let foreign = Foreign::start(&node, 65534);
    let lease = node.lease("a", 250, 1024);
    assert_eq!(node.attached(&lease)["adopted"], false);
    // A daemon of root is not adopted if others can write its directory.
    node.release(&lease);
    node.reap();
    drop(foreign);
    fs::remove_dir_all(node.path("foreign")).unwrap();
    fs::remove_dir_all(node.path("foreign-log")).unwrap();
    let foreign = Foreign::start(&node, 0);
    chown(&foreign.pipe, Some(65534), None).unwrap();
    let lease = node.lease("a", 250, 1024);
    assert_eq!(node.attached(&lease)["adopted"], false);
    node.release(&lease);
    node.reap();
    // On a device that exists it is in the way, and the start is refused.
    let mut lease = node.lease("a", 250, 1024);
    lease.devices[0].simulated = false;
    node.put(&lease);
    assert!(node.refused(&lease).contains("root's alone"));
    node.release(&lease);
    drop(foreign);
}
