//! All or nothing: refused, cut off, killed, late.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::podman::{ALL, Container, ONE, Podman, assert_one_grant};
use crate::support::engine::is_dead;
use crate::support::{HOOK, Host, STUB, eventually, needs_root, ok, stderr};
use gpulease::door::model::lease::LeaseState;
use std::fs;
use std::path::Path;
use std::process::Command;

#[track_caller]
fn assert_nothing_left(host: &Host, container: &Container, why: &str) {
    assert!(host.records().is_empty(), "{why}: {:?}", host.records());
    let bundles = host.run_dir().join("bundles");
    let left = fs::read_dir(bundles).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{why}: what was to be undone in {}", container.id);
}

#[test]
fn a_refusal_has_the_status_of_its_code() {
    needs_root!();
    let host = Host::new("mixed4");
    let mut podman = Podman::new();
    ok(host.start("holder", ALL));
    let mut refuse = |annotations, status, code: &str| {
        let web = Container::new(&host, annotations);
        let said = podman.call(&host, &web);
        assert_eq!((said.status, said.stdout.len()), (status, 0), "{code}: {}", said.stderr);
        assert!(said.stderr.starts_with(&format!("gpulease: {code}: ")), "{}", said.stderr);
        assert_eq!(said.stderr.trim_end().lines().count(), 1);
        assert!(web.lease(&host).is_none());
    };
    refuse(ONE, 3, "no-capacity");
    refuse(&[("gpulease/model", "no such thing")], 3, "no-match");
    refuse(&[("gpulease/cuont", "1")], 2, "bad-request");
    refuse(&[("gpulease/wait", "5s")], 2, "not-supported-yet");
    host.configure(Path::new(STUB), "no_such_key = 1");
    refuse(ONE, 4, "bad-config");
    host.configure(Path::new(STUB), "");
    let lock = host.run_dir().join("lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    refuse(ONE, 5, "state-unavailable");
}

#[test]
fn what_cannot_be_told_is_not_guessed() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let mut refuse = |container: &Container, after: &str, status, text: &str| {
        let said = podman.call_with(&host, container, "", &format!("{after} >out.json"));
        assert_eq!((said.status, said.stdout.len()), (status, 0), "{text}: {}", said.stderr);
        assert!(said.stderr.contains(text), "{text}: {}", said.stderr);
        assert_nothing_left(&host, container, text);
    };
    // A spec of one container in the directory of another.
    let web = Container::new(&host, ALL);
    let other = Container::new(&host, ONE);
    web.edit(|spec| {
        spec["linux"]["cgroupsPath"] = format!("machine.slice:libpod:{}", other.id).into();
    });
    refuse(&web, "", 1, "linux.cgroupsPath");
    // No container's directory at all.
    let dir = host.bundle("web", ALL);
    let named = Container { id: "0".repeat(64), dir };
    refuse(&named, "", 1, "cannot tell which container");
    // Half a spec that speaks of us.
    let text = fs::read(web.path("config.json")).unwrap();
    fs::write(web.path("config.json"), &text[..text.len() - 9]).unwrap();
    refuse(&web, "", 1, "bad-bundle");
    fs::write(web.path("config.json"), &text).unwrap();
    web.edit(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    refuse(&web, "--no-such-option", 4, "unknown option");
    // More than any spec.
    let mut spec = fs::read(web.path("config.json")).unwrap();
    spec.resize((64 << 20) + 1, b' ');
    fs::write(web.path("config.json"), spec).unwrap();
    refuse(&web, "", 1, "larger than 64 MiB");
}

#[test]
fn an_output_that_is_not_taken_is_a_start_that_fails() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, ALL);
    for (output, text) in [
        (">/dev/full", "No space left on device"),
        (">&-", "stdout leads nowhere"),
        (">/dev/null", "stdout leads nowhere"),
        ("| sh -c 'exec <&-; sleep 0.5'", "Broken pipe"),
    ] {
        // The spec is larger than a pipe holds.
        web.edit(|spec| spec["annotations"]["padding"] = "x".repeat(200_000).into());
        let said = podman.call_with(&host, &web, "", output);
        assert!(said.stderr.contains(text), "{output}: {}", said.stderr);
        assert!(said.status == 1 || output.starts_with('|'), "{output}: {}", said.status);
        assert_nothing_left(&host, &web, output);
    }
}

/// Steps of the hook, in their order. Behind the last three Podman holds the grant.
const STEPS: &[&str] = &[
    "precreate.read",
    "create.locked",
    "store.before-put",
    "store.after-put",
    "create.recorded",
    "bundles.before-put",
    "bundles.after-put",
    "create.before-edit",
    "precreate.handed-over",
    "precreate.written",
    "create.edited",
];
const HANDED_OVER: &[&str] = &["precreate.handed-over", "precreate.written", "create.edited"];

