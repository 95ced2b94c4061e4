//! Who computes on the node's GPUs, as far as the kernel shows it: without a vendor's library, and at
//! the cost of one small file where nobody does.
//!
//! A process that ends while it is looked at is left out. What cannot be read is left out too: only
//! root sees other users' processes.

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

/// The longest that a look may take: what has not been seen by then is not seen. (Some 10,000
/// processes with 50 open files each.)
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest chain of parents that is followed.
const ANCESTORS_MAX: usize = 64;

/// The most processes that are told of.
const USERS_MAX: usize = 4096;

/// A process that computes on GPUs of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuUser {
    /// Its pid, as procfs counts.
    pub pid: i32,
    /// What it calls itself (`/proc/<pid>/comm`, untrusted), where that can be read.
    pub name: Option<String>,
    /// On which devices, and how much of their memory it has, where the kernel says so (AMD). Of
    /// NVIDIA's these are all that it *could* compute on: it opens the nodes of every GPU that it
    /// sees when it starts.
    pub devices: BTreeMap<DeviceId, Option<Bytes>>,
    /// Its cgroup as a directory, where that can be told for sure.
    pub cgroup: Option<PathBuf>,
    /// Its pid, its parent's, and so on.
    pub ancestors: Vec<i32>,
}

/// The processes that compute on the node's devices, by their pids. Nothing is looked at for devices
/// that do not exist, nor for those of a vendor whose driver tells nothing (Intel).
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

/// What procfs says of a process that is known to be on these devices; `None` if it has ended.
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
