//! The runtime and its hook, killed in the midst of a create or a delete.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab};
use crate::support::stderr;

const IMAGE: [&str; 3] = ["busybox:lab", "sleep", "1000"];
const FAILING: [&str; 2] = ["--runtime", "failing"];

#[test]
fn a_runtime_or_hook_killed_in_create_leaves_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in
        ["create.locked", "create.recorded", "create.edited", "bind.begin", "bind.recorded"]
    {
        lab.fail_at(&format!("{point}=kill"));
        let output = lab.run_by(&FAILING, "web", &ALL, &IMAGE);
        assert!(!output.status.success(), "{point} was not reached");
        lab.fail_at("");
        // The container itself starts then, and has one grant.
        let start = lab.podman(&["start", "web"]);
        assert!(start.status.success(), "{point}: {}", stderr(&start));
        lab.assert_held(&["web"]);
        lab.remove(&["web"]);
        lab.assert_all_free(8);
    }
}

#[test]
fn a_runtime_killed_in_delete_keeps_nothing() {
    let Some(lab) = Lab::new("h100x8") else { return };
    for point in ["delete.before-runtime", "delete.after-runtime", "release.locked"] {
        let output = lab.run_by(&FAILING, "web", &ALL, &IMAGE);
        assert!(output.status.success(), "{}", stderr(&output));
        lab.fail_at(&format!("{point}=kill"));
        let _ = lab.podman(&["rm", "-f", "-t", "0", "web"]);
        lab.fail_at("");
        // Whatever Podman thinks of it: the container is dead, and the next gets its GPUs.
        lab.start("next", &ALL);
        lab.assert_held(&["next"]);
        lab.remove(&["--ignore", "web", "next"]);
        lab.assert_all_free(8);
    }
}
