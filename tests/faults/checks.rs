//! What holds whatever went wrong: an exclusive device has one live container at most, a live
//! container has its record, no record outlives a dead holder past the next create, a spec is as
//! it was or whole, and nothing lies about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::podman::ALL;
use crate::strace::{Ended, run};
use crate::support::engine::is_dead;
use crate::support::{Host, STUB, kill};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As few as can tell a part from the whole: the low-level runtime takes ten files for each.
const DEVICES: &str = r#"
simulated = true

[[device]]
uuid = "GPU-dc72f85c-6b98-400f-9842-61cdd01e9246"
vendor = "nvidia"
model = "H100"
memory_mib = 81559
pci = "0000:1b:00.0"
healthy = true
nodes = [{ path = "/dev/nvidia0", major = 1219, minor = 0 }]

[[device]]
uuid = "GPU-648d3590-7c46-4888-b865-c150d34bf54b"
vendor = "nvidia"
model = "H100"
memory_mib = 81559
pci = "0000:43:00.0"
healthy = true
nodes = [{ path = "/dev/nvidia1", major = 1219, minor = 1 }]
"#;
const COUNT: usize = 2;

pub fn host() -> Host {
    Host::with_devices(DEVICES, Path::new(STUB))
}

/// The container that something happens to.
#[derive(Debug, Clone)]
pub struct Web {
    pub id: String,
    pub dir: PathBuf,
}

impl Web {
    pub fn spec(&self) -> Vec<u8> {
        fs::read(self.dir.join("config.json")).unwrap()
    }

    /// Its process, if it lives.
    pub fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.dir.join("pid")).ok()?;
        text.trim().parse().ok().filter(|pid| !is_dead(*pid))
    }
}

/// A container of this name, whose low-level runtime sees to it that no device is given twice.
pub fn create(host: &Host, name: &str) -> Command {
    let mut command = host.create_command(name);
    command.env("STUB_TOKENS", host.path("tokens"));
    command
}

/// A program that fails says so, and none panics. (What Rust's library does in a program's first
/// moments, and on closing a directory, it takes for granted.)
#[track_caller]
pub fn assert_told(ended: &Ended, may_be_silent: bool) {
    assert!(!ended.stderr.contains("panicked at src/"), "{}", ended.stderr);
    // Of a runtime that was killed the shim has nothing but the status, which is as shells have it.
    let killed = ended.status.signal().is_some() || ended.status.code() > Some(128);
    let said = may_be_silent || killed || !ended.stderr.is_empty();
    assert!(ended.status.success() || said, "{:?} and no word", ended.status);
}

/// A spec is to the byte as it was, or carries one grant as a whole.
#[track_caller]
pub fn assert_as_before_or_whole(spec: &[u8], before: &[u8]) {
    if spec != before {
        assert_one_grant(spec);
    }
}

#[track_caller]
pub fn assert_one_grant(spec: &[u8]) -> Value {
    let spec: Value = serde_json::from_slice(spec).expect("a whole spec");
    let mut nonces = Vec::new();
    for stage in ["createRuntime", "poststop"] {
        let hooks = spec["hooks"][stage].as_array().expect("our hooks");
        assert_eq!(hooks.len(), 1, "{stage}: {hooks:?}");
        let args = hooks[0]["args"].as_array().unwrap();
        let at = args.iter().position(|arg| arg == "--nonce").unwrap();
        nonces.push(args[at + 1].clone());
    }
    assert_eq!(nonces[0], nonces[1], "both hooks are of one start");
    let mut paths: Vec<&str> = spec["linux"]["devices"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["path"].as_str().unwrap())
        .collect();
    let all = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert!(paths.len() == all && all == COUNT, "{paths:?}");
    spec
}

/// Whether it goes on living, once nothing is under way that could end it.
pub fn lives_on(web: &Web) -> bool {
    for _ in 0..100 {
        if web.pid().is_none() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    true
}

/// The live container has its lease, and what it has is granted to no other.
#[track_caller]
pub fn assert_held(host: &Host, web: &Web) {
    let pid = web.pid().expect("a live container");
    let lease = host.lease(&web.id).expect("a live container has a record");
    let spec = assert_one_grant(&web.spec());
    assert!(spec["hooks"].to_string().contains(lease.nonce.as_str()), "the hooks are its own");
    assert_eq!((lease.owner.pid, lease.devices.len()), (pid, COUNT), "{lease:?}");
    host.bundle("next", ALL);
    let next = run(&mut create(host, "next"));
    assert!(!next.status.success(), "a held device was granted again");
    assert!(next.stderr.contains("no-capacity"), "{}", next.stderr);
    assert!(host.pid("next").is_none());
}

/// With the container dead, the next who asks has every device, and nothing of it is left.
#[track_caller]
pub fn assert_all_free(host: &Host) {
    host.bundle("next", ALL);
    let next = run(&mut create(host, "next"));
    assert!(next.status.success(), "a leak: {}", next.stderr);
    let held: Vec<String> = host
        .leases()
        .iter()
        .map(|lease| format!("{} {}", lease.container_id, lease.state))
        .collect();
    assert_eq!(held, ["next bound"]);
    assert!(host.records().iter().all(Result::is_ok), "{:?}", host.records());
    let violation = fs::read_to_string(host.path("tokens/VIOLATION"));
    assert!(violation.is_err(), "a device was given twice: {violation:?}");
    assert_no_temporary_file(&host.run_dir());
    kill(host.pid("next").unwrap());
}

/// Files on the way to their names are gone at the next lock.
#[track_caller]
pub fn assert_no_temporary_file(dir: &Path) {
    let mut left = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "tmp") {
                left.push(path);
            }
        }
    }
    assert!(left.is_empty(), "left for ever: {left:?}");
}
