//! What a low-level runtime left on disk about a container's process. Asked only where the lease
//! itself cannot answer: pending leases whose owner died, and records that cannot be read.

use crate::model::id::LeaseKey;
use crate::model::lease::{Lease, Owner};
use crate::paths::Paths;
use crate::sys::proc::{self, Life};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// runc's `state.json` and crun's `status` name the container's init and when it started.
const STATE_FILES: &[(&str, &str, &str)] = &[
    ("state.json", "init_process_pid", "init_process_start"),
    ("status", "pid", "process-start-time"),
];

/// What there is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// No container of this start.
    None,
    /// The live init process of this start.
    Init(Owner),
    /// Something is there that cannot be read.
    Unclear,
}

/// What the runtime's own state knows of this start's init process. The state may be that of
/// another container of the same id, because of which this start failed.
#[must_use]
pub fn of_runtime_state(lease: &Lease, paths: &Paths) -> Evidence {
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

/// Whatever a start made began after it.
fn is_of_this_start(owner: &Owner, lease: &Lease) -> bool {
    owner.start_time >= lease.since()
}

/// Whether the runtime's state names a live process, or is there and does not say.
#[must_use]
pub fn is_alive_or_unreadable(key: &LeaseKey, paths: &Paths) -> bool {
    states(key).any(|state| state.is_none_or(|(pid, start)| live(pid, start, paths).is_some()))
}

/// The state directories of the two runtimes that we know, as root uses them by default.
const DEFAULT_ROOTS: &[&str] = &["/run/crun", "/run/runc"];

/// Where a container's state may lie. Podman's `precreate` hook is not told by which runtime its
/// container is going to be made, and puts down the wrong one of the two at times. Podman's ids
/// are 64 random hex digits, so the same one in the other place is no other container.
fn roots(key: &LeaseKey) -> impl Iterator<Item = &str> {
    let own = key.runtime_root.as_str();
    let is_default = DEFAULT_ROOTS.contains(&own) && key.container_id.is_random();
    let others = DEFAULT_ROOTS.iter().copied().filter(move |root| is_default && *root != own);
    std::iter::once(own).chain(others)
}

/// The state files that are there: init's pid and start time, or `None` for one that cannot be
/// read. crun before 0.17 wrote no start time.
fn states(key: &LeaseKey) -> impl Iterator<Item = Option<(i32, Option<u64>)>> + '_ {
    let files = roots(key).flat_map(move |root| {
        let dir = Path::new(root).join(key.container_id.as_str());
        STATE_FILES.iter().map(move |(file, pid, start)| (dir.join(file), pid, start))
    });
    files.filter_map(|(file, pid_key, start_key)| {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(None),
        };
        let state: Option<Value> = serde_json::from_slice(&text).ok();
        Some(state.and_then(|state| {
            let pid = i32::try_from(state.get(*pid_key)?.as_i64()?).ok()?;
            Some((pid, state.get(*start_key).and_then(Value::as_u64)))
        }))
    })
}

/// The process, if it is the one that was meant and lives. Without a start time the pid must do.
fn live(pid: i32, start: Option<u64>, paths: &Paths) -> Option<Owner> {
    let owner = proc::describe(pid, paths).ok().filter(|_| pid > 0)?;
    let same = start.is_none_or(|start| start == owner.start_time);
    (same && proc::life(&owner, paths) == Life::Alive).then_some(owner)
}

/// The live process that the engine's pid file names. A pid file may be older than this start of
/// the container and its pid reused.
#[must_use]
pub fn of_pid_file(lease: &Lease, paths: &Paths) -> Option<Owner> {
    let text = fs::read_to_string(lease.pid_file.as_deref()?).ok()?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0)?;
    let owner = proc::describe(pid, paths).ok()?;
    (is_of_this_start(&owner, lease) && proc::life(&owner, paths) == Life::Alive).then_some(owner)
}
