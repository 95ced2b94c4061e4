//! The processes on the node's devices, and the lease that each belongs to.

use crate::claim::Ctx;
use crate::claim::busy::Daemons;
use crate::claim::look::survey;
use crate::claim::processes::GpuUsers;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::activity::ProcessKind;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::{ContainerId, DeviceId, LeaseId};
use crate::model::lease::Lease;
use crate::model::mig::DeviceNumber;
use crate::model::quantity::Bytes;
use crate::model::text::shown;
use crate::sys::gpu_users::GpuUser;
use nix::unistd::{Uid, User};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most bytes of a command line that are read.
const COMMAND_MAX: u64 = 4096;

#[derive(Debug, Serialize)]
pub struct ProcessesView {
    pub processes: Vec<ProcessView>,
    /// The devices of which a driver has named all processes.
    pub asked: BTreeSet<DeviceId>,
    /// Sentences on the facts that could not be found out.
    pub notes: Vec<String>,
}

/// A process. A value that is not known is null.
#[derive(Debug, Serialize)]
pub struct ProcessView {
    pub pid: i32,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub name: Option<String>,
    /// The command line, or `[name]` of a process without one.
    pub command: String,
    /// Whether it computes without a lease; null where the leases cannot be read.
    pub outside: Option<bool>,
    /// Whether it is an MPS daemon of gpulease, or the server of one: it computes for leases.
    pub mps_daemon: bool,
    pub lease: Option<LeaseId>,
    pub container_id: Option<ContainerId>,
    pub devices: Vec<ProcessOnDevice>,
}

/// The share of a process in a device.
#[derive(Debug, Serialize)]
pub struct ProcessOnDevice {
    uuid: DeviceId,
    index: u32,
    mig_index: Option<u32>,
    pub memory_bytes: Option<Bytes>,
    #[serde(rename = "type")]
    pub kind: ProcessKind,
}

impl ProcessesView {
    /// Without root, the leases are left out. Fails if the configuration cannot be read, or the
    /// leases by root.
    pub fn look(host: &Host, node: &Node) -> Result<Self, Failure> {
        let users = GpuUsers::look(node, &host.paths, host.config()?);
        let swept = match survey(host) {
            Ok(swept) => Some(swept),
            Err(_) if !host.is_root() => None,
            Err(failure) => return Err(failure),
        };
        let daemons = Daemons::look(&users.list, Ctx::of(host));
        let process = |user: &GpuUser| {
            let lease = swept.as_ref().map(|swept| swept.lease_of(user));
            let devices = on_devices(user, &users, node);
            ProcessView::of(user, lease, daemons.have(user), devices, host)
        };
        let processes = users.list.iter().map(process).collect();
        let notes = notes(users.notes, host, node);
        Ok(Self { processes, asked: users.asked, notes })
    }
}

/// The notes of the look at the processes, and those that hold for every look by this user.
fn notes(mut notes: Vec<String>, host: &Host, node: &Node) -> Vec<String> {
    let is_real = |device: &&Device| !device.simulated;
    let mut real = node.devices.iter().filter(is_real);
    if !host.is_root() && real.clone().next().is_some() {
        notes.push(
            "only root sees the processes of other users, and the leases that processes belong \
             to: run it with sudo"
                .to_owned(),
        );
    }
    if real.any(|device| device.vendor == Vendor::Intel) {
        notes.push("processes on Intel's devices are not looked for".to_owned());
    }
    notes
}

fn on_devices(user: &GpuUser, users: &GpuUsers, node: &Node) -> Vec<ProcessOnDevice> {
    let devices = user.devices.iter().filter_map(|(uuid, memory)| {
        let device = node.device(uuid)?;
        Some(ProcessOnDevice {
            uuid: uuid.clone(),
            index: device.index,
            mig_index: device.place().instance,
            memory_bytes: *memory,
            kind: users.kind(user.pid, uuid),
        })
    });
    devices.collect()
}

impl ProcessView {
    /// `lease` is `None` where the leases cannot be read, and `Some(None)` for a process without one.
    fn of(
        user: &GpuUser,
        lease: Option<Option<&Lease>>,
        mps_daemon: bool,
        devices: Vec<ProcessOnDevice>,
        host: &Host,
    ) -> Self {
        let proc = host.paths.proc.join(user.pid.to_string());
        let uid = fs::metadata(&proc).ok().map(|metadata| metadata.uid());
        let in_brackets = || user.name.as_ref().map(|name| format!("[{name}]"));
        let command = command(&proc).or_else(in_brackets);
        let found = lease.flatten();
        Self {
            pid: user.pid,
            uid,
            user: uid.map(user_name),
            name: user.name.as_deref().map(shown),
            command: command.map_or_else(|| "?".to_owned(), |text| shown(&text)),
            outside: lease.map(|lease| lease.is_none() && !mps_daemon),
            mps_daemon,
            lease: found.map(|lease| lease.id.clone()),
            container_id: found.map(|lease| lease.container_id.clone()),
            devices,
        }
    }
}

impl ProcessOnDevice {
    pub const fn place(&self) -> DeviceNumber {
        DeviceNumber { gpu: self.index, instance: self.mig_index }
    }
}

/// The uid where no user has it.
fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| shown(&user.name))
}

fn command(proc: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(proc.join("cmdline")).ok()?.take(COMMAND_MAX).read_to_end(&mut bytes).ok()?;
    let words = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let text = words.collect::<Vec<_>>().join(" ");
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
