//! What holds a container to its share, as far as that is said in its spec: variables, and the
//! mounts by which it comes to its MPS daemon.
//!
//! The variables are the workload's to undo: what makes a limit hold against its will is set on the
//! daemon's side and in the cgroup. `GPULEASE_ENFORCEMENT` says which of both it got.

use super::types::MountEntry;
use super::visibility::amd_in_container_order;
use crate::model::device::{Device, Vendor};
use crate::model::isolation::{ENFORCEMENT_VARIABLE, Isolation};
use crate::model::lease::{Lease, LeasedDevice, MpsSeat};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::variables::{MPS_LOG, MPS_PIPE, ROCR_VISIBLE};
use std::collections::BTreeMap;
use std::path::Path;

/// The compute units of each device, to ROCr (`core/util/flag.cpp`).
const CU_MASK: &str = "HSA_CU_MASK";
/// The percentage of a device's multiprocessors, of one client.
const MPS_THREADS: &str = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE";
/// The memory that one client may allocate, by device.
const MPS_MEMORY: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
/// What the names of all of MPS's variables begin with.
const MPS_PREFIX: &str = "CUDA_MPS_";

/// MPS's other variables: a container that brings one would undo or contradict its limits, or
/// means a daemon that is none of its business.
const MPS_OTHERS: &[&str] = &[
    "CUDA_MPS_CLIENT_PRIORITY",
    "CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING",
    MPS_LOG,
    "CUDA_MPS_SM_PARTITION",
];

/// What would undo a mask of compute units, or narrow it in a way that ours does not know of.
const MASK_OTHERS: &[&str] = &["HSA_CU_MASK_SKIP_INIT", "ROC_GLOBAL_CU_MASK"];

/// Where a container finds its MPS daemon. The daemon's side lies below `run_dir`, whose name
/// is the host's business.
pub const MPS_PIPE_IN_CONTAINER: &str = "/run/gpulease-mps/pipe";
/// What no client needs of the pipe directory: libcuda connects to `control` alone (seen with
/// 550.163). By the first, a socket, a daemon takes commands from its own user, and root in the
/// container is that user on the host. The second is a pipe that everybody can write to, and a daemon
/// whose pipe is full answers nobody. The last is what a daemon that starts looks at.
const MPS_MASKED: &[&str] = &["control_privileged", "log", "nvidia-cuda-mps-control.pid"];

/// The variables that say a lease's limits, to set and (null) to remove. `granted` are its devices
/// in the inventory; `present` is the container's environment.
///
/// Every limit variable of the vendors that are granted is in the answer, set or null, whether the
/// container has it or not: a process that is started in it later may bring one.
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
        // It would number the devices anew, and each mask would be another's.
        if mask.is_some() {
            env.insert(ROCR_VISIBLE.to_owned(), None);
        }
        env.insert(CU_MASK.to_owned(), mask);
    }
    env.insert(ENFORCEMENT_VARIABLE.to_owned(), Some(lease.isolation.enforcement()));
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

/// Of 100, rounded down, and never nothing.
pub fn percentage(share: MilliGpu) -> u32 {
    (share.0 / 10).clamp(1, 100)
}

/// A memory limit as MPS takes it, in whole MiB: rounded down, and never nothing, which
/// would be no limit.
pub fn whole_mib(memory: Bytes) -> u64 {
    memory.mib().max(1)
}

/// The same as a variable has it. `None` where nobody knows how much it is.
fn mps_memory(device: &LeasedDevice) -> Option<String> {
    Some(format!("{}M", whole_mib(device.memory_bytes?)))
}

/// `0:0-31;1:32-63`: of each device that has a mask, its position as the container counts, and its
/// units. ROCr ignores the whole rest of a list from the first mistake on, and lets a device that is
/// not in it compute everywhere.
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

/// How a container comes to its MPS daemon: its pipe directory, to connect in and not to change, and
/// the memory that the daemon shares with its clients. `is_there` says whether the host has a file.
///
/// A daemon that is not gpulease's may lack a file that is masked, and none can be made for it. It
/// has the host's `/dev/shm`, which is given to nobody here.
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
            // Without `nodev`: it must open, as what it hides does. `ro` keeps root in the container
            // from changing the mode of the host's device, and from nothing else.
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
