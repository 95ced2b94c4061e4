//! `gpulease memory`: how much each device has, and what is leased and used of it.

use super::output::{Answer, Output};
use super::table::Table;
use super::words;
use crate::claim::node_use::NodeUse;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory;
use crate::view::memory::{DeviceMemory, MemoryView};

pub(super) fn memory(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let used = NodeUse::look(host)?;
    let usage = inventory::usage(&used.node, &host.paths, config);
    let view = MemoryView::of(&used, &usage);
    let mut text = match view.devices.as_slice() {
        [] => words::nothing(config, output),
        devices => in_table(devices, output),
    };
    text.push_str(&words::simulated_footer(&used.node.devices, output));
    Ok(Answer::of(text, &view))
}

fn in_table(devices: &[DeviceMemory<'_>], output: &Output) -> String {
    Table::of(devices)
        .right("INDEX", 0, |row| row.device.place().to_string())
        .left("MODEL", 0, |row| words::model(row.device))
        .right("TOTAL", 0, |row| words::memory_or_dash(row.total_bytes))
        .right("RESERVED", 0, |row| words::memory_or_dash(row.reserved_bytes))
        .right("LEASED", 0, |row| words::memory_or_dash(row.leased_bytes))
        .right("USED", 0, |row| words::memory_or_dash(row.used_bytes))
        .right("FREE TO LEASE", 0, |row| words::memory_or_dash(row.free_to_lease_bytes))
        .left("STATE", 1, |row| words::state(row.device))
        .render(false, output)
}
