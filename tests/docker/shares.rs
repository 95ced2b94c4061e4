//! Shares by NVIDIA's Multi-Process Service: its real control daemon, on a GPU that does not exist.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, and helpers that clippy does not know as tests"
)]

use crate::lab::{FAILING, Lab, ONE, stdout};
use crate::support::images::fetched;
use crate::support::{ok, stderr};
use std::collections::BTreeMap;
use std::fs;

/// A lab with one GPU of a UUID that no other test has at the same time.
struct Mps {
    lab: Lab,
    uuid: String,
}

const CONTROL: &str = "/usr/local/bin/nvidia-cuda-mps-control";

impl Mps {
    fn new() -> Option<Self> {
        let uuid = format!("GPU-d{}", std::process::id());
        let devices = format!(
            "simulated = true\n[[device]]\nuuid = {uuid:?}\nvendor = \"nvidia\"\nmodel = \"H100\"\n\
             memory_mib = 10000\npci = \"0000:01:00.0\"\n\
             nodes = [{{ path = \"/dev/nvidia0\", major = 1219, minor = 0 }}]\n"
        );
        let lab = Lab::with(&devices, true)?;
        let program = fetched("nvidia.sh").join("usr/bin/nvidia-cuda-mps-control");
        fs::copy(program, lab.path(CONTROL)).unwrap();
        let mps = Self { lab, uuid };
        mps.configure(CONTROL);
        Some(mps)
    }

    fn configure(&self, control: &str) {
        let keys = "start_timeout = \"5s\"\nstop_grace = \"0s\"";
        self.lab.configure(&format!("[mps]\ncontrol = {control:?}\n{keys}"));
    }

    /// The daemons of this lab's GPU, and what they have started.
    fn daemons(&self) -> Vec<String> {
        let mine = format!("CUDA_MPS_PIPE_DIRECTORY=/run/gpulease/mps/{}/", self.uuid);
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let is_daemon = |entry: &fs::DirEntry| {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environ).contains(&mine)
        };
        let names = processes.filter(is_daemon).map(|e| e.file_name().into_string().unwrap());
        names.collect()
    }

    #[track_caller]
    fn wait_for_none(&self) {
        let place = self.lab.path("/run/gpulease/mps").join(&self.uuid);
        self.lab.wait("no daemon is left", |_| self.daemons().is_empty() && !place.exists());
        let mounts = stdout(&self.lab.command("cat").arg("/proc/self/mountinfo").output().unwrap());
        assert!(!mounts.contains("/run/gpulease/mps"), "{mounts}");
    }

    #[track_caller]
    fn has_limits(&self, env: &BTreeMap<String, String>, percent: &str, mib: &str) {
        let memory = format!("{}={mib}M", self.uuid);
        for (name, value) in [
            ("CUDA_MPS_PIPE_DIRECTORY", "/run/gpulease-mps/pipe"),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", percent),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", &memory),
            ("CUDA_VISIBLE_DEVICES", &self.uuid),
            ("GPULEASE_ENFORCEMENT", "compute=advisory,memory=advisory"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(env.keys().filter(|name| name.starts_with("CUDA_MPS_")).count(), 3, "{env:?}");
    }
}

impl Drop for Mps {
    /// Whatever a failed test leaves.
    fn drop(&mut self) {
        for pid in self.daemons() {
            crate::support::kill(pid.parse().unwrap());
        }
    }
}

