//! `gpulease topology`: how the GPUs reach each other, and which CPUs are near them.

use super::output::{Answer, Output, Paint};
use super::table::{self, left, right};
use super::words;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::device::{Device, Link, LinkKind};
use crate::model::text::shown;
use crate::paths::Paths;
use serde_json::{Value, json};
use std::fs;

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
    ("-", "nobody knows"),
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
    let matrix: Vec<Vec<Near>> = gpus.iter().zip(&here).map(row).collect();
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

/// How two GPUs reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Near {
    Itself,
    NvLink(u32),
    Xgmi,
    Same,
    Pix,
    Pxb,
    Phb,
    Node,
    Sys,
    Unknown,
}

impl Near {
    /// As `nvidia-smi topo -m` writes it.
    fn label(self) -> String {
        let label = match self {
            Self::NvLink(lanes) => return format!("NV{lanes}"),
            Self::Itself => "X",
            Self::Xgmi => "XGMI",
            Self::Same => "SAME",
            Self::Pix => "PIX",
            Self::Pxb => "PXB",
            Self::Phb => "PHB",
            Self::Node => "NODE",
            Self::Sys => "SYS",
            Self::Unknown => "-",
        };
        label.to_owned()
    }
}

/// The nearest way between two GPUs; without a link, by the NUMA nodes that they hang on.
fn near(a: &Device, b: &Device, links: &[Link], has_one_node: bool) -> Near {
    if a.uuid == b.uuid {
        return Near::Itself;
    }
    let (one, other) = (a.package(), b.package());
    if one == other {
        return Near::Same;
    }
    let is_between =
        |link: &&Link| (link.a == *one && link.b == *other) || (link.a == *other && link.b == *one);
    let between = links.iter().filter(is_between);
    let by_link = between.min_by_key(|link| (link.kind, std::cmp::Reverse(link.lanes)));
    match by_link.map(|link| (link.kind, link.lanes)) {
        Some((LinkKind::NvLink, lanes)) => Near::NvLink(lanes),
        Some((LinkKind::Xgmi, _)) => Near::Xgmi,
        Some((LinkKind::Pcie, _)) => Near::Pix,
        Some((LinkKind::PcieMulti, _)) => Near::Pxb,
        Some((LinkKind::HostBridge, _)) => Near::Phb,
        None => match a.numa_node.zip(b.numa_node) {
            Some((a, b)) if a == b => Near::Node,
            Some(_) => Near::Sys,
            // The firmware of a host with one node may not name it.
            None if has_one_node => Near::Node,
            None => Near::Unknown,
        },
    }
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
fn in_matrix(gpus: &[&Device], matrix: &[Vec<Near>], output: &Output) -> String {
    let cells: Vec<Vec<String>> =
        matrix.iter().map(|row| row.iter().copied().map(Near::label).collect()).collect();
    let names: Vec<String> = gpus.iter().map(|gpu| name(gpu)).collect();
    let widest = cells.iter().flatten().chain(&names).map(String::len).max().unwrap_or(0);
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
        let rows = names.iter().zip(&cells).map(|(name, cells)| line(name, cells));
        let lines: Vec<String> = std::iter::once(head).chain(rows).collect();
        parts.push(lines.join("\n") + "\n");
    }
    parts.join("\n")
}

fn places(gpus: &[&Device], cpus: &[Option<String>], output: &Output) -> String {
    let columns = [
        left("GPU"),
        left("MODEL").rank(2),
        left("PCI").rank(1),
        right("NUMA"),
        left("CPU AFFINITY"),
        left("STATE").rank(3),
    ];
    let rows = gpus.iter().zip(cpus).map(|(gpu, cpus)| {
        vec![
            name(gpu),
            words::model(gpu),
            gpu.pci.to_string(),
            gpu.numa_node.map_or_else(|| "-".to_owned(), |node| node.to_string()),
            cpus.clone().unwrap_or_else(|| "-".to_owned()),
            words::state(gpu),
        ]
    });
    table::render(&columns, &rows.collect::<Vec<_>>(), false, output)
}

/// What the words in this matrix mean.
fn legend(matrix: &[Vec<Near>]) -> String {
    let labels: Vec<String> = matrix.iter().flatten().copied().map(Near::label).collect();
    let is_used = |word: &str| match word.strip_suffix('#') {
        Some(start) => labels.iter().any(|label| label.starts_with(start)),
        None => labels.iter().any(|label| label == word),
    };
    let used = LEGEND.iter().filter(|(word, _)| is_used(word));
    used.map(|(word, meaning)| format!("{word:<4}  {meaning}\n")).collect()
}

fn to_json(gpus: &[&Device], matrix: &[Vec<Near>], cpus: &[Option<String>]) -> Value {
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
            let lanes = match near {
                Near::NvLink(lanes) => Some(lanes),
                _ => None,
            };
            let label = Some(near.label()).filter(|_| *near != Near::Unknown);
            pairs.push(json!({ "a": a.uuid, "b": b.uuid, "path": label, "lanes": lanes }));
        }
    }
    json!({ "devices": devices.collect::<Vec<_>>(), "pairs": pairs })
}

#[cfg(test)]
mod tests;
