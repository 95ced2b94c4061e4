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
//! healthy = true                     # optional; absent means unknown
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

mod check;
mod host;
mod instances;
mod limits;
mod links;
mod nodes;
mod raw;

pub use host::{ExistingNumber, simulated_majors_registered, simulated_numbers_exist};
pub use limits::{DEVICES_MAX, MODEL_MAX};

use crate::config::{parse_toml, position};
use crate::model::device::{ControlNodes, Details, Device, Node, Vendor};
use crate::model::mig::Mig;
use crate::model::quantity::Bytes;
use crate::model::text::shown;
use check::{Located, check_uuid, is_arch, is_version, memory, number, text};
use nodes::NodeChecker;
use raw::{RawDevice, RawFile, RawInstance};
use thiserror::Error;
use toml::Spanned;

/// A fault in a devices file, and its position. Columns are counted in characters, from 1.
#[derive(Debug, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct StaticFileError {
    pub line: usize,
    pub column: usize,
    pub problem: String,
}

/// Reads a devices file. GPUs are returned in PCI order, numbered from 0, each followed by its MIG
/// instances. In a link, `a` is the end that comes first in this order. Fails with the first fault
/// in the file.
pub fn parse(text: &str) -> Result<Node, StaticFileError> {
    let raw: RawFile = parse_toml(text).map_err(|found| StaticFileError {
        line: found.line,
        column: found.column,
        problem: match found.key {
            Some(key) => format!("`{key}`: {}", found.message),
            None => found.message,
        },
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
    let problem = || format!("there are {count} devices, at most {DEVICES_MAX} are allowed");
    surplus.map_or(Ok(()), |span| Err((span, problem())))
}

fn check_unique(new: &RawDevice, known: &[Device]) -> Result<(), Located> {
    let uuid = new.uuid.get_ref();
    check_uuid(&new.uuid, "GPU-", known, || {
        format!(
            "the device UUID `{uuid}` does not begin with `GPU-` (a MIG instance, `MIG-…`, is \
             listed by a `[[device.mig]]` of its GPU)"
        )
    })?;
    let pci = *new.pci.get_ref();
    if let Some(other) = known.iter().find(|other| other.pci == pci) {
        let other = &other.uuid;
        let problem =
            format!("the PCI address `{pci}` is given twice: device `{other}` has it as well");
        return Err((new.pci.span(), problem));
    }
    if let Some(given) = &new.kfd_node {
        let kfd_node = *given.get_ref();
        if let Some(other) = known.iter().find(|other| other.kfd_node == Some(kfd_node)) {
            let other = &other.uuid;
            let problem =
                format!("the KFD node {kfd_node} is given twice: device `{other}` has it as well");
            return Err((given.span(), problem));
        }
    }
    Ok(())
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
        let problem = format!(
            "the model `{}` is not a name of 1 to {MODEL_MAX} printable characters",
            shown(&model)
        );
        return Err((raw.model.span(), problem));
    }
    let total = memory(&raw.memory_mib, &uuid)?;
    let reserved = raw.reserved_mib.as_ref().map_or(0, |given| *given.get_ref());
    if let Some(given) = raw.reserved_mib
        && reserved >= total.mib()
    {
        let problem = format!(
            "`reserved_mib` is {reserved}, which leaves nothing of `memory_mib` {}",
            total.mib()
        );
        return Err((given.span(), problem));
    }
    if raw.nodes.get_ref().is_empty() {
        return Err((raw.nodes.span(), format!("device `{uuid}` has no `nodes`")));
    }
    let nodes = checker.convert(raw.nodes.into_inner(), &format!("device `{uuid}`"))?;
    let vendor = raw.vendor;
    if raw.mig.is_some() && vendor != Vendor::Nvidia {
        let problem = format!("the device `{uuid}` is made by {vendor} and has no MIG instances");
        return Err((at, problem));
    }
    let no_arch = |arch| {
        format!(
            "the `arch` `{arch}` is neither a compute capability of NVIDIA's, as `9.0`, nor a name \
             of AMD's, as `gfx942`, whichever the device is"
        )
    };
    let no_cuda = |cuda| format!("the `cuda` `{cuda}` is not a version like `12.4`");
    let details = Details {
        arch: text(raw.arch, |arch| is_arch(vendor, arch), no_arch)?,
        cuda: text(raw.cuda, is_version, no_cuda)?,
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
