//! Nodes that the engine has put in, with the numbers of another time.

use crate::support::{Host, needs_root, ok, stderr};
use crate::{bundle, gpu};
use serde_json::json;

#[test]
fn a_node_with_a_number_of_before_is_refused() {
    needs_root!();
    let host = Host::new("h100x8");
    let numbered = |path: &str, major: u32, minor: u32| json!({ "path": path, "type": "c", "major": major, "minor": minor });
    let control = numbered("/dev/nvidia-uvm", 1508, 0);
    let unnumbered = json!({ "path": "/dev/nvidia0", "type": "c" });
    for (devices, part) in [
        (json!([gpu(0), control]), "`/dev/nvidia-uvm` has the number 1508:0 in config.json, but 1"),
        (json!([numbered("/dev/nvidia3", 240, 3)]), "`/dev/nvidia3` has the number 240:3"),
        (json!([unnumbered]), "`/dev/nvidia0` has the number 0:0"),
    ] {
        bundle(&host, "web", &[], |spec| spec["linux"]["devices"] = devices);
        let text = stderr(&host.create("web"));
        assert!(text.starts_with("gpulease: stale-inventory: "), "{text}");
        assert!(text.contains(part) && text.contains("create the container again"), "{text}");
    }
    assert!(host.leases().is_empty());
    // One GPU under the name of another is no matter of time.
    let renamed = json!([numbered("/dev/nvidia0", 1219, 1)]);
    bundle(&host, "web", &[], |spec| spec["linux"]["devices"] = renamed);
    ok(host.create("web"));
}
