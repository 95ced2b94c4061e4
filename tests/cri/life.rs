//! Ends of all kinds: of containers, pods, containerd-shims and of containerd itself.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{HANDLER, Lab, Pod, V2};
use crate::messages::{RemovePodSandboxRequest, StopPodSandboxRequest, namespace, state};
use crate::support::engine::{is_dead, wait_for};
use crate::support::{kill, ok, suite};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

const ALL: [(&str, &str); 1] = [("main.gpulease/count", "all")];

/// A pod whose only container holds every GPU.
fn all(lab: &Lab, name: &str) -> (Pod, String) {
    let pod = lab.pod(name, HANDLER, &ALL);
    let id = lab.start(&pod, "main");
    lab.assert_held(&[&id]);
    (pod, id)
}

#[test]
fn what_a_kubelet_ends_is_free() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let (pod, id) = all(&lab, "stopped");
    lab.stop(&id);
    lab.assert_no_lease("StopContainer");
    assert_eq!(lab.status(&id).state, state::EXITED);
    lab.remove(&id);
    lab.remove_pod(&pod);

    let (pod, _) = all(&lab, "pod-stopped");
    lab.stop_pod(&pod);
    lab.assert_no_lease("StopPodSandbox");
    lab.remove_pod(&pod);

    // Removed as it runs.
    let (pod, id) = all(&lab, "removed");
    lab.remove(&id);
    lab.assert_no_lease("RemoveContainer");
    lab.remove_pod(&pod);

    let (pod, _) = all(&lab, "pod-removed");
    lab.ok(&RemovePodSandboxRequest { pod_sandbox_id: pod.id });
    lab.assert_no_lease("RemovePodSandbox");

    // Of its own.
    let pod = lab.pod("ended", HANDLER, &ALL);
    let mut main = lab.container("main");
    main.command = ["sh", "-c", "exit 3"].map(str::to_owned).to_vec();
    let id = lab.start_as(&pod, main);
    wait_for("it has ended", || lab.status(&id).state == state::EXITED);
    assert_eq!(lab.status(&id).exit_code, 3);
    lab.assert_no_lease("an end of its own");
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn a_program_that_is_not_there_leaves_no_lease() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let pod = lab.pod("nope", HANDLER, &ALL);
    let mut main = lab.container("main");
    main.command = vec!["/nope".to_owned()];
    let id = lab.create(&pod, main);
    assert!(lab.refused(&id).contains("/nope"));
    lab.assert_no_lease("a failed start");
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn killing_containerds_shim_frees_no_live_lease() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let (pod, id) = all(&lab, "web");
    let (sandbox, init) = (lab.sandbox_pid(&pod), lab.pid(&id));
    kill(lab.shim(&pod));
    wait_for("containerd has ended the sandbox", || is_dead(sandbox));
    if suite() == "sid" {
        // containerd 2.1 lets go of the pod's containers and takes them for ended, whatever their
        // runtime: with it even the removal of the pod does not end them.
        wait_for("containerd takes it for ended", || lab.status(&id).state == state::EXITED);
        lab.remove_pod(&pod);
        assert!(!is_dead(init));
        let late = lab.pod("late", HANDLER, &ALL);
        let text = lab.refused(&lab.create(&late, lab.container("main")));
        assert!(text.contains(&format!("of container {}", &id[..12])), "{text}");
        lab.remove_pod(&late);
        lab.assert_held_by(&BTreeMap::from([(id, init)]));
        kill(init);
    } else {
        // containerd 1.7 ends them by `gpulease-runtime delete --force`.
        wait_for("its init is dead", || is_dead(init));
        remove_in_the_end(&lab, &pod);
    }
    let (next, _) = all(&lab, "next");
    lab.remove_pod(&next);
    lab.assert_no_lease("the removal of its pod");

    // Container and containerd-shim at once.
    let (pod, id) = all(&lab, "again");
    let (shim, init) = (lab.shim(&pod), lab.pid(&id));
    kill(init);
    kill(shim);
    let (next, _) = all(&lab, "last");
    lab.remove_pod(&next);
    remove_in_the_end(&lab, &pod);
    lab.assert_all_free(4);
}

/// As a kubelet, which asks again until it is done: containerd has to notice first.
fn remove_in_the_end(lab: &Lab, pod: &Pod) {
    wait_for("the pod can be removed", || {
        let stopped = lab.call(&StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() });
        let removed = RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
        stopped.is_ok() && lab.call(&removed).is_ok()
    });
}

