//! Which containers of a pod get what, and what the others see of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{HANDLER, Lab};
use crate::messages::*;
use crate::support::engine::REAL;
use gpulease::door::model::lease::Sharing;
use std::fs;
use std::path::Path;

const ONE: [(&str, &str); 1] = [("gpulease/count", "1")];
const NVIDIA: [(&str, &str); 2] = [("gpulease/count", "1"), ("gpulease/vendor", "nvidia")];

#[test]
fn the_pods_request_is_for_containers_not_the_sandbox() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let pod = lab.pod("one", HANDLER, &NVIDIA);
    assert!(lab.records().is_empty(), "the sandbox has its pod's annotations and no lease");
    lab.assert_without(lab.sandbox_pid(&pod));
    let mut main = lab.container("main");
    // What an image or a Pod says of GPUs is not what its container gets.
    main.envs = vec![KeyValue { key: "NVIDIA_VISIBLE_DEVICES".into(), value: "all".into() }];
    let main = lab.start_as(&pod, main);
    lab.assert_granted(&main);
    // Each container has the request: this is the second one's own.
    let other = lab.start(&pod, "other");
    lab.assert_granted(&other);
    assert_ne!(lab.device(&main), lab.device(&other));
    lab.assert_held(&[&main, &other]);
    lab.assert_without(lab.sandbox_pid(&pod));
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn a_request_can_be_narrowed_to_one_container() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let narrowed = [
        ("main.gpulease/count", "1"),
        ("main.gpulease/vendor", "nvidia"),
        ("share.gpulease/compute", "0.25"),
        ("share.gpulease/vendor", "nvidia"),
    ];
    let pod = lab.pod("narrow", HANDLER, &narrowed);
    let plain = lab.start(&pod, "plain");
    lab.assert_without(lab.pid(&plain));
    assert!(lab.records().is_empty());
    assert!(!lab.path("/run/gpulease").exists(), "no state for containers without a GPU");
    let main = lab.start(&pod, "main");
    lab.assert_granted(&main);
    let share = lab.start(&pod, "share");
    lab.assert_granted(&share);
    let of_share = &lab.lease(&share).devices[0];
    assert_eq!((of_share.milli.0, of_share.sharing), (250, Sharing::Shared));
    lab.assert_held(&[&main, &share]);
    // Not even by an exec does the one that asked for nothing see any of it.
    let env = lab.exec_env(&plain);
    assert!(!env.keys().any(|key| key.contains("VISIBLE_DEVICES")), "{env:?}");
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn a_containers_own_annotations_count() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let pod = lab.pod("own", HANDLER, &[]);
    let mut main = lab.container("main");
    // As a device plugin could put them there.
    for (key, value) in [("gpulease/count", "1"), ("gpulease/vendor", "nvidia")] {
        main.annotations.insert(key.to_owned(), value.to_owned());
    }
    let main = lab.start_as(&pod, main);
    lab.assert_granted(&main);
    let mut fraction = lab.container("fraction");
    for (key, value) in [
        ("kaiwo.ai/gpu-fraction", "0.5"),
        ("kaiwo.ai/gpu-memory", "4000"),
        ("kaiwo.ai/gpu-sharing", "true"),
    ] {
        fraction.annotations.insert(key.to_owned(), value.to_owned());
    }
    let fraction = lab.start_as(&pod, fraction);
    let share = &lab.lease(&fraction).devices[0];
    assert_eq!((share.milli.0, share.memory_bytes.unwrap().0), (500, 4000 << 20));
    let plain = lab.start(&pod, "plain");
    lab.assert_without(lab.pid(&plain));
    lab.assert_held(&[&main, &fraction]);
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn one_too_many_is_told_who_holds_what() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let pod =
        lab.pod("full", HANDLER, &[("first.gpulease/count", "all"), ("late.gpulease/count", "1")]);
    let first = lab.start(&pod, "first");
    let late = lab.create(&pod, lab.container("late"));
    let text = lab.refused(&late);
    let reason = "gpulease: no-capacity: 1 device requested, 0 of 4 available";
    let lease = lab.lease(&first);
    let holder = format!("lease {} of container {} (containerd)", lease.id, &first[..12]);
    assert!(text.contains(reason) && text.contains(&holder), "{text}");
    assert!(text.contains("; hint: ") && text.trim_end().lines().count() == 1, "{text}");
    // A kubelet puts these into the Pod's status.
    let status = lab.status(&late);
    assert_eq!((status.state, status.exit_code), (state::EXITED, 128), "{status:?}");
    assert_eq!(status.reason, "StartError");
    assert!(status.message.contains(reason), "{}", status.message);
    assert!(!lab.bundle(&late).exists());
    lab.assert_held(&[&first]);
    assert_eq!(lab.records().len(), 1);
    // A kubelet tries with a new container in the same pod.
    let mut again = lab.container("late");
    again.metadata.as_mut().unwrap().attempt = 1;
    let again = lab.create(&pod, again);
    lab.refused(&again);
    lab.remove(&again);
    lab.stop(&first);
    let mut again = lab.container("late");
    again.metadata.as_mut().unwrap().attempt = 2;
    let again = lab.start_as(&pod, again);
    lab.assert_held(&[&again]);
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn words_that_are_not_understood_are_refused() {
    let Some(lab) = Lab::new("mixed4") else { return };
    for (number, (key, value, reason)) in [
        ("gpulease/count", "9", "no-match"),
        ("gpulease/cuont", "1", "did you mean `gpulease/count`"),
        ("main.gpulease/count", "some", "main.gpulease/count"),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = lab.pod(&format!("typo{number}"), HANDLER, &[(key, value)]);
        let id = lab.create(&pod, lab.container("main"));
        let text = lab.refused(&id);
        assert!(text.contains(reason), "{key}: {text}");
        lab.remove_pod(&pod);
    }
    lab.assert_all_free(4);
}

