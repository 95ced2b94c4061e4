//! `gpulease processes`: who computes on the node's devices, and by which lease.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::claim::Ctx;
use crate::claim::busy::Daemons;
use crate::claim::look::survey;
use crate::claim::processes::GpuUsers;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::activity::ProcessKind;
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::short_id;
use crate::model::lease::Lease;
use crate::model::text::shown;
use crate::sys::gpu_users::GpuUser;
use nix::unistd::Uid;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most bytes of a command line that are read.
const COMMAND_MAX: u64 = 4096;

pub(super) fn processes(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let mut users = GpuUsers::look(&node, &host.paths, config);
    let is_root = host.is_root();
    let swept = match survey(host) {
        Ok(swept) => Some(swept),
        Err(_) if !is_root => None,
        Err(failure) => return Err(failure),
    };
    if !is_root && node.devices.iter().any(|device| !device.simulated) {
        users.notes.push(
            "processes of other users, and to which lease one belongs, are for root to see: run \
             it with sudo"
                .to_owned(),
        );
    }
    if node.devices.iter().any(|d| d.vendor == Vendor::Intel && !d.simulated) {
        users.notes.push("who computes on Intel's devices is not looked at".to_owned());
    }
    let daemons = Daemons::look(&users.list, Ctx::of(host));
    let proc = |user: &GpuUser| host.paths.proc.join(user.pid.to_string());
    let seen: Vec<Seen<'_>> = users
        .list
        .iter()
        .map(|user| Seen {
            user,
            users: &users,
            devices: user.devices.keys().filter_map(|uuid| node.device(uuid)).collect(),
            lease: swept.as_ref().map(|swept| swept.lease_of(user)),
            is_daemon: daemons.have(user),
            uid: fs::metadata(proc(user)).ok().map(|metadata| metadata.uid()),
            command: command(&proc(user)),
        })
        .collect();
    let json = json!({
        "processes": seen.iter().map(Seen::json).collect::<Vec<_>>(),
        "asked": users.asked,
        "notes": users.notes,
    });
    Ok(Answer::new(text(&seen, &users, &node, output), json))
}

fn text(seen: &[Seen<'_>], users: &GpuUsers, node: &Node, output: &Output) -> String {
    let mut text = if seen.is_empty() {
        "no process computes on the node's devices\n".to_owned()
    } else {
        in_table(seen, output)
    };
    for note in &users.notes {
        text.push_str(&output.line(Paint::Cyan, "note:", note));
    }
    text.push_str(&words::simulated_footer(&node.devices, output));
    text
}

/// A process, with what is only of interest here.
struct Seen<'a> {
    user: &'a GpuUser,
    users: &'a GpuUsers,
    devices: Vec<&'a Device>,
    /// `None` where the leases cannot be read.
    lease: Option<Option<&'a Lease>>,
    /// An MPS daemon of gpulease, or its server: it computes for leases and has none.
    is_daemon: bool,
    uid: Option<u32>,
    command: Option<String>,
}

impl Seen<'_> {
    fn owner(&self) -> Option<String> {
        let uid = self.uid?;
        let user = nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Some(user.map_or_else(|| uid.to_string(), |user| shown(&user.name)))
    }

    /// As it was called; a process without arguments has only a name.
    fn command(&self) -> String {
        let name = || self.user.name.as_ref().map(|name| format!("[{name}]"));
        self.command.clone().or_else(name).map_or_else(|| "?".to_owned(), |text| shown(&text))
    }

    fn json(&self) -> Value {
        let devices = self.devices.iter().map(|device| {
            let kind = self.users.kind(self.user.pid, &device.uuid);
            json!({
                "uuid": device.uuid,
                "index": device.index,
                "mig_index": device.place().instance,
                "memory_bytes": self.user.devices.get(&device.uuid),
                "type": kind,
            })
        });
        let lease = self.lease.flatten();
        json!({
            "pid": self.user.pid,
            "uid": self.uid,
            "user": self.owner(),
            "name": self.user.name.as_deref().map(shown),
            "command": self.command(),
            "outside": self.lease.map(|lease| lease.is_none() && !self.is_daemon),
            "mps_daemon": self.is_daemon,
            "lease": lease.map(|lease| &lease.id),
            "container_id": lease.map(|lease| &lease.container_id),
            "devices": devices.collect::<Vec<_>>(),
        })
    }
}

fn command(proc: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(proc.join("cmdline")).ok()?.take(COMMAND_MAX).read_to_end(&mut bytes).ok()?;
    let words = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let text = words.collect::<Vec<_>>().join(" ");
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// As `nvidia-smi` has it.
const fn letter(kind: ProcessKind) -> &'static str {
    match kind {
        ProcessKind::Compute => "C",
        ProcessKind::Graphics => "G",
        ProcessKind::Mps => "M",
    }
}

/// A row for each process on each device.
fn in_table(seen: &[Seen<'_>], output: &Output) -> String {
    type Row<'a> = (&'a Seen<'a>, &'a Device);
    let rows: Vec<Row<'_>> = seen
        .iter()
        .flat_map(|seen| seen.devices.iter().map(move |device| (seen, *device)))
        .collect();
    let memory = |(seen, device): &Row<'_>| seen.user.devices.get(&device.uuid).copied().flatten();
    let kind = |(seen, device): &Row<'_>| seen.users.kind(seen.user.pid, &device.uuid);
    let lease = |(seen, _): &Row<'_>| match seen.lease {
        _ if seen.is_daemon => "mps".to_owned(),
        None => "?".to_owned(),
        Some(None) => "outside".to_owned(),
        Some(Some(lease)) => lease.id.to_string(),
    };
    let container = |(seen, _): &Row<'_>| match seen.lease {
        Some(Some(lease)) if !seen.is_daemon => short_id(lease.container_id.as_str()).to_owned(),
        None if !seen.is_daemon => "?".to_owned(),
        _ => "-".to_owned(),
    };
    Table::of(&rows)
        .right("PID", 0, |(seen, _)| seen.user.pid.to_string())
        .left("USER", 2, |(seen, _)| seen.owner().unwrap_or_else(|| "?".to_owned()))
        .right("DEVICE", 0, |(_, device)| device.place().to_string())
        .right("MEMORY", 0, |row| words::memory_or_dash(memory(row)))
        .left("TYPE", 3, |row| letter(kind(row)).to_owned())
        .left("LEASE", 0, lease)
        .left("CONTAINER", 1, container)
        .left("COMMAND", 0, |(seen, _)| seen.command())
        .render(false, output)
}
