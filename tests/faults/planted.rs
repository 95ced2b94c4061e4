//! The checks themselves, on states that are wrong: one that cannot fail is worth nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use crate::cases::{violation, words_of};
use crate::checks::{
    Web, assert_all_free, assert_as_before_or_whole, assert_held, assert_no_temporary_file,
    assert_told, create, host,
};
use crate::podman::ALL;
use crate::strace::{Call, Case, Ended, Fault, calls, run, run_within, sample};
use crate::support::{Host, kill, needs_root};
use crate::verbs::{NOT_MADE, Scene, Verb};
use gpulease::door::sys::proc;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// What a check says, which must not be content.
#[track_caller]
fn said_by(check: impl FnOnce()) -> String {
    words_of(catch_unwind(AssertUnwindSafe(check)).expect_err("the check sees nothing").as_ref())
}

/// A host whose devices `web` holds, and the record of that.
fn with_web() -> (Host, Web, PathBuf) {
    let host = host();
    host.bundle("web", ALL);
    assert!(run(&mut create(&host, "web")).status.success());
    let web = Web { id: "web".into(), dir: host.path("bundles/web") };
    assert_held(&host, &web);
    let record = fs::read_dir(host.run_dir().join("leases")).unwrap().next().unwrap();
    (host, web, record.unwrap().path())
}

#[test]
fn a_live_container_without_a_record() {
    needs_root!();
    let (host, web, record) = with_web();
    fs::remove_file(record).unwrap();
    assert!(said_by(|| assert_held(&host, &web)).contains("has a record"));
    // The low-level runtime sees that the devices are given again.
    assert!(said_by(|| assert_all_free(&host)).contains("is not free"));
}

#[test]
fn a_record_that_outlives_its_holder() {
    needs_root!();
    let (host, web, record) = with_web();
    kill(web.pid().unwrap());
    let own = proc::describe(std::process::id().cast_signed(), &Default::default()).unwrap();
    let mut lease: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    lease["owner"] = serde_json::to_value(own).unwrap();
    fs::write(&record, lease.to_string()).unwrap();
    assert!(said_by(|| assert_all_free(&host)).contains("a leak"));
    // And one that nothing can be read of.
    fs::write(&record, "{").unwrap();
    assert!(said_by(|| assert_all_free(&host)).contains("corrupt-lease"));
}

#[test]
fn a_spec_that_is_neither_old_nor_whole() {
    needs_root!();
    let (_host, web, _) = with_web();
    let whole = web.spec();
    assert_as_before_or_whole(&whole, b"before");
    said_by(|| assert_as_before_or_whole(&whole[..whole.len() - 2], b"before"));
    said_by(|| assert_as_before_or_whole(b"", b"before"));
    for part in ["hooks", "linux"] {
        let mut spec: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        spec.as_object_mut().unwrap().remove(part);
        said_by(|| assert_as_before_or_whole(spec.to_string().as_bytes(), b"before"));
    }
}

#[test]
fn a_file_that_is_left() {
    needs_root!();
    let host = host();
    assert_no_temporary_file(&host.run_dir());
    fs::create_dir_all(host.run_dir().join("leases")).unwrap();
    fs::write(host.run_dir().join("leases/.x.json.1.tmp"), "").unwrap();
    assert!(said_by(|| assert_no_temporary_file(&host.run_dir())).contains(".x.json.1.tmp"));
}

#[test]
fn a_failure_without_a_word_and_a_hang() {
    let ended = |status, stderr: &str| Ended {
        status: ExitStatus::from_raw(status),
        stderr: stderr.to_owned(),
    };
    assert_told(&ended(1 << 8, "gpulease: no"), false);
    said_by(|| assert_told(&ended(1 << 8, ""), false));
    said_by(|| assert_told(&ended(101 << 8, "thread 'main' panicked at src/lib.rs:1:1"), true));
    let mut hangs = Command::new("sleep");
    let limit = Duration::from_millis(50);
    assert_eq!(said_by(|| drop(run_within(hangs.arg("60"), limit))), "it hangs");
}

#[test]
fn a_rename_that_was_only_pretended() {
    needs_root!();
    let scene = Scene::new(Verb::Create);
    scene.act(None);
    // Of the record, and of the spec. The first is that of the dead container's.
    for nth in [2, 4] {
        let case = Case { name: "rename".into(), nth, fault: Fault::Pretence };
        assert_ne!(violation(&scene, &case).expect("a violation"), NOT_MADE);
    }
    let never = Case { name: "rename".into(), nth: 99, fault: Fault::Pretence };
    assert_eq!(violation(&scene, &never).as_deref(), Some(NOT_MADE));
}

#[test]
fn the_calls_of_a_log_and_those_under_the_lock() {
    let log = "7 execve(\"/x\", [], 0x1) = 0\n\
               7 openat(AT_FDCWD, \"/lock\") = 3\n\
               7 flock(3, LOCK_EX|LOCK_NB) = 0\n\
               7 openat(AT_FDCWD, \"/record\") = 4\n\
               7 close(4) = 0\n\
               7 close(3) = 0\n\
               7 pipe2([5, 6], O_CLOEXEC) = 0\n\
               7 clone(child_stack=NULL <unfinished ...>\n\
               8 close(5 <unfinished ...>\n\
               7 <... clone resumed>) = 8\n\
               8 execve(\"/y\", [], 0x1 <detached ...>\n\
               7 openat(AT_FDCWD, \"/z\") = 4\n\
               7 +++ exited with 0 +++\n";
    let found = calls(log);
    let shown = |calls: &[Call]| -> Vec<String> {
        calls.iter().map(|call| format!("{}{}", call.name, call.nth)).collect()
    };
    assert_eq!(
        shown(&found),
        [
            "clone1", "close1", "close2", "execve1", "flock1", "openat1", "openat2", "openat3",
            "pipe21"
        ]
    );
    let locked: Vec<Call> = found.iter().filter(|call| call.locked).cloned().collect();
    assert_eq!(shown(&locked), ["close1", "close2", "flock1", "openat2"]);
    let errors: Vec<Call> = found.iter().filter(|c| c.can(Fault::Error("EIO"))).cloned().collect();
    assert_eq!(errors.len(), found.len() - 2, "the lock and an end of the pipe");
    assert!(found.iter().all(|call| call.can(Fault::Kill)));
    let mut sample = shown(&sample(&found));
    sample.sort();
    assert_eq!(sample, ["clone1", "close1", "close2", "execve1", "flock1", "openat2", "pipe21"]);
}
