//! Specs that gpulease writes, taken by Podman itself.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::Lab;
use crate::support::engine::REAL;
use crate::support::stderr;

/// `podman run --device KIND=NAME` puts the node in by the spec, and the shim below leases it.
#[test]
fn podman_injects_by_our_spec_and_it_is_leased() {
    let devices = REAL.replace("\"nvidia\"", "\"amd\"");
    let Some(lab) = Lab::with("/usr/bin/crun", &devices) else { return };
    let written = lab.gpulease(&["cdi", "generate", "--output", "/etc/cdi/gpulease.yaml"]);
    assert!(written.contains("`/etc/cdi/gpulease.yaml`: amd.com/gpu"), "{written}");
    let listed = lab.gpulease(&["cdi", "list"]);
    assert!(listed.contains("amd.com/gpu=0") && listed.contains("GPU-0000"), "{listed}");
    lab.start("web", &["--device", "amd.com/gpu=0"]);
    assert!(lab.ok(&["exec", "web", "ls", "-l", "/dev/fuse"]).contains("10, 229"));
    assert!(!lab.podman(&["exec", "web", "ls", "/dev/kmsg"]).status.success());
    let lease = lab.lease("web").expect("what Podman injected is leased");
    assert_eq!(lease.devices.len(), 1);
    assert_eq!(lease.devices[0].nodes, ["/dev/fuse"]);
    // It is taken, by whatever name it is asked for; the other one is not.
    let uuid = format!("amd.com/gpu={}", lease.devices[0].uuid);
    for device in ["amd.com/gpu=0", &uuid, "amd.com/gpu=all"] {
        let output = lab.run("no", &["--device", device]);
        let text = stderr(&output);
        assert!(!output.status.success() && text.contains("no-capacity"), "{device}: {text}");
        lab.remove(&["no"]);
    }
    lab.start("other", &["--device", "amd.com/gpu=1"]);
    lab.assert_held(&["web", "other"]);
    lab.remove(&["web", "other"]);
    lab.start("all", &["--device", "amd.com/gpu=all"]);
    assert_eq!(lab.lease("all").unwrap().devices.len(), 2);
    lab.remove(&["all"]);
    lab.assert_no_lease("at the end");
}
