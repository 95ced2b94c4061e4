//! `gpulease processes`: the processes on the node's devices, and the lease of each.

use super::output::{Answer, Output};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::inventory::activity::ProcessKind;
use crate::model::id::short_id;
use crate::view::processes::{ProcessOnDevice, ProcessView, ProcessesView};

pub(super) fn processes(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let node = host.inventory_now(host.config()?)?.node;
    let view = ProcessesView::look(host, &node)?;
    let mut text = match view.processes.as_slice() {
        [] => "no process computes on the node's devices\n".to_owned(),
        processes => in_table(processes, output),
    };
    text.push_str(&words::notes(&view.notes, output));
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::of(text, &view))
}

/// A row for each process on each device.
fn in_table(processes: &[ProcessView], output: &Output) -> String {
    let rows: Vec<(&ProcessView, &ProcessOnDevice)> = processes
        .iter()
        .flat_map(|process| process.devices.iter().map(move |device| (process, device)))
        .collect();
    Table::of(&rows)
        .right("PID", 0, |(process, _)| process.pid.to_string())
        .left("USER", 2, |(process, _)| process.user.clone().unwrap_or_else(|| "?".to_owned()))
        .right("DEVICE", 0, |(_, device)| device.place().to_string())
        .right("MEMORY", 0, |(_, device)| words::memory_or_dash(device.memory_bytes))
        .left("TYPE", 3, |(_, device)| letter(device.kind).to_owned())
        .left("LEASE", 0, |(process, _)| lease(process))
        .left("CONTAINER", 1, |(process, _)| container(process))
        .left("COMMAND", 0, |(process, _)| process.command.clone())
        .render(false, output)
}

/// As in the table of nvidia-smi.
const fn letter(kind: ProcessKind) -> &'static str {
    match kind {
        ProcessKind::Compute => "C",
        ProcessKind::Graphics => "G",
        ProcessKind::Mps => "M",
    }
}

fn lease(process: &ProcessView) -> String {
    match (&process.lease, process.outside) {
        _ if process.mps_daemon => "mps".to_owned(),
        (Some(lease), _) => lease.to_string(),
        (None, None) => "?".to_owned(),
        (None, Some(_)) => "outside".to_owned(),
    }
}

fn container(process: &ProcessView) -> String {
    match (&process.container_id, process.outside) {
        _ if process.mps_daemon => "-".to_owned(),
        (Some(container), _) => short_id(container.as_str()).to_owned(),
        (None, None) => "?".to_owned(),
        (None, Some(_)) => "-".to_owned(),
    }
}
