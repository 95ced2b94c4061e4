//! The part of a container's limits that is in its spec: variables, and the mounts through which it
//! reaches its MPS daemon.
//!
//! A workload can change the variables. The limits that it cannot undo are set in the daemon and in
//! the cgroup. `GPULEASE_ENFORCEMENT` says which of the two it has.

use super::types::MountEntry;
use super::visibility::amd_in_container_order;
use crate::model::device::{Device, Vendor};
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeasedDevice, MpsSeat};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::variables::{
    CU_MASK, CU_MASK_GLOBAL, CU_MASK_SKIP, ENFORCEMENT, MPS_CONTEXTS, MPS_LOG, MPS_MEMORY,
    MPS_PARTITION, MPS_PIPE, MPS_PREFIX, MPS_PRIORITY, MPS_THREADS, ROCR_VISIBLE,
};
use std::collections::BTreeMap;
use std::path::Path;

/// MPS's other variables. If a container brings one, it undoes or contradicts the limits, or names
/// another daemon.
const MPS_OTHERS: &[&str] = &[MPS_PRIORITY, MPS_CONTEXTS, MPS_LOG, MPS_PARTITION];

/// Variables that undo a mask of compute units, or narrow it further.
const MASK_OTHERS: &[&str] = &[CU_MASK_SKIP, CU_MASK_GLOBAL];

/// The pipe directory of the MPS daemon in a container. On the host it is below `run_dir`, and
/// containers need not know that name.
pub const MPS_PIPE_IN_CONTAINER: &str = "/run/gpulease-mps/pipe";
/// Files of the pipe directory that a client does not need: libcuda connects to `control` alone
/// (seen with 550.163). The first is a socket by which a daemon takes commands from its own user,
/// and root in the container is that user on the host. The second is a pipe that every user can
/// write to, and a daemon whose pipe is full does not answer. The last is read by a daemon that
/// starts.
const MPS_MASKED: &[&str] = &["control_privileged", "log", "nvidia-cuda-mps-control.pid"];

/// The variables for a lease's limits, to set or (`None`) to remove. `granted` are its devices in
/// the inventory; `present` is the container's environment.
///
/// The result has every limit variable of the granted vendors, set or removed, even if the
/// container does not have it: a process that is started in the container later may bring one.
pub fn limits(
    lease: &Lease,
    granted: &[&Device],
    present: &[(String, String)],
) -> BTreeMap<String, Option<String>> {
    let mut env = BTreeMap::new();
    let has = |vendor| lease.devices.iter().any(|device| device.vendor == vendor);
    if has(Vendor::Nvidia) {
        let brought = present.iter().map(|(name, _)| name.as_str());
        let brought = brought.filter(|name| name.starts_with(MPS_PREFIX));
        let known = [MPS_PIPE, MPS_THREADS, MPS_MEMORY].into_iter();
        for name in known.chain(MPS_OTHERS.iter().copied()).chain(brought) {
            env.insert(name.to_owned(), None);
        }
        mps(&mut env, lease);
    }
    if has(Vendor::Amd) {
        let mask = cu_mask(lease, granted);
        for name in MASK_OTHERS {
            env.insert((*name).to_owned(), None);
        }
        // This variable would renumber the devices, so the masks would apply to other ones.
        if mask.is_some() {
            env.insert(ROCR_VISIBLE.to_owned(), None);
        }
        env.insert(CU_MASK.to_owned(), mask);
    }
    env.insert(ENFORCEMENT.to_owned(), Some(lease.isolation.enforcement()));
    env
}

fn mps(env: &mut BTreeMap<String, Option<String>>, lease: &Lease) {
    // A daemon serves one device.
    let device = lease.devices.iter().find(|device| device.vendor == Vendor::Nvidia);
    let (Isolation::Mps, Some(device)) = (lease.isolation.effective, device) else { return };
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), Some(value));
    set(MPS_PIPE, MPS_PIPE_IN_CONTAINER.to_owned());
    set(MPS_THREADS, percentage(device.milli).to_string());
    if let Some(limit) = mps_memory(device) {
        set(MPS_MEMORY, format!("{}={limit}", device.uuid));
    }
}

/// A percentage, rounded down, and at least 1.
pub fn percentage(share: MilliGpu) -> u32 {
    (share.0 / 10).clamp(1, 100)
}

/// A memory limit for MPS, in whole MiB: rounded down, and at least 1, because 0 means no limit.
pub fn whole_mib(memory: Bytes) -> u64 {
    memory.mib().max(1)
}

/// The limit in the form of the variable. `None` if the amount is unknown.
fn mps_memory(device: &LeasedDevice) -> Option<String> {
    Some(format!("{}M", whole_mib(device.memory_bytes?)))
}

/// `0:0-31;1:32-63`: for each device that has a mask, its position in the container, and its units.
/// From the first mistake on ROCr ignores the rest of the list, and a device that is not in the
/// list is not limited.
fn cu_mask(lease: &Lease, granted: &[&Device]) -> Option<String> {
    let order = amd_in_container_order(granted);
    let sets = order.iter().enumerate().filter_map(|(position, device)| {
        let leased = lease.devices.iter().find(|leased| leased.uuid == device.uuid)?;
        let units = leased.cu_mask.as_ref().filter(|units| !units.is_empty())?;
        Some(format!("{position}:{units}"))
    });
    let sets: Vec<String> = sets.collect();
    (!sets.is_empty()).then(|| sets.join(";"))
}

/// The mounts through which a container reaches its MPS daemon: its pipe directory, to connect in
/// but not to change, and the memory that the daemon shares with its clients. `is_there` says
/// whether the host has a file.
///
/// A daemon that gpulease did not start may lack a file that is masked; such a file is not created.
/// Such a daemon uses the host's `/dev/shm`, which no container gets here.
pub fn mps_mounts(seat: &MpsSeat, is_there: impl Fn(&Path) -> bool) -> Vec<MountEntry> {
    let bind = |source: &str, destination: String, options: &[&str]| MountEntry {
        source: source.to_owned(),
        destination,
        kind: "bind".to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let mut mounts = Vec::new();
    if let Some(pipe) = &seat.pipe {
        let read_only = &["bind", "ro", "nosuid", "nodev", "noexec"];
        mounts.push(bind(pipe, MPS_PIPE_IN_CONTAINER.to_owned(), read_only));
        for name in MPS_MASKED {
            if seat.adopted && !is_there(&Path::new(pipe).join(name)) {
                continue;
            }
            let mask = format!("{MPS_PIPE_IN_CONTAINER}/{name}");
            // There is no `nodev`, because the device must open, as the hidden file does. `ro`
            // keeps root in the container from changing the mode of the host's device; it prevents
            // nothing else.
            mounts.push(bind("/dev/null", mask, &["bind", "ro", "nosuid", "noexec"]));
        }
    }
    if let Some(shm) = &seat.shm {
        mounts.push(bind(shm, "/dev/shm".to_owned(), &["bind", "nosuid", "nodev", "noexec"]));
    }
    mounts
}

#[cfg(test)]
mod tests;
