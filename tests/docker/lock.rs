//! A container that has the host's file system, if only to read it, and sits on the lock.

#![allow(clippy::unwrap_used, reason = "tests")]

use crate::lab::{Lab, ONE, stdout};
use crate::support::stderr;

#[test]
fn a_container_on_the_lock_is_named_to_the_user() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("first", &ONE);
    for how in ["-x", "-s"] {
        // Busybox has no flock; the lab's wants the lab's libraries.
        let mounts = ["/:/host:ro", "/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro"];
        let mounts = mounts.into_iter().flat_map(|mount| ["-v", mount]);
        let options: Vec<&str> = ["--cap-drop", "ALL"].into_iter().chain(mounts).collect();
        let script = "echo held; exec sleep 1000";
        let command = ["busybox:lab", "flock", how, "/host/run/gpulease/lock", "sh", "-c", script];
        let output = lab.run_image("sitter", &options, &command);
        assert!(output.status.success(), "{}", stderr(&output));
        let is_held = |lab: &Lab| stdout(&lab.docker(&["logs", "sitter"])) == "held\n";
        lab.wait("the lock is held", is_held);
        let id = lab.id("sitter");
        let refused = lab.refused("web", &ONE);
        assert!(refused.contains("gpulease: lock-timeout: "), "{refused}");
        let container = format!(" of container {}", id.get(..12).unwrap());
        assert!(refused.contains(&container) && refused.contains("; hint: end "), "{refused}");
        let mut doctor = lab.command("/opt/gpulease/bin/gpulease");
        let said = stdout(&doctor.args(["doctor", "--json"]).output().unwrap());
        assert!(said.contains("\"lock-foreign\"") && said.contains(&container), "{said}");
        lab.ok(&["rm", "-f", "web", "sitter"]);
    }
    lab.start("web", &ONE);
    lab.assert_sound();
}
