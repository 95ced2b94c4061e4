//! NVIDIA's driver files in containers of a real Podman: by the shim, and by the hook that Podman
//! calls before there is a runtime.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, ONE};
use crate::support::engine::stdout;
use crate::support::images::{self, DEVICES};
use crate::support::{ok, stderr};

#[track_caller]
fn has_the_driver(lab: &Lab, refusal: &str) {
    images::install_driver(lab);
    for (name, shape) in [("debian", images::debian as images::Shape), ("alpine", images::musl)] {
        images::tar(lab, name, shape);
        let path = "ENV=PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        lab.ok(&["import", "--change", path, &format!("/run/{name}.tar"), &format!("{name}:lab")]);
    }
    for more in [&[][..], &["--read-only", "--user", "1000:1000"]] {
        ok(lab.run_by(&[], "web", &[&ONE[..], more].concat(), &["debian:lab", "sleep", "1000"]));
        let text =
            stdout(&lab.exec("web", "nvidia-smi; ls /usr/lib/*/; grep nvidia-smi /proc/mounts"));
        assert!(text.contains("couldn't communicate with the NVIDIA driver"), "{text}");
        assert!(text.contains("libcuda.so.1\n") && text.contains(" ro,"), "{text}");
        ok(lab.podman(&["rm", "-f", "-t", "0", "web"]));
    }
    let output = lab.run_by(&[], "musl", &ONE, &["alpine:lab", "sleep", "1000"]);
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains(refusal), "{text}");
    lab.podman(&["rm", "-f", "musl"]);
    lab.assert_no_lease("nothing is left");
}

#[test]
fn podmans_containers_get_the_drivers_files() {
    let Some(lab) = Lab::with("/usr/bin/crun", DEVICES) else { return };
    has_the_driver(&lab, "libc-mismatch");
}

#[test]
fn so_do_those_without_the_shim() {
    let Some(lab) = Lab::by_precreate_with("crun", DEVICES) else { return };
    // Podman repeats nothing of what its hooks say: that is in syslog.
    has_the_driver(&lab, "executing [gpulease-hook precreate]: exit status 1");
}
