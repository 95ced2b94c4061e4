//! `gpulease topology`: how the GPUs reach each other, and which CPUs are near them.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Link, LinkKind};
use crate::model::text::shown;
use crate::paths::Paths;
use serde_json::{Value, json};
use std::fs;

/// What is before the number of links.
const NVLINK: &str = "NV";
const UNKNOWN: &str = "-";

/// What the short words in the matrix mean, in the order from near to far.
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
    (UNKNOWN, "nobody knows"),
];

pub(super) fn topology(host: &Host, output: &Output) -> Result<Answer, Failure> {
    let config = host.config()?;
    let node = host.inventory_now(config)?.node;
    // An instance is where its GPU is.
    let gpus: Vec<&Device> = node.devices.iter().filter(|d| d.instance().is_none()).collect();
    let has_one_node = is_one_numa_node(&host.paths);
    // Only of what is on this host's PCI buses.
    let is_here = |gpu: &Device| {
        let place = host.paths.sys.join("bus/pci/devices").join(gpu.pci.to_string());
        has_one_node && !gpu.simulated && place.exists()
    };
    let here: Vec<bool> = gpus.iter().map(|gpu| is_here(gpu)).collect();
    let row = |(a, a_here): (&&Device, &bool)| {
        let cells = gpus.iter().zip(&here);
        cells.map(|(b, b_here)| near(a, b, &node.links, *a_here && *b_here)).collect()
    };
    let matrix: Vec<Vec<String>> = gpus.iter().zip(&here).map(row).collect();
    let cpus: Vec<Option<String>> = gpus.iter().map(|gpu| cpus(gpu, &host.paths)).collect();
    let json = to_json(&gpus, &matrix, &cpus);
    let mut text = if gpus.is_empty() {
        words::nothing(config, output)
    } else {
        let parts = [in_matrix(&gpus, &matrix, output), places(&gpus, &cpus, output)];
        format!("{}\n{}", parts.join("\n"), legend(&matrix))
    };
    text.push_str(&words::simulated_footer(&node.devices, output));
    Ok(Answer::new(text, json))
}

/// The nearest way between two GPUs, as `nvidia-smi topo -m` writes it; without a link, by the NUMA
/// nodes that they hang on.
fn near(a: &Device, b: &Device, links: &[Link], has_one_node: bool) -> String {
    let (one, other) = (a.package(), b.package());
    let is_between =
        |link: &&Link| (link.a == *one && link.b == *other) || (link.a == *other && link.b == *one);
    let between = links.iter().filter(is_between);
    let by_link = between.min_by_key(|link| (link.kind, std::cmp::Reverse(link.lanes)));
    let label = match by_link.map(|link| (link.kind, link.lanes)) {
        _ if a.uuid == b.uuid => "X",
        _ if one == other => "SAME",
        Some((LinkKind::NvLink, lanes)) => return format!("{NVLINK}{lanes}"),
        Some((LinkKind::Xgmi, _)) => "XGMI",
        Some((LinkKind::Pcie, _)) => "PIX",
        Some((LinkKind::PcieMulti, _)) => "PXB",
        Some((LinkKind::HostBridge, _)) => "PHB",
        None => match a.numa_node.zip(b.numa_node) {
            Some((a, b)) if a == b => "NODE",
            Some(_) => "SYS",
            // The firmware of a host with one node may not name it.
            None if has_one_node => "NODE",
            None => UNKNOWN,
        },
    };
    label.to_owned()
}

fn is_one_numa_node(paths: &Paths) -> bool {
    let online = fs::read_to_string(paths.sys.join("devices/system/node/online"));
    online.is_ok_and(|online| online.trim() == "0")
}

/// The CPUs of the GPU's NUMA node, as the kernel lists them: `0-31,64-95`. A simulated device is
/// near none of this host's.
fn cpus(device: &Device, paths: &Paths) -> Option<String> {
    let node = device.numa_node.filter(|_| !device.simulated)?;
    let file = paths.sys.join(format!("devices/system/node/node{node}/cpulist"));
    let text = fs::read_to_string(file).ok()?;
    Some(shown(text.trim())).filter(|list| !list.is_empty())
}

fn name(device: &Device) -> String {
    format!("GPU{}", device.index)
}

/// In as many parts as the terminal's width makes necessary.
fn in_matrix(gpus: &[&Device], matrix: &[Vec<String>], output: &Output) -> String {
    let names: Vec<String> = gpus.iter().map(|gpu| name(gpu)).collect();
    let widest = matrix.iter().flatten().chain(&names).map(String::len).max().unwrap_or(0);
    let title = names.iter().map(String::len).max().unwrap_or(0);
    let room = output.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(title));
    let per_part = (room / (widest + 2)).max(1);
    let mut parts = Vec::new();
    for start in (0..gpus.len()).step_by(per_part) {
        let line = |first: &str, cells: &[String]| {
            let cells = cells.iter().skip(start).take(per_part);
            let cells = cells.map(|cell| format!("  {cell:<widest$}")).collect::<String>();
            format!("{first:<title$}{cells}").trim_end().to_owned()
        };
        let head = output.paint(Paint::Bold, &line("", &names));
        let rows = names.iter().zip(matrix).map(|(name, cells)| line(name, cells));
        let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
        parts.push(lines.join("\n") + "\n");
    }
    parts.join("\n")
}

fn places(gpus: &[&Device], cpus: &[Option<String>], output: &Output) -> String {
    let rows: Vec<(&Device, &Option<String>)> = gpus.iter().copied().zip(cpus).collect();
    Table::of(&rows)
        .left("GPU", 0, |(gpu, _)| name(gpu))
        .left("MODEL", 2, |(gpu, _)| words::model(gpu))
        .left("PCI", 1, |(gpu, _)| gpu.pci.to_string())
        .right("NUMA", 0, |(gpu, _)| words::or_dash(gpu.numa_node))
        .left("CPU AFFINITY", 0, |(_, cpus)| words::or_dash(cpus.as_ref()))
        .left("STATE", 3, |(gpu, _)| words::state(gpu))
        .render(false, output)
}

/// What the words in this matrix mean.
fn legend(matrix: &[Vec<String>]) -> String {
    let labels = || matrix.iter().flatten();
    let used = LEGEND.iter().filter(|(word, _)| match word.strip_suffix('#') {
        Some(start) => labels().any(|label| label.starts_with(start)),
        None => labels().any(|label| label == word),
    });
    used.map(|(word, meaning)| format!("{word:<4}  {meaning}\n")).collect()
}

fn to_json(gpus: &[&Device], matrix: &[Vec<String>], cpus: &[Option<String>]) -> Value {
    let devices = gpus.iter().zip(cpus).map(|(gpu, cpus)| {
        json!({
            "uuid": gpu.uuid,
            "index": gpu.index,
            "pci": gpu.pci,
            "numa_node": gpu.numa_node,
            "cpus": cpus,
            "simulated": gpu.simulated,
        })
    });
    let mut pairs = Vec::new();
    for (from, (a, row)) in gpus.iter().zip(matrix).enumerate() {
        for (b, near) in gpus.iter().zip(row).skip(from + 1) {
            let lanes = near.strip_prefix(NVLINK).and_then(|lanes| lanes.parse::<u32>().ok());
            let path = Some(near).filter(|near| *near != UNKNOWN);
            pairs.push(json!({ "a": a.uuid, "b": b.uuid, "path": path, "lanes": lanes }));
        }
    }
    json!({ "devices": devices.collect::<Vec<_>>(), "pairs": pairs })
}

#[cfg(test)]
mod tests;
