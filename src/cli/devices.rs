//! `gpulease devices`: what the node has and what is free of it.

use super::output::{Answer, Output};
use super::table::Table;
use super::words;
use crate::claim::node_use::{BusyNow, NodeUse};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Node, Partition};
use crate::model::text::shown;
use crate::view::devices::{BusyProcessView, DeviceView, DevicesView};

pub(super) fn devices(host: &Host, wide: bool, output: &Output) -> Result<Answer, Failure> {
    let used = NodeUse::look(host)?;
    let busy = BusyNow::look(host, &used)?;
    let view = DevicesView::of(&used, &busy);
    let mut text = match view.devices.as_slice() {
        [] => words::nothing(host.config()?, output),
        devices => in_table(devices, &used.node, wide, output),
    };
    text.push_str(&words::notes(view.notes, output));
    text.push_str(&words::simulated_footer(&used.node.devices, output));
    if view.unreadable_leases > 0 {
        let records = words::count(view.unreadable_leases, "lease record");
        text.push_str(&format!(
            "\nwarning: {records} cannot be read and may hold devices; see `gpulease leases`\n"
        ));
    }
    Ok(Answer::of(text, &view))
}

fn in_table(devices: &[DeviceView<'_>], node: &Node, wide: bool, output: &Output) -> String {
    let mut table = Table::of(devices)
        .right("INDEX", 0, |row| row.device.place().to_string())
        .left("UUID", 0, |row| words::uuid(&row.device.uuid, node, wide).to_owned())
        .left("VENDOR", 3, |row| row.device.vendor.to_string())
        .left("MODEL", 0, |row| words::model(row.device))
        .right("MEMORY", 0, |row| words::memory_if_known(row.memory_capacity_bytes))
        .right("FREE", 0, free)
        .right("LEASES", 0, |row| row.leases.len().to_string())
        .right("NUMA", 1, |row| words::or_dash(row.device.numa_node))
        .left("PCI", 2, |row| row.device.pci.to_string());
    if wide {
        let partition = |p: &Partition| shown(&format!("{} {}", p.mode, p.index));
        table = table.left("ARCH", 0, |row| words::or_dash(row.arch.map(shown))).left(
            "PARTITION",
            0,
            |row| words::or_dash(row.partition.map(partition)),
        );
    }
    table.left("STATE", 0, state).render(wide, output)
}

/// A GPU in MIG mode is not leased itself, its instances are.
fn free(row: &DeviceView<'_>) -> String {
    if row.mig_mode {
        return "MIG mode".to_owned();
    }
    // Both numbers are aligned, so that they can be compared down the column.
    let memory = words::memory_if_known(row.memory_free_bytes);
    format!("{:>5} {memory:>6}", row.milli_free.to_string())
}

/// The state with the processes that have no lease: `healthy, busy: 4711 (python3)`.
fn state(row: &DeviceView<'_>) -> String {
    let state = words::state(row.device);
    match row.busy.as_deref().unwrap_or_default() {
        [] => state,
        [BusyProcessView { pid, name: Some(name) }] => {
            format!("{state}, busy: {pid} ({})", words::short(name))
        }
        [one] => format!("{state}, busy: {}", one.pid),
        several => format!("{state}, busy: {} processes", several.len()),
    }
}