#[test]
fn a_killed_container_frees_its_gpu_at_once() {
    let Some(lab) = Lab::new("mixed4") else { return };
    for round in 0..3 {
        let (pod, id) = all(&lab, &format!("web{round}"));
        kill(lab.pid(&id));
        let (next, held) = all(&lab, &format!("next{round}"));
        wait_for("containerd has noticed", || lab.status(&id).state == state::EXITED);
        lab.remove_pod(&pod);
        lab.assert_held(&[&held]);
        lab.remove_pod(&next);
        lab.assert_no_lease("the removal of its pod");
    }
    lab.assert_all_free(4);
}

#[test]
fn a_containerd_that_is_killed_and_comes_back() {
    let Some(mut lab) = Lab::new("mixed4") else { return };
    let nvidia = [("main.gpulease/vendor", "nvidia")];
    let pod = lab.pod("web", HANDLER, &nvidia);
    let id = lab.start(&pod, "main");
    let (lease, init) = (lab.lease(&id), lab.pid(&id));
    lab.restart_containerd();
    assert_eq!(lab.lease(&id), lease, "the lease is the very same");
    assert_eq!(lab.pid(&id), init);
    lab.assert_granted(&id);
    lab.assert_held(&[&id]);
    let rest = lab.pod("rest", HANDLER, &[("main.gpulease/count", "all")]);
    let late = lab.create(&rest, lab.container("main"));
    assert!(lab.refused(&late).contains("no-capacity"));
    lab.stop(&id);
    lab.assert_no_lease("StopContainer");
    lab.remove_pod(&pod);
    lab.remove_pod(&rest);
    lab.assert_all_free(4);
}

#[test]
fn a_pod_with_one_process_namespace() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let annotations = HashMap::from([("main.gpulease/vendor".into(), "nvidia".into())]);
    let pod = lab.pod_with("shared", HANDLER, annotations, namespace::POD);
    let main = lab.start(&pod, "main");
    lab.assert_granted(&main);
    // Its init is not process 1 there, so its end does not end the others.
    lab.exec(&main, "setsid sleep 1000 >/dev/null 2>&1 & sleep 0.1");
    let init = lab.pid(&main);
    let left = lab.cgroup_processes(&main);
    assert!(left.contains(&init) && left.len() == 2, "{left:?}");
    lab.stop(&main);
    lab.assert_no_lease("StopContainer ends all of them");
    assert!(left.iter().all(|pid| is_dead(*pid)), "{left:?}");
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn as_the_default_handler_too() {
    // containerd 2 reads a file of version 2 as well.
    let mixed4 = gpulease::door::inventory::profiles::find("mixed4").unwrap();
    let Some(mut lab) = Lab::with(mixed4.toml, V2) else { return };
    let install = ["install", "containerd", "--default-runtime"];
    ok(lab.command("/opt/gpulease/bin/gpulease").args(install).output().unwrap());
    lab.restart_containerd();
    for (name, handler) in [("default", ""), ("named", HANDLER)] {
        let pod = lab.pod(name, handler, &[("main.gpulease/vendor", "nvidia")]);
        let id = lab.start(&pod, "main");
        lab.assert_granted(&id);
        let plain = lab.start(&pod, "plain");
        lab.assert_without(lab.pid(&plain));
        lab.remove_pod(&pod);
    }
    // As doctor has it, nothing is missing there.
    let doctor = lab.command("/opt/gpulease/bin/gpulease").args(["doctor", "--json"]).output();
    let told: Value = serde_json::from_slice(&doctor.unwrap().stdout).unwrap();
    let checks = told["checks"].as_array().unwrap().iter();
    let of_engines: Vec<&Value> =
        checks.filter(|check| check["code"].as_str().unwrap().starts_with("engine")).collect();
    assert!(!of_engines.is_empty() && of_engines.iter().all(|check| check["level"] == "ok"));
    let pod = lab.pod("runc", "runc", &[("main.gpulease/count", "1")]);
    let id = lab.start(&pod, "main");
    lab.assert_without(lab.pid(&id));
    lab.remove_pod(&pod);
    lab.assert_all_free(4);
}

#[test]
fn what_uninstall_leaves_serves_what_is_there() {
    let Some(mut lab) = Lab::new("mixed4") else { return };
    let pod = lab.pod("before", HANDLER, &[("main.gpulease/vendor", "nvidia")]);
    let id = lab.start(&pod, "main");
    let uninstall = ["uninstall", "containerd"];
    ok(lab.command("/opt/gpulease/bin/gpulease").args(uninstall).output().unwrap());
    lab.restart_containerd();
    // Its containers live on and can be ended; there can be no others.
    lab.assert_held(&[&id]);
    lab.remove_pod(&pod);
    lab.assert_no_lease("RemovePodSandbox");
    let plain = lab.pod("plain", "runc", &[]);
    lab.start(&plain, "main");
    lab.remove_pod(&plain);
}
