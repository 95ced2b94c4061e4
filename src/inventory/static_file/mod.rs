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
//! arch = "8.9"                       # optional: CUDA compute capability, or AMD's `gfx942`
//! cuda = "12.4"                      # optional, NVIDIA: the highest CUDA version of the driver
//! compute_units = 142                # optional; AMD also: `xccs`, and `shader_engines` of each
//! healthy = true                     # optional; absent is "nobody can say"
//! nodes = ["/dev/nvidia0"]           # simulated: [{ path = "…", major = 1195, minor = 0 }]
//!
//! [[device.mig]]                     # an instance of the GPU above, which is in MIG mode; `mig =
//! uuid = "MIG-0fb9…"                 # []` under `[[device]]` for one that has no instances
//! profile = "1g.5gb"
//! gi = 7                             # GPU instance id; compute instance id: `ci`, default 0
//! memory_mib = 4864
//! healthy = true                     # default: as the GPU
//! nodes = ["/dev/nvidia-caps/nvidia-cap66", "/dev/nvidia-caps/nvidia-cap67"]
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

mod details;
mod host;
mod instances;
mod links;
mod nodes;
mod problem;
mod raw;

pub use host::{ExistingNumber, simulated_majors_registered, simulated_numbers_exist};
pub use problem::{DEVICES_MAX, MEMORY_MIB_MAX, MODEL_MAX, Problem, StaticFileError};

use crate::config::{parse_toml, position};
use crate::model::device::{ControlNodes, Details, Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::mig::Mig;
use crate::model::quantity::Bytes;
use crate::model::text::shown;
use details::{is_arch, is_version, number, text};
use nodes::NodeChecker;
use raw::{RawDevice, RawFile, RawInstance};
use std::ops::Range;
use toml::Spanned;

/// A problem and the bytes of the text that it is about.
type Located = (Range<usize>, Problem);

/// Reads a devices file. GPUs come out in PCI order, numbered from 0, each with its MIG instances
/// after it; links with the end that comes first in that order as `a`. Fails: the first problem in
/// the file, with its place; see [`Problem`] for all that is checked.
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
    check_number(&raw.device)?;
    let mut checker = NodeChecker::new(raw.simulated);
    let mut devices: Vec<Device> = Vec::with_capacity(raw.device.len());
    for device in raw.device {
        check_unique(&device, &devices)?;
        let (gpu, instances) = convert(device, raw.simulated, &mut checker)?;
        devices.push(gpu);
        let instances = instances::build(instances, &devices, &mut checker)?;
        devices.extend(instances);
    }
    let mut control = Vec::with_capacity(raw.control.len());
    for entry in raw.control {
        let vendor = entry.vendor;
        let nodes = checker.convert(entry.nodes, &format!("every {vendor} device"))?;
        control.push(ControlNodes { vendor, nodes });
    }
    let mut node = Node { devices, control, links: Vec::new() };
    node.number();
    node.links = links::build(raw.link, &node.devices)?;
    Ok(node)
}

/// Instances count as well.
fn check_number(devices: &[RawDevice]) -> Result<(), Located> {
    let mut count: usize = 0;
    let mut surplus = None;
    for device in devices {
        count += 1 + device.mig.as_ref().map_or(0, Vec::len);
        if count > DEVICES_MAX {
            surplus = surplus.or_else(|| Some(device.uuid.span()));
        }
    }
    surplus.map_or(Ok(()), |span| Err((span, Problem::TooManyDevices(count))))
}

fn check_unique(new: &RawDevice, known: &[Device]) -> Result<(), Located> {
    let uuid = new.uuid.get_ref();
    check_uuid(&new.uuid, "GPU-", known)
        .map_err(|twice| twice.unwrap_or_else(|| Problem::UuidPrefix(uuid.clone())))
        .map_err(|problem| (new.uuid.span(), problem))?;
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

/// Whether a UUID is there for the first time; `None` is the error of one without the prefix.
fn check_uuid<'d>(
    new: &Spanned<DeviceId>,
    prefix: &str,
    known: impl IntoIterator<Item = &'d Device>,
) -> Result<(), Option<Problem>> {
    let uuid = new.get_ref();
    if uuid.as_str().strip_prefix(prefix).is_none_or(str::is_empty) {
        return Err(None);
    }
    // Selectors compare without regard to case.
    let is_same = |other: &Device| other.uuid.as_str().eq_ignore_ascii_case(uuid.as_str());
    if known.into_iter().any(is_same) {
        return Err(Some(Problem::DuplicateUuid(uuid.clone())));
    }
    Ok(())
}

fn memory(given: &Spanned<u64>, uuid: &DeviceId) -> Result<Bytes, Located> {
    match *given.get_ref() {
        0 => Err((given.span(), Problem::ZeroMemory(uuid.clone()))),
        mib if mib > MEMORY_MIB_MAX => Err((given.span(), Problem::TooMuchMemory(mib))),
        mib => Ok(Bytes::from_mib(mib)),
    }
}

fn convert(
    raw: RawDevice,
    simulated: bool,
    checker: &mut NodeChecker,
) -> Result<(Device, Vec<RawInstance>), Located> {
    let at = raw.uuid.span();
    let uuid = raw.uuid.into_inner();
    let model = raw.model.get_ref().clone();
    let printable = shown(&model) == model && !model.trim().is_empty();
    if !printable || model.chars().count() > MODEL_MAX {
        return Err((raw.model.span(), Problem::Model(shown(&model))));
    }
    let total = memory(&raw.memory_mib, &uuid)?;
    let reserved = raw.reserved_mib.as_ref().map_or(0, |given| *given.get_ref());
    if let Some(given) = raw.reserved_mib
        && reserved >= total.mib()
    {
        return Err((given.span(), Problem::AllReserved { reserved, total: total.mib() }));
    }
    if raw.nodes.get_ref().is_empty() {
        return Err((raw.nodes.span(), Problem::NoNodes(uuid)));
    }
    let nodes = checker.convert(raw.nodes.into_inner(), &format!("device `{uuid}`"))?;
    let vendor = raw.vendor;
    if raw.mig.is_some() && vendor != Vendor::Nvidia {
        return Err((at, Problem::MigVendor { uuid, vendor }));
    }
    let details = Details {
        arch: text(raw.arch, |arch| is_arch(vendor, arch), Problem::Arch)?,
        cuda: text(raw.cuda, is_version, Problem::Cuda)?,
        compute_units: number("compute_units", raw.compute_units)?,
        xccs: number("xccs", raw.xccs)?,
        shader_engines: number("shader_engines", raw.shader_engines)?,
        ..Details::default()
    };
    let gpu = Device {
        uuid,
        index: 0,
        vendor,
        model,
        memory_total_bytes: Some(total),
        memory_reserved_bytes: Some(Bytes::from_mib(reserved)),
        pci: raw.pci.into_inner(),
        numa_node: raw.numa_node,
        kfd_node: raw.kfd_node.map(Spanned::into_inner),
        nodes,
        healthy: raw.healthy,
        simulated,
        mig: raw.mig.as_ref().map(|_| Mig::Enabled),
        details,
    };
    Ok((gpu, raw.mig.unwrap_or_default()))
}

#[cfg(test)]
mod mig_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod tests;
