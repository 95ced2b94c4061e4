//! Starts that fail: what Docker makes of the message, and that nothing is left of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, ONE};
use crate::support::stderr;
use std::collections::BTreeSet;

/// From these words Docker, containerd and their clients conclude something else.
const MISREAD: &[&str] = &[
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "operation not permitted",
    "does not exist",
    "not running",
    "no such process",
    "process already finished",
    "unable to retrieve OCI runtime error",
];

#[test]
fn one_too_many_is_told_who_holds_what() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let nvidia = [&ONE[..], &["--annotation", "gpulease/vendor=nvidia"]].concat();
    lab.start("one", &nvidia);
    lab.start("two", &nvidia);
    let text = lab.refused("late", &nvidia);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    for name in ["one", "two"] {
        let lease = lab.lease(name).unwrap();
        let holder = format!("lease {} of container {}", lease.id, &lab.id(name)[..12]);
        assert!(text.contains(&holder), "no `{holder}` in: {text}");
    }
    assert!(text.contains("gpulease: no-capacity: ") && text.contains("; hint: "), "{text}");
    for words in MISREAD {
        assert!(!text.to_lowercase().contains(words), "`{words}` in: {text}");
    }
    // Docker keeps the container it could not start; of the start itself nothing is left.
    let late = lab.inspect("late");
    assert_eq!(late["State"]["Status"], "created");
    assert_eq!(late["State"]["ExitCode"], 128);
    assert!(late["State"]["Error"].as_str().unwrap().contains("gpulease: no-capacity"));
    assert!(!lab.bundle("late").exists());
    assert_eq!(lab.processes(late["Id"].as_str().unwrap()), [0; 0]);
    assert_eq!(lab.records().len(), 2);
    lab.assert_sound();
    // It starts as soon as it can.
    lab.ok(&["rm", "-f", "one"]);
    lab.ok(&["start", "late"]);
    lab.assert_sound();
    lab.ok(&["rm", "-f", "late", "two"]);
    lab.assert_all_free(4);
}

#[test]
fn words_that_are_not_understood_are_refused() {
    let Some(lab) = Lab::new("mixed4") else { return };
    for (annotation, reason) in [
        ("gpulease/count=9", "no-match"),
        ("gpulease/cuont=1", "gpulease/count"),
        ("gpulease/count=some", "gpulease/count"),
        ("gpulease/devices=77", "77"),
    ] {
        let text = lab.refused("web", &["--annotation", annotation]);
        assert!(text.contains(reason), "{annotation}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        lab.ok(&["rm", "web"]);
    }
    lab.assert_all_free(4);
}

#[test]
fn a_program_that_is_not_there_leaves_no_lease() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let all = ["--annotation", "gpulease/count=all"];
    let output = lab.run_image("web", &all, &["busybox:lab", "/nope"]);
    assert_eq!(output.status.code(), Some(127), "as Docker has it: {}", stderr(&output));
    lab.assert_no_lease("a failed start");
    let output = lab.run_image("dir", &all, &["busybox:lab", "/etc"]);
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
    lab.assert_no_lease("a failed start");
    lab.ok(&["rm", "web", "dir"]);
    lab.assert_all_free(4);
}

#[test]
fn twelve_at_once_for_eight() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..12)
            .map(|n| {
                let lab = &lab;
                scope.spawn(move || lab.run(&format!("c{n}"), &ONE))
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let (started, refused): (Vec<_>, Vec<_>) =
        outcomes.into_iter().enumerate().partition(|(_, output)| output.status.success());
    for (n, output) in &refused {
        assert_eq!(output.status.code(), Some(125), "c{n}");
        assert!(stderr(output).contains("no-capacity"), "c{n}: {}", stderr(output));
    }
    let devices: BTreeSet<u32> =
        started.iter().map(|(n, _)| lab.device(&format!("c{n}"))).collect();
    assert_eq!((started.len(), devices.len(), refused.len()), (8, 8, 4));
    lab.assert_sound();
}
