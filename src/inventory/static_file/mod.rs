//! The static source: a devices file that an administrator or a test wrote.
//!
//! ```toml
//! simulated = false                  # true: none of this exists on the host
//!
//! [[device]]
//! uuid = "GPU-5f1c09ab-…"
//! vendor = "nvidia"                  # or "amd"
//! model = "NVIDIA L40S"
//! memory_mib = 46068
//! reserved_mib = 685                 # what the driver keeps for itself; default 0
//! pci = "0000:17:00.0"
//! numa_node = 0                      # optional
//! kfd_node = 2                       # optional, AMD
//! healthy = true                     # optional; absent is "nobody can say"
//! nodes = ["/dev/nvidia0"]           # simulated: [{ path = "…", major = 1195, minor = 0 }]
//!
//! [[control]]                        # what every container with a device of the vendor needs
//! vendor = "nvidia"
//! nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm"]
//!
//! [[link]]                           # between every two of the devices
//! devices = ["GPU-…", "GPU-…"]
//! kind = "pcie"                      # or "nvlink", "xgmi"
//! lanes = 1                          # default 1
//! ```

mod host;
mod links;
mod nodes;
mod problem;
mod raw;

pub use host::{ExistingNumber, simulated_majors_registered, simulated_numbers_exist};
pub use problem::{
    DEVICES_MAX, MAJOR_MAX, MEMORY_MIB_MAX, MINOR_MAX, MODEL_MAX, NODE_PATH_MAX, Problem,
    StaticFileError,
};

use crate::config::{parse_toml, position};
use crate::model::device::{ControlNodes, Device, Node};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::model::text::shown;
use nodes::NodeChecker;
use raw::{RawDevice, RawFile};
use std::ops::Range;

/// A problem and the bytes of the text that it is about.
type Located = (Range<usize>, Problem);

/// Reads a devices file. Devices come out in PCI order, numbered from 0; links with the end that
/// comes first in that order as `a`.
///
/// # Errors
/// The first problem in the file, with its place; see [`Problem`] for all that is checked.
pub fn parse(text: &str) -> Result<Node, StaticFileError> {
    let raw: RawFile = parse_toml(text).map_err(|found| StaticFileError {
        line: found.line,
        column: found.column,
        problem: Problem::Text(match found.key {
            Some(key) => format!("`{key}`: {}", found.message),
            None => found.message,
        }),
    })?;
    build(raw).map_err(|(span, problem)| {
        let (line, column) = position(text, span.start);
        StaticFileError { line, column, problem }
    })
}

fn build(raw: RawFile) -> Result<Node, Located> {
    if let Some(surplus) = raw.device.get(DEVICES_MAX) {
        return Err((surplus.uuid.span(), Problem::TooManyDevices(raw.device.len())));
    }
    let mut checker = NodeChecker::new(raw.simulated);
    let mut devices: Vec<Device> = Vec::with_capacity(raw.device.len());
    for device in raw.device {
        check_unique(&device, &devices)?;
        let device = convert(device, raw.simulated, &mut checker)?;
        devices.push(device);
    }
    let mut control = Vec::with_capacity(raw.control.len());
    for entry in raw.control {
        let vendor = entry.vendor;
        let nodes = checker.convert(entry.nodes, &format!("every {vendor} device"))?;
        control.push(ControlNodes { vendor, nodes });
    }
    devices.sort_by_key(|device| device.pci);
    for (index, device) in (0..).zip(&mut devices) {
        device.index = index;
    }
    let links = links::build(raw.link, &devices)?;
    Ok(Node { devices, control, links })
}

fn check_unique(new: &RawDevice, known: &[Device]) -> Result<(), Located> {
    let uuid = new.uuid.get_ref();
    if !has_prefix(uuid) {
        return Err((new.uuid.span(), Problem::UuidPrefix(uuid.clone())));
    }
    // Selectors compare without regard to case.
    if known.iter().any(|other| other.uuid.as_str().eq_ignore_ascii_case(uuid.as_str())) {
        return Err((new.uuid.span(), Problem::DuplicateUuid(uuid.clone())));
    }
    let pci = *new.pci.get_ref();
    if let Some(other) = known.iter().find(|other| other.pci == pci) {
        return Err((new.pci.span(), Problem::DuplicatePci { pci, other: other.uuid.clone() }));
    }
    if let Some(given) = &new.kfd_node {
        let kfd_node = *given.get_ref();
        if let Some(other) = known.iter().find(|other| other.kfd_node == Some(kfd_node)) {
            let other = other.uuid.clone();
            return Err((given.span(), Problem::DuplicateKfdNode { kfd_node, other }));
        }
    }
    Ok(())
}

fn has_prefix(uuid: &DeviceId) -> bool {
    ["GPU-", "MIG-"]
        .iter()
        .any(|prefix| uuid.as_str().strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}

fn convert(raw: RawDevice, simulated: bool, checker: &mut NodeChecker) -> Result<Device, Located> {
    let uuid = raw.uuid.into_inner();
    let model = raw.model.get_ref().clone();
    let printable = shown(&model) == model && !model.trim().is_empty();
    if !printable || model.chars().count() > MODEL_MAX {
        return Err((raw.model.span(), Problem::Model(shown(&model))));
    }
    let total = *raw.memory_mib.get_ref();
    if total == 0 {
        return Err((raw.memory_mib.span(), Problem::ZeroMemory(uuid)));
    }
    if total > MEMORY_MIB_MAX {
        return Err((raw.memory_mib.span(), Problem::TooMuchMemory(total)));
    }
    let reserved = raw.reserved_mib.as_ref().map_or(0, |given| *given.get_ref());
    if let Some(given) = raw.reserved_mib
        && reserved >= total
    {
        return Err((given.span(), Problem::AllReserved { reserved, total }));
    }
    if raw.nodes.get_ref().is_empty() {
        return Err((raw.nodes.span(), Problem::NoNodes(uuid)));
    }
    let nodes = checker.convert(raw.nodes.into_inner(), &format!("device `{uuid}`"))?;
    Ok(Device {
        uuid,
        index: 0,
        vendor: raw.vendor,
        model,
        memory_total_bytes: Bytes::from_mib(total),
        memory_reserved_bytes: Bytes::from_mib(reserved),
        pci: raw.pci.into_inner(),
        numa_node: raw.numa_node,
        kfd_node: raw.kfd_node.map(toml::Spanned::into_inner),
        nodes,
        healthy: raw.healthy,
        simulated,
    })
}

#[cfg(test)]
mod tests;
