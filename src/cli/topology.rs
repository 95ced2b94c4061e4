//! `gpulease topology`: how the GPUs reach each other, and which CPUs are near them.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::view::topology::{GpuPosition, TopologyView};

/// The meaning of each word in the matrix, from near to far. `#` stands for a number.
const LEGEND: &[(&str, &str)] = &[
    ("X", "itself"),
    ("NV#", "NVLink, by # links"),
    ("XGMI", "AMD Infinity Fabric"),
    ("SAME", "partitions of one GPU"),
    ("PIX", "PCI Express, by one switch at most"),
    ("PXB", "PCI Express, by several switches"),
    ("PHB", "PCI Express, by a host bridge"),
    ("NODE", "between host bridges of one NUMA node"),
    ("SYS", "between NUMA nodes"),
    ("-", "not known"),
];

pub(super) fn topology(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    let view = TopologyView::of(&node, &host.paths);
    let mut text = match view.devices.as_slice() {
        [] => words::nothing(config, output),
        devices => {
            let names: Vec<String> = devices.iter().map(name).collect();
            let row = |row: &Vec<_>| row.iter().map(ToString::to_string).collect();
            let labels: Vec<Vec<String>> = view.matrix.iter().map(row).collect();
            let parts =
                [matrix(&names, &labels, output), positions(devices, output), legend(&labels)];
            parts.join("\n")
        }
    };
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::of(text, &view))
}

fn name(position: &GpuPosition<'_>) -> String {
    format!("GPU{}", position.device.index)
}

/// The matrix, in as many parts as the width of the terminal makes necessary.
fn matrix(names: &[String], labels: &[Vec<String>], output: &Output) -> String {
    let widest = labels.iter().flatten().chain(names).map(String::len).max().unwrap_or(0);
    let title = names.iter().map(String::len).max().unwrap_or(0);
    let room = output.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(title));
    let per_part = (room / (widest + 2)).max(1);
    let mut parts = Vec::new();
    for start in (0..names.len()).step_by(per_part) {
        let line = |first: &str, cells: &[String]| {
            let cells = cells.iter().skip(start).take(per_part);
            let cells = cells.map(|cell| format!("  {cell:<widest$}")).collect::<String>();
            format!("{first:<title$}{cells}").trim_end().to_owned()
        };
        let head = output.paint(Paint::Bold, &line("", names));
        let rows = names.iter().zip(labels).map(|(name, cells)| line(name, cells));
        let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
        parts.push(lines.join("\n") + "\n");
    }
    parts.join("\n")
}

fn positions(devices: &[GpuPosition<'_>], output: &Output) -> String {
    Table::of(devices)
        .left("GPU", 0, name)
        .left("MODEL", 2, |row| words::model(row.device))
        .left("PCI", 1, |row| row.device.pci.to_string())
        .right("NUMA", 0, |row| words::or_dash(row.device.numa_node))
        .left("CPU AFFINITY", 0, |row| words::or_dash(row.cpus.as_ref()))
        .left("STATE", 3, |row| words::state(row.device))
        .render(false, output)
}

/// The meaning of the words that this matrix has.
fn legend(labels: &[Vec<String>]) -> String {
    let labels = || labels.iter().flatten();
    let used = LEGEND.iter().filter(|(word, _)| match word.strip_suffix('#') {
        Some(start) => labels().any(|label| label.starts_with(start)),
        None => labels().any(|label| label == word),
    });
    used.map(|(word, meaning)| format!("{word:<4}  {meaning}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_wider_than_the_terminal_has_parts() {
        let names: Vec<String> = (0..9).map(|index| format!("GPU{index}")).collect();
        let label = |same: bool| if same { "X" } else { "NODE" }.to_owned();
        let row = |a: usize| (0..9).map(|b| label(a == b)).collect();
        let labels: Vec<Vec<String>> = (0..9).map(row).collect();
        let of_width = |width| matrix(&names, &labels, &Output::of_width(width));
        let whole = of_width(None);
        assert_eq!(whole.lines().count(), 10);
        assert!(whole.starts_with("      GPU0  GPU1"), "{whole}");
        let narrow = of_width(Some(40));
        assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
        assert_eq!(narrow.lines().filter(|line| line.starts_with("GPU8")).count(), 2);
        assert_eq!(narrow.matches("  X").count(), 9);
    }
}