/// A share as kaiwo spells it.
fn share(part: &str, mib: &str) -> Vec<String> {
    let words = [
        "kaiwo.ai/gpu-isolation=mps".to_owned(),
        format!("kaiwo.ai/gpu-fraction={part}"),
        format!("kaiwo.ai/gpu-memory={mib}"),
    ];
    words.into_iter().flat_map(|word| ["--annotation".to_owned(), word]).collect()
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn shares_by_mps_have_one_daemon_and_each_its_limits() {
    let Some(mps) = Mps::new() else { return };
    let lab = &mps.lab;
    let (one, two) = (share("0.4", "4096"), share("0.5", "3000"));
    let image = ["-e", "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps", "-e", "CUDA_MPS_OTHER=1"];
    lab.start("one", &[words(&one), image.to_vec()].concat());
    lab.start("two", &words(&two));
    mps.has_limits(&lab.exec_env("one"), "40", "4096");
    mps.has_limits(&lab.exec_env("two"), "50", "3000");
    let pipe = |name| lab.lease(name).unwrap().mps.unwrap().pipe.unwrap();
    assert_eq!(pipe("one"), pipe("two"));
    assert_eq!(mps.daemons().len(), 1, "{:?}", mps.daemons());
    // Both see the same memory of the daemon's, and neither its socket for commands.
    ok(lab.exec("one", "echo of-one >/dev/shm/x"));
    assert_eq!(lab.ok(&["exec", "two", "cat", "/dev/shm/x"]), "of-one\n");
    let look = "ls -l /run/gpulease-mps/pipe/control_privileged; ls /run/gpulease-mps";
    let seen = lab.ok(&["exec", "two", "sh", "-c", look]);
    assert!(seen.starts_with('c') && seen.contains("1,   3") && seen.ends_with("pipe\n"), "{seen}");
    ok(lab.exec("two", "test -S /run/gpulease-mps/pipe/control"));
    // Nor anything that could be changed.
    let change = "cd /run/gpulease-mps/pipe && for f in *; do rm -f $f && echo $f; done; \
                  touch x && echo x; [ -c log ] && [ -c nvidia-cuda-mps-control.pid ] && echo masked";
    let changed = stdout(&lab.exec("two", change));
    assert_eq!(changed, "masked\n");

    let three = lab.refused("three", &words(&share("0.2", "1000")));
    assert!(three.contains("no-capacity"), "{three}");
    let whole = lab.refused("whole", &ONE);
    assert!(whole.contains("no-capacity"), "{whole}");
    // The annotation says what the variable says.
    let annotations = fs::read_to_string(lab.bundle("one").join("config.json")).unwrap();
    let said = r#""gpulease.granted/enforcement":"compute=advisory,memory=advisory""#;
    assert!(annotations.contains(said), "{annotations}");
    let brought =
        ["exec", "-e", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=100", "-e", "CUDA_MPS_LOG_DIRECTORY=/"];
    let env = crate::lab::env_of(&lab.ok(&[&brought[..], &["one", "env"]].concat()));
    mps.has_limits(&env, "40", "4096");

    lab.ok(&["rm", "-f", "one"]);
    assert_eq!(mps.daemons().len(), 1, "the other one has it still");
    lab.ok(&["rm", "-f", "two"]);
    mps.wait_for_none();
    lab.assert_all_free(1);
}

#[test]
fn a_start_that_fails_leaves_neither_lease_nor_daemon() {
    let Some(mps) = Mps::new() else { return };
    let lab = &mps.lab;
    let half = share("0.5", "4096");
    // The hook, after the daemon was started.
    lab.fail_at("bind.described=kill");
    let output = lab.run("hook", &[words(&half), FAILING.to_vec()].concat());
    assert!(!output.status.success(), "{}", stderr(&output));
    lab.wait("no lease is left", |lab| lab.lease("hook").is_none());
    mps.wait_for_none();
    // The shim itself, at the same place; the next start takes back what it left.
    lab.fail_at("create.attached=kill");
    let output = lab.run("shim", &[words(&half), FAILING.to_vec()].concat());
    assert!(!output.status.success(), "{}", stderr(&output));
    lab.start("next", &ONE);
    lab.ok(&["rm", "-f", "next"]);
    mps.wait_for_none();
    // The daemon.
    mps.configure("/bin/false");
    let said = lab.refused("daemon", &words(&half));
    assert!(said.contains("isolation-failed: no place at an MPS daemon"), "{said}");
    mps.wait_for_none();
    lab.assert_no_lease("no start came off");
}
