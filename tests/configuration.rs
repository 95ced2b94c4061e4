//! The configuration while it is edited, torn or gone: what is held stays held.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Host, STUB, needs_root, ok, stderr};

const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

#[track_caller]
fn refused(host: &Host, code: &str) -> String {
    let output = host.start("next", ALL);
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains(code), "{code}: {text}");
    text
}

/// The file with another lease directory in it.
fn names(host: &Host, run_dir: &str) -> String {
    let text = fs::read_to_string(host.config()).unwrap();
    text.replace(&format!("{:?}", host.run_dir()), &format!("{:?}", host.path(run_dir)))
}

#[test]
fn a_damaged_configuration_grants_nothing() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let good = fs::read_to_string(host.config()).unwrap();
    let cut_off = &good[..good.find("devices_file").unwrap() + 20];
    for text in ["", "\n", cut_off, "run_dir = [[[", "run_dir = \"run\"\n", "\u{0}\u{0}"] {
        fs::write(host.config(), text).unwrap();
        refused(&host, "bad-config");
        // What has nothing to do with GPUs starts, and what is held is found where it lies.
        let plain = stderr(&host.start("plain", &[]));
        assert!(!plain.contains("gpulease:"), "{plain}");
        if host.pid("plain").is_some() {
            host.kill("plain");
            fs::remove_dir_all(host.path("bundles/plain")).unwrap();
        }
        assert_eq!(host.leases().len(), 1, "{text:?}");
    }
    host.kill("web");
    ok(host.shim().args(["delete", "--force", "web"]).env("STUB_NO_HOOKS", "1").output().unwrap());
    assert_eq!(host.leases().len(), 0, "a delete finds its lease without the configuration");
    fs::write(host.config(), good).unwrap();
    ok(host.start("next", ALL));
}

#[test]
fn another_run_dir_is_refused_while_leases_are_held() {
    needs_root!();
    let host = Host::new("h100x8");
    ok(host.start("web", ALL));
    let good = fs::read_to_string(host.config()).unwrap();
    fs::write(host.config(), names(&host, "run/other")).unwrap();
    let text = refused(&host, "bad-config");
    for place in ["run/gpulease", "run/other", "etc/config.toml", "1 lease is held"] {
        assert!(text.contains(place), "no {place} in: {text}");
    }
    let explained = stderr(&host.cli(&["explain", "count=1"]));
    assert!(explained.contains("bad-config"), "explain says what a start says: {explained}");
    // Another file is another matter: it never granted anything.
    fs::write(host.config(), &good).unwrap();
    assert!(refused(&host, "no-capacity").contains("web"));
    host.kill("web");
    ok(host.delete("web"));
    fs::write(host.config(), names(&host, "run/other")).unwrap();
    ok(host.start("next", ALL));
    fs::write(host.config(), &good).unwrap();
    assert!(refused(&host, "bad-config").contains("run/other"), "and not back either");
}

/// One that writes the file in place, as many tools do: empty for a moment, then half of it.
#[test]
fn a_rewritten_configuration_never_grants_twice() {
    needs_root!();
    let host = Host::new("h100x8");
    host.configure(Path::new(STUB), "[policy]\nrelease_grace = \"1s\"");
    let text = fs::read_to_string(host.config()).unwrap();
    // The lease directory last: without it, the default would do.
    let (first, last): (Vec<&str>, Vec<&str>) =
        text.lines().take_while(|line| !line.starts_with('[')).partition(|l| !l.starts_with("run"));
    let (first, last) = (first.join("\n") + "\n", last.join("\n") + "\n");
    fs::write(host.config(), first.clone() + &last).unwrap();
    ok(host.start("web", ALL));
    let (over, config) = (AtomicBool::new(false), host.config());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                fs::write(&config, &first).unwrap();
                std::thread::yield_now();
                let mut file = fs::File::options().append(true).open(&config).unwrap();
                std::io::Write::write_all(&mut file, last.as_bytes()).unwrap();
            }
        });
        for number in 0..25 {
            let output = host.start("next", ALL);
            let text = stderr(&output);
            let is_sound = text.contains("bad-config") || text.contains("no-capacity");
            over.fetch_or(!is_sound, Ordering::Relaxed);
            assert!(!output.status.success() && is_sound, "{number}: {text}");
        }
        over.store(true, Ordering::Relaxed);
    });
    fs::write(host.config(), first + &last).unwrap();
    assert!(refused(&host, "no-capacity").contains("web"));
}
