//! Finds the processes that compute on the node's GPUs, by the kernel alone, without a vendor's
//! library. If there are none, this costs one small file.
//!
//! A process that ends meanwhile is left out. So is what cannot be read: only root sees the
//! processes of other users.

mod amd;
mod nvidia;

use super::{cgroup, kernel_file, proc_stat};
use crate::model::device::{Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The longest time for a search. Processes that were not seen by then are left out. (It suffices
/// for some 10,000 processes with 50 open files each.)
const PATIENCE: Duration = Duration::from_secs(1);

/// The most ancestors of a process that are followed.
const ANCESTORS_MAX: usize = 64;

/// The most processes that are reported.
const USERS_MAX: usize = 4096;

/// A process that computes on GPUs of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuUser {
    /// The pid in procfs.
    pub pid: i32,
    /// Its own name (`/proc/<pid>/comm`, untrusted), if it can be read.
    pub name: Option<String>,
    /// Its devices, with the memory that it uses on each, if the kernel tells (AMD). For NVIDIA
    /// these are all devices that it *could* use, because it opens the nodes of every GPU that it
    /// sees when it starts.
    pub devices: BTreeMap<DeviceId, Option<Bytes>>,
    /// Its cgroup as a directory, if that is certain.
    pub cgroup: Option<PathBuf>,
    /// Its pid, its parent's pid, and so on.
    pub ancestors: Vec<i32>,
}

/// The processes that compute on the node's devices, by their pids. Simulated devices are skipped,
/// and those of a vendor whose driver tells nothing (Intel).
pub fn look(node: &Node, paths: &Paths) -> Vec<GpuUser> {
    let has = |vendor: Vendor| node.devices.iter().any(|d| !d.simulated && d.vendor == vendor);
    let until = Instant::now() + PATIENCE;
    let mut found = BTreeMap::<i32, BTreeMap<DeviceId, Option<Bytes>>>::new();
    if has(Vendor::Amd) {
        for (pid, device, used) in amd::look(node, paths) {
            found.entry(pid).or_default().insert(device, used);
        }
    }
    if has(Vendor::Nvidia) {
        for (pid, devices) in nvidia::look(node, paths, until) {
            found.entry(pid).or_default().extend(devices.into_iter().map(|uuid| (uuid, None)));
        }
    }
    let users = found.into_iter().take(USERS_MAX);
    users.filter_map(|(pid, devices)| describe(pid, devices, paths)).collect()
}

/// The facts in procfs about a process on these devices; `None` if it has ended.
pub fn describe(
    pid: i32,
    devices: BTreeMap<DeviceId, Option<Bytes>>,
    paths: &Paths,
) -> Option<GpuUser> {
    let dir = paths.proc.join(pid.to_string());
    if !dir.exists() {
        return None;
    }
    Some(GpuUser {
        pid,
        name: kernel_file::line(&dir.join("comm")).filter(|name| !name.is_empty()),
        devices,
        cgroup: cgroup::of_process(&pid.to_string(), paths).ok().flatten(),
        ancestors: ancestors(pid, paths),
    })
}

fn ancestors(pid: i32, paths: &Paths) -> Vec<i32> {
    let parent = |pid: &i32| proc_stat::parent(*pid, paths).filter(|parent| *parent > 0);
    std::iter::successors(Some(pid), parent).take(ANCESTORS_MAX).collect()
}

#[cfg(test)]
mod tests;
