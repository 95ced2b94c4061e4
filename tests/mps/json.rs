//! The answers of `gpulease mps` with `--json`.

use crate::node::Node;
use crate::support::{needs_root, ok};
use serde_json::Value;

#[test]
fn each_answer_is_the_golden_one() {
    needs_root!();
    let node = Node::new();
    let answer = |args: &[&str]| -> Value {
        let output = ok(node.cli(&[&["mps"], args, &["--json"]].concat()));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    node.check_golden("mps-start", &answer(&["start", "0"]));
    let lease = node.lease("web", 250, 1024);
    node.attached(&lease);
    let mut status = node.status();
    // Other tests' daemons run as well.
    status["daemons"] = node.rows().into();
    node.check_golden("mps-status", &status);
    node.release(&lease);
    node.check_golden("mps-reap", &answer(&["reap", "--now"]));
    node.check_golden("mps-stop", &answer(&["stop", "0"]));
}