#[test]
fn another_handler_knows_nothing_of_gpulease() {
    let Some(lab) = Lab::new("mixed4") else { return };
    for (name, handler) in [("runc", "runc"), ("default", "")] {
        let pod = lab.pod(name, handler, &ONE);
        let id = lab.start(&pod, "main");
        lab.assert_without(lab.pid(&id));
        assert!(!lab.path("/run/gpulease").exists(), "{name}");
        lab.remove_pod(&pod);
    }
    let request = RunPodSandboxRequest {
        config: Some(PodSandboxConfig::default()),
        runtime_handler: "gpulese".to_owned(),
    };
    assert!(lab.call(&request).is_err(), "a handler that nobody made");
}

#[test]
fn a_container_without_a_request_is_untouched() {
    let Some(mut lab) = Lab::new("mixed4") else { return };
    // In the place of the runtime that was installed, the one that keeps config.json as it came.
    let file = lab.path("/etc/containerd/config.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("bin/gpulease-runtime", "bin/keeping")).unwrap();
    lab.restart_containerd();
    let annotations = [("main.gpulease/count", "1"), ("main.gpulease/vendor", "nvidia")];
    let pod = lab.pod("plain", HANDLER, &annotations);
    let plain = lab.start(&pod, "plain");
    let read = |id: &str, file: &str| fs::read(lab.bundle(id).join(file)).unwrap();
    for id in [&pod.id, &plain] {
        assert_eq!(read(id, "before.json"), read(id, "config.json"));
    }
    assert!(!lab.path("/run/gpulease").exists(), "no state for containers without a GPU");
    let main = lab.start(&pod, "main");
    assert_ne!(read(&main, "before.json"), read(&main, "config.json"));
    // Nor does a broken configuration keep one from starting.
    lab.configure("no_such_key = 1");
    lab.start(&pod, "other");
    let mut again = lab.container("main");
    again.metadata.as_mut().unwrap().attempt = 1;
    let text = lab.refused(&lab.create(&pod, again));
    assert!(text.contains("bad-config") && text.contains("no_such_key"), "{text}");
    lab.assert_granted(&main);
    lab.remove_pod(&pod);
    lab.assert_no_lease("releasing needs no configuration");
}

#[test]
fn what_a_device_plugin_gives_is_leased_as_it_stands() {
    let Some(lab) = Lab::with_devices(REAL) else { return };
    let pod = lab.pod("plugin", HANDLER, &[]);
    let with_fuse = |name: &str| {
        let mut config = lab.container(name);
        config.devices = vec![Device {
            container_path: "/dev/fuse".to_owned(),
            host_path: "/dev/fuse".to_owned(),
            permissions: "rw".to_owned(),
        }];
        config
    };
    let main = lab.start_as(&pod, with_fuse("main"));
    assert_eq!(lab.device(&main), 0);
    lab.exec(&main, "exec 3<>/dev/fuse");
    // A kubelet changes the resources of what runs, and a device goes on to be opened.
    lab.ok(&UpdateContainerResourcesRequest {
        container_id: main.clone(),
        linux: Some(LinuxContainerResources { cpu_shares: 512 }),
    });
    let cgroup = lab.lease(&main).cgroup.unwrap().replace("/devices/", "/cpu/");
    assert_eq!(fs::read_to_string(Path::new(&cgroup).join("cpu.shares")).unwrap(), "512\n");
    lab.exec(&main, "exec 3<>/dev/fuse");
    // What a plugin gives twice is held once.
    let second = lab.create(&pod, with_fuse("second"));
    let text = lab.refused(&second);
    let holder = format!("of container {}", &main[..12]);
    assert!(text.contains("no-capacity") && text.contains(&holder), "{text}");
    lab.remove_pod(&pod);
    lab.assert_all_free(2);
}
