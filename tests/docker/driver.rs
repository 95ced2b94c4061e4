//! NVIDIA's driver files in containers of a real Docker, whose images lie in layers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, stdout};
use crate::support::images::{self, DEVICES, Shape};
use crate::support::{ok, stderr};
use std::fs;

const ONE: [&str; 2] = ["--annotation", "gpulease/count=1"];

/// A Docker on a host with the driver's files and nodes, and with these images.
fn lab(images: &[(&str, Shape)]) -> Option<Lab> {
    let lab = Lab::with(DEVICES, true)?;
    images::install_driver(&lab);
    for (name, shape) in images {
        images::tar(&lab, name, *shape);
        let path = "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        lab.ok(&["import", "--change", path, &format!("/run/{name}.tar"), &format!("{name}:lab")]);
    }
    Some(lab)
}

#[test]
fn dockers_containers_get_the_drivers_files() {
    let Some(lab) = lab(&[("debian", images::debian), ("fedora", images::lib64)]) else { return };
    let sleeps = ["sleep", "1000"];
    for image in ["debian:lab", "fedora:lab"] {
        let options: &[&[&str]] = &[
            &[],
            // Whatever the file system and the user.
            &["--read-only", "--user", "1000:1000", "--tmpfs", "/run"],
            &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        ];
        for more in options {
            let options = [&ONE[..], more].concat();
            ok(lab.run_image("web", &options, &[&[image], &sleeps[..]].concat()));
            for _ in 0..2 {
                let said = lab.exec("web", "nvidia-smi; echo \"status $?\"");
                let text = stdout(&said);
                assert!(text.contains("couldn't communicate with the NVIDIA driver"), "{text}");
                assert!(text.contains("status 9"), "{text}");
                let text = stdout(&lab.exec("web", "ls /dev | grep nvidia"));
                assert_eq!(text.split_whitespace().collect::<Vec<_>>().len(), 3, "{text}");
                ok(lab.docker(&["restart", "-t", "0", "web"]));
            }
            ok(lab.docker(&["rm", "-f", "web"]));
        }
    }
    // A user's own file stays.
    fs::write(lab.path("/run/own"), "own\n").unwrap();
    let own = ["-v", "/run/own:/lib/x86_64-linux-gnu/libcuda.so.1:ro"];
    ok(lab.run_image("own", &[&ONE[..], &own].concat(), &[&["debian:lab"], &sleeps[..]].concat()));
    let text = stdout(&lab.exec(
        "own",
        "cat /usr/lib/x86_64-linux-gnu/libcuda.so.1; ls -s /usr/lib/x86_64-linux-gnu/libcuda.so",
    ));
    assert!(text.starts_with("own\n") && text.contains("libcuda.so"), "{text}");
    ok(lab.docker(&["rm", "-f", "own"]));
    // A container that got the files leaves nothing of them in what is made an image of it.
    ok(lab.run_image("web", &ONE, &[&["debian:lab"], &sleeps[..]].concat()));
    ok(lab.docker(&["commit", "web", "committed:lab"]));
    ok(lab.docker(&["rm", "-f", "web"]));
    let sizes = ["run", "--rm", "committed:lab", "sh", "-c", "cat /usr/lib/*/libcuda.so.* | wc -c"];
    assert_eq!(lab.ok(&sizes).trim(), "0");
    // And with such an image it works again.
    ok(lab.run_image("again", &ONE, &[&["committed:lab"], &sleeps[..]].concat()));
    let text = stdout(&lab.exec("again", "nvidia-smi"));
    assert!(text.contains("couldn't communicate with the NVIDIA driver"), "{text}");
    ok(lab.docker(&["rm", "-f", "again"]));
    lab.assert_sound();
}

#[test]
fn docker_says_why_musl_is_refused() {
    let Some(lab) = lab(&[("alpine", images::musl)]) else { return };
    let output = lab.run_image("web", &ONE, &["alpine:lab", "true"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("gpulease: libc-mismatch: the container's C library is musl"), "{text}");
    assert!(lab.leases().is_empty());
    let nodes = [&ONE[..], &["--annotation", "gpulease/capabilities=none"]].concat();
    ok(lab.run_image("nodes", &nodes, &["alpine:lab", "sleep", "1000"]));
    let text = stdout(&lab.exec("nodes", "ls /dev"));
    assert!(text.contains("nvidia0"), "{text}");
}
