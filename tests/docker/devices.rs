//! Shares, privileged containers, and real device nodes, which the kernel enforces.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{Lab, ONE, stdout};
use crate::support::engine::REAL;
use crate::support::{ok, stderr};
use gpulease::door::model::lease::Sharing;

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
fn a_device_from_the_engine_is_leased_as_it_is() {
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
fn a_privileged_container_gets_only_whole_devices() {
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

/// The ways to `/dev/fuse` beside its node, and how a process of the container then opens it.
const WAYS: [(&[&str], &str); 4] = [
    (&["--device-cgroup-rule", "c 10:229 rwm"], "mknod /tmp/x c 10 229 && exec 3<>/tmp/x"),
    (&["--device-cgroup-rule", "c 10:229 rwm", "-v", "/dev/fuse:/dev/fuse"], "exec 3<>/dev/fuse"),
    (&["--device-cgroup-rule", "c 10:* rmw", "-v", "/dev:/host"], "exec 3<>/host/fuse"),
    (&["--device", "/dev/fuse:/dev/else"], "exec 3<>/dev/else"),
];

#[test]
fn a_held_device_is_not_opened_in_any_way() {
    let Some(lab) = Lab::with(REAL, true) else { return };
    lab.start("holder", &[&ONE[..], &FUSE].concat());
    for (options, _) in WAYS {
        let text = lab.refused("thief", options);
        let holder = format!("of container {}", &lab.id("holder")[..12]);
        assert!(text.contains("no-capacity") && text.contains(&holder), "{options:?}: {text}");
        assert!(text.contains("from the container's own device nodes, device rules"), "{text}");
        lab.ok(&["rm", "thief"]);
    }
    // What the kernel closes costs nothing.
    for options in [&["-v", "/dev:/host"][..], &["--device-cgroup-rule", "c 42:* rmw"]] {
        lab.start("other", options);
        assert!(lab.lease("other").is_none(), "{options:?}");
        let script = "[ -e /host/fuse ] || mknod /host/fuse c 10 229; exec 3<>/host/fuse";
        let output = lab.exec("other", &format!("mkdir -p /host; {script}"));
        assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
        lab.ok(&["rm", "-f", "other"]);
    }
    lab.ok(&["rm", "-f", "holder"]);
    for (options, script) in WAYS {
        lab.start("holder", options);
        assert_eq!(lab.device("holder"), 0, "{options:?}");
        ok(lab.exec("holder", script));
        assert!(lab.refused("late", &[&ONE[..], &FUSE].concat()).contains("no-capacity"));
        lab.ok(&["rm", "-f", "holder", "late"]);
    }
    lab.assert_all_free(2);
}

/// A node of NVIDIA's number without a driver.
const STAND_IN: &str = r#"
[[device]]
uuid = "GPU-00000000-0000-0000-0000-000000000195"
vendor = "nvidia"
model = "STAND-IN"
memory_mib = 1000
pci = "0000:01:00.0"
healthy = true
nodes = ["/dev/nvidia0"]
"#;

#[test]
fn a_gpu_under_another_name_needs_a_configuration() {
    let Some(lab) = Lab::with(STAND_IN, true) else { return };
    ok(lab.command("mknod").args(["/dev/nvidia0", "c", "195", "0"]).output().unwrap());
    let renamed = ["--device", "/dev/nvidia0:/dev/x"];
    let ruled = ["--device-cgroup-rule", "c 195:* rmw"];
    let mounted = ["--device-cgroup-rule", "c 195:0 rw", "-v", "/dev/nvidia0:/dev/x"];
    lab.start("holder", &ONE);
    lab.configure("] broken");
    for options in [&renamed[..], &ruled, &mounted] {
        let text = lab.refused("thief", options);
        assert!(text.contains("bad-config") && text.contains("knows as a GPU"), "{text}");
        lab.ok(&["rm", "thief"]);
    }
    for options in [&["--device", "/dev/fuse:/dev/x"][..], &["--device-cgroup-rule", "c 42:* rmw"]]
    {
        lab.start("other", options);
        lab.ok(&["rm", "-f", "other"]);
    }
    lab.configure("");
    assert!(lab.refused("thief", &renamed).contains("no-capacity"));
    lab.ok(&["rm", "-f", "holder", "thief"]);
    for options in [&renamed[..], &ruled, &mounted] {
        lab.start("thief", options);
        assert_eq!(lab.device("thief"), 0, "{options:?}");
        lab.ok(&["rm", "-f", "thief"]);
    }
    lab.assert_all_free(1);
}
