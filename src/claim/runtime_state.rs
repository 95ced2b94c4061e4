//! A container's process by the files of low-level runtimes and engines. They are read only where the
//! lease does not say enough: for pending leases whose owner has died, and for records that cannot be
//! read.

use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, Owner};
use crate::paths::Paths;
use crate::sys::cgroup;
use crate::sys::checked::{is_damage, read_own};
use crate::sys::patience::within;
use crate::sys::proc::{self, Life};
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::Duration;

/// More than any state, in bytes: runc's has the container's whole configuration in it.
const STATE_MAX: u64 = 16 << 20;
/// More than any pid, in bytes.
const PID_FILE_MAX: u64 = 64;

/// runc's `state.json` and crun's `status` name the container's init and when it started.
const STATE_FILES: &[(&str, &str, &str)] = &[
    ("state.json", "init_process_pid", "init_process_start"),
    ("status", "pid", "process-start-time"),
];

/// The traces of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// No container of this start.
    None,
    /// The live init process of this start.
    Init(Owner),
    /// A file exists that cannot be read.
    Unclear,
}

/// The traces of a container after its shim is gone. Never to be called while the ledger is locked:
/// the files may lie on a slow file system.
pub fn of_lease(lease: &Lease, paths: &Paths) -> Evidence {
    let (lease, paths) = (lease.clone(), paths.clone());
    let answer = within(PATIENCE, move || of_files(&lease, &paths));
    answer.ok().flatten().unwrap_or(Evidence::Unclear)
}

/// How long the file system has to answer.
const PATIENCE: Duration = Duration::from_secs(1);

fn of_files(lease: &Lease, paths: &Paths) -> Evidence {
    match (of_runtime_state(lease, paths), of_pid_file(lease, paths)) {
        (Evidence::Init(owner), _) | (_, Evidence::Init(owner)) => Evidence::Init(owner),
        (Evidence::None, Evidence::None) => Evidence::None,
        _ => Evidence::Unclear,
    }
}

/// This start's init process by the runtime's state. The state may be that of another container of
/// the same id, because of which this start failed.
fn of_runtime_state(lease: &Lease, paths: &Paths) -> Evidence {
    let Ok(key) = lease.key() else { return Evidence::Unclear };
    let mut found = Evidence::None;
    for state in states(&key) {
        let Some((pid, start)) = state else {
            found = Evidence::Unclear;
            continue;
        };
        let init = live(pid, start, paths).filter(|owner| is_of_this_start(owner, lease));
        if let Some(owner) = init {
            return Evidence::Init(owner);
        }
    }
    found
}

/// Whether a process began after the lease was recorded, as all processes of its start did.
fn is_of_this_start(owner: &Owner, lease: &Lease) -> bool {
    owner.start_time >= lease.since()
}

/// Whether the runtime's state names a live process, or exists and cannot be read.
pub fn is_alive_or_unreadable(key: &LeaseKey, paths: &Paths) -> bool {
    let (key, paths) = (key.clone(), paths.clone());
    let answer = within(PATIENCE, move || {
        states(&key)
            .any(|state| state.is_none_or(|(pid, start)| live(pid, start, &paths).is_some()))
    });
    answer.ok().flatten().unwrap_or(true)
}

/// The state directories of the two runtimes that we know, as root uses them by default.
const DEFAULT_ROOTS: &[&str] = &["/run/crun", "/run/runc"];

/// The directories that may have a container's state. Podman's `precreate` hook is not told which
/// runtime makes its container, and may record the wrong one of the two. Podman's ids are 64 random
/// hex digits, so the same id in the other directory is the same container.
fn roots(key: &LeaseKey) -> impl Iterator<Item = &str> {
    let own = key.runtime_root.as_str();
    let is_default = DEFAULT_ROOTS.contains(&own) && key.container_id.is_random();
    let others = DEFAULT_ROOTS.iter().copied().filter(move |root| is_default && *root != own);
    std::iter::once(own).chain(others)
}

/// The state files that exist: init's pid and start time, or `None` for a file that cannot be read.
/// crun before 0.17 wrote no start time.
fn states(key: &LeaseKey) -> impl Iterator<Item = Option<(i32, Option<u64>)>> + '_ {
    let files = roots(key).flat_map(move |root| {
        let dir = Path::new(root).join(key.container_id.as_str());
        STATE_FILES.iter().map(move |(file, pid, start)| (dir.join(file), pid, start))
    });
    files.filter_map(|(file, pid_key, start_key)| {
        let text = match read_own(&file, STATE_MAX) {
            Ok(text) => text?,
            Err(_) => return Some(None),
        };
        let state: Option<Value> = serde_json::from_slice(&text).ok();
        Some(state.and_then(|state| {
            let pid = i32::try_from(state.get(*pid_key)?.as_i64()?).ok()?;
            Some((pid, state.get(*start_key).and_then(Value::as_u64)))
        }))
    })
}

/// The process with this pid, if it lives and began at `start`. Without a start time the pid has to
/// be enough.
fn live(pid: i32, start: Option<u64>, paths: &Paths) -> Option<Owner> {
    let owner = proc::describe(pid, paths).ok().filter(|_| pid > 0)?;
    let same = start.is_none_or(|start| start == owner.start_time);
    (same && proc::life(&owner, paths) == Life::Alive).then_some(owner)
}

/// The live process that the engine's pid file names. A pid file may be older than this start, and its
/// pid reused. It may lie where others can write, so it counts only if it is root's and its process is
/// in the cgroup that the container was to get.
fn of_pid_file(lease: &Lease, paths: &Paths) -> Evidence {
    let Some(path) = lease.pid_file.as_deref() else { return Evidence::None };
    let text = match read_own(Path::new(path), PID_FILE_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => return Evidence::None,
        // A file that no runtime of root has written says nothing about the container.
        Err(error) if is_damage(&error) => return Evidence::None,
        Err(_) => return Evidence::Unclear,
    };
    let pid = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let owner = pid.filter(|pid| *pid > 0).and_then(|pid| proc::describe(pid, paths).ok());
    let is_live =
        |owner: &Owner| is_of_this_start(owner, lease) && proc::life(owner, paths) == Life::Alive;
    let Some(owner) = owner.filter(is_live) else { return Evidence::None };
    match is_in_its_cgroup(&owner, lease, paths) {
        Ok(true) => Evidence::Init(owner),
        Ok(false) => Evidence::None,
        Err(_) => Evidence::Unclear,
    }
}

/// Whether a process is in the cgroup that the container was to get, if that was known.
fn is_in_its_cgroup(owner: &Owner, lease: &Lease, paths: &Paths) -> io::Result<bool> {
    let Some(expected) = lease.cgroup.as_deref() else { return Ok(true) };
    let cgroup = cgroup::of_process(&owner.pid.to_string(), paths)?;
    Ok(cgroup.is_some_and(|cgroup| cgroup.starts_with(expected)))
}
