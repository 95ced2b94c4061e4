//! A container's life, as Podman's commands lead it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use crate::lab::{ALL, End, Lab, ONE};
use crate::support::engine::{REAL, RUNTIME, env_of, is_dead, stdout, wait_for};
use crate::support::{kill, ok, stderr};

#[test]
fn a_run_gets_a_gpu_and_exec_shows_the_same() {
    for runtime in ["/usr/bin/crun", "/usr/bin/runc"] {
        let Some(lab) = Lab::over(runtime, "h100x8") else { return };
        // By path, by name, and by default.
        let image = ["busybox:lab", "sleep", "1000"];
        ok(lab.run_by(&["--runtime", RUNTIME], "path", &ONE, &image));
        ok(lab.run_by(&["--runtime", "gpulease"], "name", &ONE, &image));
        // An image that wants all of them gets what is leased, and no more.
        ok(lab.run_by(&[], "default", &ONE, &["busybox:allgpus", "sleep", "1000"]));
        let names = ["path", "name", "default"];
        for name in names {
            lab.assert_granted(name);
        }
        lab.assert_held(&names);
        // What the user says for one exec is not the user's to say.
        let asked = lab.podman(&["exec", "-e", "NVIDIA_VISIBLE_DEVICES=all", "name", "env"]);
        let env = env_of(&stdout(&asked));
        assert_eq!(env["NVIDIA_VISIBLE_DEVICES"], lab.exec_env("name")["CUDA_VISIBLE_DEVICES"]);
        lab.remove(&names);
        lab.assert_all_free(8);
    }
}

#[test]
fn in_the_foreground_with_its_output_and_its_status() {
    let Some(lab) = Lab::new("mixed4") else { return };
    let run = ["run", "--rm", "--network", "none", "--cgroup-parent", &lab.cgroup];
    let script = "echo $GPULEASE_SIMULATED; exit 3";
    let output = lab.podman(&[&run, &ONE[..], &["busybox:lab", "sh", "-c", script]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stdout(&output), "true\n");
    assert_eq!(stderr(&output), "");
    lab.assert_no_lease("podman run --rm");
}

#[test]
fn the_kernel_lets_only_the_holder_open_the_device() {
    let Some(lab) = Lab::with("/usr/bin/crun", REAL) else { return };
    let mknod = ["--cap-add", "MKNOD"];
    lab.start("holder", &[&mknod[..], &["--annotation", "gpulease/model=FUSE"]].concat());
    ok(lab.exec("holder", "exec 3<>/dev/fuse"));
    lab.start("other", &mknod);
    for (name, numbers) in [("other", "10 229"), ("other", "1 11"), ("holder", "1 11")] {
        let script =
            format!("rm -f /tmp/x; mknod /tmp/x c {numbers} && echo made && exec 3>/tmp/x");
        let output = lab.exec(name, &script);
        assert_eq!(stdout(&output), "made\n", "{}", stderr(&output));
        assert!(stderr(&output).contains("Operation not permitted"), "{}", stderr(&output));
    }
    // What Podman is told to give is leased as it stands, or refused.
    for options in [["--device", "/dev/fuse"], ["--device-cgroup-rule", "c 10:229 rwm"]] {
        let text = stderr(&lab.run("second", &options));
        assert!(text.contains("no-capacity"), "{options:?}: {text}");
        lab.remove(&["second"]);
    }
    lab.remove(&["holder"]);
    lab.start("ruled", &[&mknod[..], &["--device-cgroup-rule", "c 10:229 rwm"]].concat());
    assert_eq!(lab.device("ruled"), 0);
    ok(lab.exec("ruled", "mknod /tmp/x c 10 229 && exec 3<>/tmp/x"));
    lab.remove(&["ruled"]);
    lab.start("second", &["--device", "/dev/fuse"]);
    assert_eq!(lab.device("second"), 0);
    ok(lab.exec("second", "exec 3<>/dev/fuse"));
}

#[test]
fn a_restart_keeps_the_gpu_and_leaks_none() {
    let Some(lab) = Lab::new("h100x8") else { return };
    // Without a grace: its GPUs are the first that a newcomer would get.
    lab.configure("policy.release_grace = \"0s\"");
    lab.start("other", &["--annotation", "gpulease/devices=0,1,2"]);
    lab.configure("");
    lab.start("web", &ONE);
    let device = lab.device("web");
    lab.remove(&["other"]);
    let mut nonce = lab.lease("web").unwrap().nonce;
    for _ in 0..3 {
        lab.ok(&["restart", "-t", "0", "web"]);
        assert_eq!(lab.device("web"), device);
        lab.assert_granted("web");
        lab.assert_held(&["web"]);
        assert_eq!(lab.records().len(), 1, "nothing of the start before");
        let next = lab.lease("web").unwrap().nonce;
        assert_ne!(nonce, next, "a new start is a new lease");
        nonce = next;
    }
    lab.ok(&["stop", "-t", "0", "web"]);
    lab.assert_no_lease("podman stop");
    // Whoever comes in between takes another one.
    lab.start("between", &ONE);
    assert_ne!(lab.device("between"), device);
    lab.ok(&["start", "web"]);
    assert_eq!(lab.device("web"), device);
    lab.assert_held(&["web", "between"]);
    lab.remove(&["web", "between"]);
    lab.assert_all_free(8);
}

#[test]
fn an_end_of_any_kind_releases() {
    let ends: [(&str, End); 6] = [
        ("kill -9 of its init", |lab| kill(lab.pid("web"))),
        ("podman kill", |lab| drop(lab.ok(&["kill", "web"]))),
        ("podman stop", |lab| drop(lab.ok(&["stop", "-t", "0", "web"]))),
        ("podman rm -f", |lab| lab.remove(&["web"])),
        ("of its own", |lab| drop(lab.ok(&["exec", "web", "touch", "/end"]))),
        ("kill -9 of its conmon and of its init", |lab| {
            // Nobody is left then who could tell, and Podman says that it is up.
            let (conmon, init) = (lab.conmon("web"), lab.pid("web"));
            kill(conmon);
            kill(init);
            assert_eq!(lab.inspect("web", "State.Status"), "running");
        }),
    ];
    let Some(lab) = Lab::new("mixed4") else { return };
    for (how, end) in ends {
        lab.assert_freed_by(how, end);
    }
}

#[test]
fn a_conmon_that_is_killed_frees_nothing_that_lives() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("web", &ALL);
    let init = lab.pid("web");
    kill(lab.conmon("web"));
    let late = lab.run("late", &ONE);
    assert!(stderr(&late).contains("no-capacity"), "{}", stderr(&late));
    assert!(!is_dead(init));
    lab.remove(&["web", "late"]);
    wait_for("its init is dead", || is_dead(init));
    lab.assert_all_free(4);
}

#[test]
fn what_does_not_end_a_container_does_not_release() {
    let Some(lab) = Lab::new("mixed4") else { return };
    lab.start("web", &ALL);
    let lease = lab.lease("web").unwrap();
    lab.ok(&["pause", "web"]);
    assert!(stderr(&lab.run("late", &ONE)).contains("no-capacity"), "a paused container holds");
    lab.ok(&["unpause", "web"]);
    lab.ok(&["update", "--cpu-shares", "512", "web"]);
    ok(lab.exec("web", "test -c /dev/nvidia0"));
    assert_eq!(lab.lease("web"), Some(lease), "and its lease is the very same");
    lab.remove(&["web", "late"]);
    lab.assert_all_free(4);
}
