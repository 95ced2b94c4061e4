//! Shares, privileged containers, and real device nodes, which the kernel enforces.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, ONE, stdout};
use crate::support::engine::REAL;
use crate::support::{ok, stderr};
use gpulease::model::lease::Sharing;

const FUSE: [&str; 2] = ["--annotation", "gpulease/model=FUSE"];

#[test]
fn two_halves_fit_on_one_and_the_third_goes_elsewhere() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let half = [
        "--annotation",
        "kaiwo.ai/gpu-fraction=0.5",
        "--annotation",
        "kaiwo.ai/gpu-memory=4000",
        "--annotation",
        "kaiwo.ai/gpu-sharing=true",
        "--annotation",
        "kaiwo.ai/gpu-isolation=mps",
    ];
    for name in ["c1", "c2", "c3"] {
        lab.start(name, &half);
        let lease = lab.lease(name).unwrap();
        let share = &lease.devices[0];
        assert_eq!((share.milli.0, share.sharing), (500, Sharing::Shared));
        assert_eq!(share.memory_bytes.unwrap().0, 4000 << 20);
    }
    assert_eq!(lab.device("c1"), lab.device("c2"));
    assert_ne!(lab.device("c1"), lab.device("c3"));
    // Both see the same device, and it is not to be had whole.
    let uuid = |name| lab.exec_env(name)["NVIDIA_VISIBLE_DEVICES"].clone();
    assert_eq!(uuid("c1"), uuid("c2"));
    let whole = format!("gpulease/devices={}", lab.device("c1"));
    assert!(lab.refused("whole", &["--annotation", &whole]).contains("no-capacity"));
    lab.assert_sound();
    // A share that is given back can be had again.
    lab.ok(&["rm", "-f", "c2"]);
    lab.start("c4", &half);
    lab.assert_sound();
    lab.ok(&["rm", "-f", "c1", "c3", "c4"]);
    lab.assert_all_free(8);
}

#[test]
fn the_kernel_lets_only_the_holder_open_the_device() {
    let Some(lab) = Lab::with(REAL, true) else { return };
    lab.start("holder", &[&ONE[..], &FUSE].concat());
    ok(lab.exec("holder", "exec 3<>/dev/fuse"));
    let listing = stdout(&ok(lab.exec("holder", "ls -ln /dev/fuse")));
    assert!(listing.contains("10, 229"), "{listing}");
    lab.start("other", &[]);
    // A container may make nodes (CAP_MKNOD is Docker's default), but not open them.
    for (name, node, numbers) in
        [("other", "fuse", "10 229"), ("other", "kmsg", "1 11"), ("holder", "kmsg", "1 11")]
    {
        let script = format!("mknod /tmp/{node} c {numbers} && echo made && exec 3>/tmp/{node}");
        let output = lab.exec(name, &script);
        assert_eq!(stdout(&output), "made\n", "{}", stderr(&output));
        assert!(!output.status.success(), "{name} opened {node}");
        assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
    }
    // The one that gets it next can.
    lab.ok(&["rm", "-f", "holder"]);
    lab.start("next", &FUSE);
    ok(lab.exec("next", "exec 3<>/dev/fuse"));
    lab.assert_sound();
}

#[test]
fn a_device_that_the_engine_gives_is_leased_as_it_stands() {
    let Some(lab) = Lab::with(REAL, true) else { return };
    let fuse = ["--device", "/dev/fuse"];
    lab.start("first", &fuse);
    assert_eq!(lab.device("first"), 0);
    ok(lab.exec("first", "exec 3<>/dev/fuse"));
    for options in [&fuse[..], &["--device", "/dev/fuse:/dev/else"], &FUSE] {
        let text = lab.refused("second", options);
        let holder = format!("of container {}", &lab.id("first")[..12]);
        assert!(text.contains("no-capacity") && text.contains(&holder), "{text}");
        lab.ok(&["rm", "second"]);
    }
    // A device that is no GPU is none of gpulease's business.
    lab.start("full", &["--device", "/dev/full:/dev/x"]);
    assert!(lab.lease("full").is_none());
    lab.ok(&["rm", "-f", "first"]);
    lab.start("second", &["--device", "/dev/fuse:/dev/else"]);
    assert_eq!(lab.device("second"), 0);
    // What was asked for by annotation wins over what was given by hand.
    let both = [&fuse[..], &["--annotation", "gpulease/model=KMSG"]].concat();
    lab.start("both", &both);
    assert_eq!(lab.device("both"), 1);
    assert!(!lab.exec("both", "test -e /dev/fuse").status.success());
    ok(lab.exec("both", "exec 3>/dev/kmsg"));
}

#[test]
fn a_privileged_container_is_leased_whole_devices_only() {
    let Some(lab) = Lab::with(REAL, true) else { return };
    let share = ["--privileged", "--annotation", "gpulease/compute=0.5"];
    let text = lab.refused("share", &share);
    assert!(text.contains("policy-denied") && text.contains("privileged"), "{text}");
    lab.start("whole", &[&["--privileged"], &FUSE[..]].concat());
    assert_eq!(lab.device("whole"), 0);
    ok(lab.exec("whole", "exec 3<>/dev/fuse"));
    // Of the other GPU it has no node, though nothing keeps it from making one.
    assert!(!lab.exec("whole", "test -e /dev/kmsg").status.success());
    // And one that asks for nothing is Docker's own affair.
    lab.start("plain", &["--privileged"]);
    assert!(lab.lease("plain").is_none());
    lab.assert_sound();
    lab.ok(&["rm", "-f", "whole", "plain", "share"]);
    lab.assert_all_free(2);
}
