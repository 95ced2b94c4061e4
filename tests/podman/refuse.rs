//! Starts that fail: what Podman makes of the message, and that nothing is left of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, Lab, ONE};
use crate::support::engine::RUNTIME;
use crate::support::{ok, stderr};

#[test]
fn one_too_many_is_told_who_holds_what() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("web", &ALL);
    let lease = lab.lease("web").unwrap();
    let holder = format!("lease {} of container {} (podman)", lease.id, &lab.id("web")[..12]);
    // A runtime given by its path is not one of those whose log Podman reads: it shows stderr.
    for (name, global) in [("json", &[][..]), ("text", &["--runtime", RUNTIME])] {
        let output = lab.run_by(global, name, &ONE, &["busybox:lab", "sleep", "1000"]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(126), "{text}");
        let reason = "gpulease: no-capacity: 1 device requested, 0 of 4 available";
        assert!(text.starts_with("Error: OCI runtime error: "), "{text}");
        assert!(text.contains(reason) && text.contains(&holder), "{text}");
        assert!(text.contains("; hint: ") && text.trim_end().lines().count() == 1, "{text}");
        assert_eq!(lab.inspect(name, "State.Status"), "created");
        lab.wait_until_alone(name);
        lab.assert_held(&["web"]);
    }
    // Podman keeps its log of a container between starts, and wants one object in it.
    for _ in 0..2 {
        let output = lab.podman(&["start", "json"]);
        let text = stderr(&output);
        assert!(!output.status.success() && text.contains("gpulease: no-capacity"), "{text}");
        let run_dir = lab.path("/run/containers/storage/overlay-containers");
        let log = run_dir.join(lab.id("json")).join("userdata/oci-log");
        let log = std::fs::read(log).unwrap();
        let log: serde_json::Value = serde_json::from_slice(&log).unwrap();
        assert!(log["msg"].as_str().unwrap().contains("no-capacity"), "{log}");
    }
    assert_eq!(lab.records().len(), 1);
    // They start as soon as they can.
    lab.remove(&["web"]);
    lab.ok(&["start", "json", "text"]);
    lab.assert_held(&["json", "text"]);
    lab.remove(&["json", "text"]);
    lab.assert_all_free(4);
}

#[test]
fn a_program_that_is_not_there_leaves_no_lease() {
    for runtime in ["/usr/bin/crun", "/usr/bin/runc"] {
        let Some(lab) = Lab::over(runtime, "mixed4") else { return };
        for (name, program, status) in [("web", "/nope", 127), ("dir", "/etc", 126)] {
            let output = lab.run_by(&[], name, &ALL, &["busybox:lab", program]);
            assert_eq!(output.status.code(), Some(status), "{runtime}: {}", stderr(&output));
            lab.wait_until_alone(name);
            lab.assert_no_lease("a failed start");
        }
        lab.remove(&["web", "dir"]);
        lab.assert_all_free(4);
    }
}

#[test]
fn eight_at_once_for_four() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let started: Vec<&str> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            names.iter().map(|name| (name, scope.spawn(|| lab.run(name, &ONE)))).collect();
        let outcomes = starts.into_iter().map(|(name, start)| (name, start.join().unwrap()));
        let started = outcomes.filter(|(name, output)| {
            let text = stderr(output);
            assert!(output.status.success() || text.contains("no-capacity"), "{name}: {text}");
            output.status.success()
        });
        started.map(|(name, _)| name.as_str()).collect()
    });
    assert_eq!(started.len(), 4);
    lab.assert_held(&started);
    ok(lab.podman(&["rm", "-fa", "-t", "0"]));
    lab.assert_all_free(4);
}
