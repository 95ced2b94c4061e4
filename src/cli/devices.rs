//! `gpulease devices`: what the node has and what is free of it.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::allocator::{BusyProcess, Snapshot};
use crate::claim::Ctx;
use crate::claim::busy::BusyProcesses;
use crate::claim::look::survey;
use crate::claim::processes::GpuUsers;
use crate::claim::sweep::Swept;
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Node, Partition, Vendor};
use crate::model::id::DeviceId;
use crate::model::lease::{Lease, LeaseState};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown;
use crate::request::policy::Busy;
use serde_json::{Value, json};

pub(super) fn devices(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let swept = survey(host)?;
    let users = GpuUsers::that_count(&node, &host.paths, config);
    let snapshot = snapshot(&node, &swept, &users, (host, config));
    let devices: Vec<Seen<'_>> = node
        .devices
        .iter()
        .zip(snapshot.free())
        .map(|(device, free)| Seen {
            device,
            free,
            leases: holders(device, &swept),
            busy: is_looked_at(device, config).then(|| snapshot.busy.of(device)),
        })
        .collect();
    let json = Value::Array(devices.iter().map(Seen::json).collect());
    let mut text = if devices.is_empty() {
        words::nothing(config, output)
    } else {
        in_table(&devices, &node, wide, output)
    };
    for note in &users.notes {
        text.push_str(&output.line(Paint::Cyan, "note:", note));
    }
    text.push_str(&words::simulated_footer(&node.devices, output));
    if !swept.corrupt.is_empty() {
        let what = words::count(swept.corrupt.len(), "lease record");
        text.push_str(&format!(
            "\nwarning: {what} cannot be read and may hold devices; see `gpulease leases`\n"
        ));
    }
    Ok(Answer::new(text, json))
}

/// What the allocator would see if a container started now.
pub(super) fn snapshot<'a>(
    node: &'a Node,
    swept: &Swept,
    users: &GpuUsers,
    (host, config): (&Host, &Config),
) -> Snapshot<'a> {
    let ctx = Ctx::of(host);
    let busy = BusyProcesses { users: &users.list, policy: config.policy.busy };
    Snapshot {
        node,
        holds: swept.holds(None, node),
        busy: swept.busy_devices(busy, ctx),
        ..Snapshot::idle(node)
    }
}

/// Whether anybody knows who computes on the device. On one that does not exist nobody does.
fn is_looked_at(device: &Device, config: &Config) -> bool {
    device.simulated || (config.policy.busy != Busy::Ignore && device.vendor != Vendor::Intel)
}

/// The leases that hold a part of the device, a MIG instance's GPU among them. Those in
/// their grace do not.
fn holders<'a>(device: &Device, swept: &'a Swept) -> Vec<&'a Lease> {
    let gpu = device.instance().map(|instance| &instance.parent);
    let is_it = |uuid: &DeviceId| *uuid == device.uuid || Some(uuid) == gpu;
    let holds = |lease: &&Lease| {
        lease.state != LeaseState::Grace && lease.devices.iter().any(|d| is_it(&d.uuid))
    };
    swept.leases.iter().filter(holds).collect()
}

struct Seen<'a> {
    device: &'a Device,
    free: (MilliGpu, Bytes),
    leases: Vec<&'a Lease>,
    /// Who computes on it without a lease; `None` where that is not looked at.
    busy: Option<Vec<&'a BusyProcess>>,
}

impl Seen<'_> {
    fn json(&self) -> Value {
        let Device { uuid, index, vendor, model, pci, numa_node, healthy, simulated, .. } =
            self.device;
        let details = &self.device.details;
        json!({
            "uuid": uuid,
            "index": index,
            "vendor": vendor,
            "model": model,
            "memory_total_bytes": self.device.memory_total_bytes,
            "memory_reserved_bytes": self.device.memory_reserved_bytes,
            "memory_capacity_bytes": self.device.capacity(),
            "memory_free_bytes": self.device.capacity().map(|_| self.free.1),
            "milli_free": self.free.0,
            "pci": pci,
            "numa_node": numa_node,
            "mig_mode": self.device.is_in_mig_mode(),
            "mig": self.device.instance(),
            "ambiguous": details.ambiguous,
            "queryable": details.fault.is_none(),
            "fault": details.fault,
            "healthy": healthy,
            "ailment": details.ailment,
            "busy": self.busy.as_ref().map(|busy| busy.iter().map(outsider).collect::<Vec<_>>()),
            "arch": details.arch,
            "brand": details.brand,
            "compute_units": details.compute_units,
            "xccs": details.xccs,
            "partition": details.partition,
            "persistence": details.persistence,
            "compute_mode": details.compute_mode,
            "ecc": details.ecc,
            "simulated": simulated,
            "leases": self.leases.iter().map(|lease| &lease.id).collect::<Vec<_>>(),
        })
    }

    /// What is to be said of it in a word or two: `healthy, busy: 4711 (python3)`.
    fn state(&self) -> String {
        let state = words::state(self.device);
        match self.busy.as_deref().unwrap_or_default() {
            [] => state,
            [BusyProcess { pid, name: Some(name) }] => {
                format!("{state}, busy: {pid} ({})", words::short(name))
            }
            [one] => format!("{state}, busy: {}", one.pid),
            several => format!("{state}, busy: {} processes", several.len()),
        }
    }

    /// A GPU in MIG mode has nothing to give away: its instances have.
    fn free(&self) -> String {
        let (milli, memory) = self.free;
        if self.device.is_in_mig_mode() {
            return "MIG mode".to_owned();
        }
        let known = self.device.capacity();
        // Aligned on both sides: the two numbers are compared down the column.
        format!("{:>5} {:>6}", milli.to_string(), words::memory_if_known(known.map(|_| memory)))
    }
}

fn outsider(outsider: &&BusyProcess) -> Value {
    json!({ "pid": outsider.pid, "name": outsider.name.as_deref().map(shown) })
}

fn in_table(devices: &[Seen<'_>], node: &Node, wide: bool, output: &Output) -> String {
    let mut table = Table::of(devices)
        .right("INDEX", 0, |seen| seen.device.place().to_string())
        .left("UUID", 0, |seen| words::uuid(&seen.device.uuid, node, wide).to_owned())
        .left("VENDOR", 3, |seen| seen.device.vendor.to_string())
        .left("MODEL", 0, |seen| words::model(seen.device))
        .right("MEMORY", 0, |seen| words::memory_if_known(seen.device.capacity()))
        .right("FREE", 0, Seen::free)
        .right("LEASES", 0, |seen| seen.leases.len().to_string())
        .right("NUMA", 1, |seen| words::or_dash(seen.device.numa_node))
        .left("PCI", 2, |seen| seen.device.pci.to_string());
    // What only some need to know.
    if wide {
        let partition = |p: &Partition| shown(&format!("{} {}", p.mode, p.index));
        table = table
            .left("ARCH", 0, |seen| words::or_dash(seen.device.details.arch.as_deref().map(shown)))
            .left("PARTITION", 0, |seen| {
                words::or_dash(seen.device.details.partition.as_ref().map(partition))
            });
    }
    table.left("STATE", 0, Seen::state).render(wide, output)
}