#[test]
fn killed_at_any_step() {
    needs_root!();
    for point in STEPS {
        let host = Host::new("h100x8");
        let mut podman = Podman::new();
        let web = Container::new(&host, ALL);
        let said = podman.call_at(&host, &web, &format!("{point}=kill"));
        assert_eq!(said.status, 128 + 9, "{point} was not reached: {}", said.stderr);
        // The start fails. The service that asked lives on, and has the same container again.
        podman.grant(&host, &web);
        assert_one_grant(&host, &web, LeaseState::Pending);
        // And anybody else, at once or when Podman has ended.
        let web = Container::new(&host, ALL);
        let mut podman = Podman::new();
        ok(host.start("clear", &[]));
        drop_all(&host);
        let said = podman.call_at(&host, &web, &format!("{point}=kill"));
        assert_eq!(said.status, 128 + 9, "{point}");
        if HANDED_OVER.contains(point) {
            assert!(stderr(&host.start("next", ONE)).contains("no-capacity"), "{point}");
            drop(podman);
        }
        ok(host.start("next", ALL));
        assert_eq!(host.leases().len(), 1, "{point}");
    }
}

/// Ends every lease, as if all had ended.
fn drop_all(host: &Host) {
    for lease in host.leases() {
        ok(host.cli(&["release", "--force", lease.id.as_str()]));
    }
}

#[test]
fn podman_dies_between_its_hook_and_its_runtime() {
    needs_root!();
    let host = Host::new("h100x8");
    let mut podman = Podman::new();
    let web = Container::new(&host, ALL);
    podman.grant(&host, &web);
    drop(podman);
    ok(host.start("next", ALL));
    // Its conmon goes on all the same, and the container has no lease any more.
    let late = web.create();
    assert!(stderr(&late).contains("stale-hook"), "{}", stderr(&late));
    assert_eq!(host.leases().len(), 1);
    assert!(host.lease("next").is_some());
}

#[test]
fn a_hook_that_comes_late_does_nothing() {
    needs_root!();
    let host = Host::new("h100x8");
    for point in ["precreate.read", "bundles.before-put", "create.before-edit"] {
        let (mut first, mut second) = (Podman::new(), Podman::new());
        let web = Container::new(&host, ALL);
        first.begin(&host, &web, &format!("GPULEASE_FAILPOINT={point}=stop"), ">out.json");
        let stopped = || {
            let children = format!("/proc/{0}/task/{0}/children", first.pid());
            let pids = fs::read_to_string(children).unwrap_or_default();
            let pid = pids.split_whitespace().next()?.parse::<i32>().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.contains(") T ").then_some(pid)
        };
        eventually(|| stopped().is_some());
        let hook = stopped().unwrap();
        // While it is at it, nobody else starts this container.
        let has_lease = point != "precreate.read";
        let twin = Container { id: web.id.clone(), dir: web.dir.clone() };
        if has_lease {
            let said = second.call(&host, &twin);
            assert_eq!(said.status, 7, "{}", said.stderr);
            let _ = fs::remove_file(web.path("status"));
        }
        // Its podman dies, and it goes on.
        drop(first);
        let err = web.path("err");
        fs::write(&err, "").unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook), nix::sys::signal::Signal::SIGCONT)
            .unwrap();
        eventually(|| is_dead(hook));
        assert!(host.leases().is_empty(), "{point}");
        // The next start has it all.
        second.grant(&host, &twin);
        assert_one_grant(&host, &web, LeaseState::Pending);
        drop(second);
        drop_all(&host);
    }
}

#[test]
fn a_user_namespace_is_refused_what_it_asks_for() {
    needs_root!();
    let host = Host::new("h100x8");
    let call = |container: &Container| {
        let config = fs::File::open(container.path("config.json")).unwrap();
        let mut hook = Command::new("unshare");
        hook.args(["--user", "--map-root-user", HOOK, "precreate", "--gpulease-config"]);
        hook.arg(host.config()).current_dir(&container.dir).stdin(config).output().unwrap()
    };
    let web = Container::new(&host, ALL);
    let refused = call(&web);
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(stderr(&refused).contains("rootless-unsupported"), "{}", stderr(&refused));
    assert_nothing_left(&host, &web, "rootless");
    // GPUs that Podman itself gives, by --device or CDI, are asked for, too.
    let given = Container::new(&host, &[]);
    given.edit(|spec| {
        let node =
            serde_json::json!({"path": "/dev/nvidia0", "type": "c", "major": 1219, "minor": 0});
        spec["linux"]["devices"] = serde_json::json!([node]);
    });
    assert!(stderr(&call(&given)).contains("rootless-unsupported"));
    let plain = Container::new(&host, &[("other.gpulease/count", "1")]);
    plain.edit(|spec| {
        spec["annotations"]["io.kubernetes.cri.container-name"] = "web".into();
    });
    let text = fs::read(plain.path("config.json")).unwrap();
    assert_eq!(ok(call(&plain)).stdout, text);
}
