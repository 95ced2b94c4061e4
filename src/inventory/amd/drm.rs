//! The data of a GPU in `/sys/class/drm` and on PCI: its address, its memory, its name, its modes.

use super::ras;
use crate::inventory::sysfs;
use crate::model::device::PciAddress;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The DRM side of a GPU or a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrmDevice {
    /// The PCI address of the GPU. A partition is a platform device and has its GPU's.
    pub pci: PciAddress,
    /// The GPU's directory below `/sys/devices`.
    pub directory: PathBuf,
    /// The N of the device's own `cardN`, if it has one.
    pub card: Option<u32>,
    /// The NUMA node that the GPU is attached to.
    pub numa_node: Option<u32>,
    /// The memory of the whole GPU, in bytes.
    pub vram_total: Option<u64>,
    /// The same id as KFD's, for GPUs whose id KFD does not tell.
    pub unique_id: Option<u64>,
    pub device_id: Option<u64>,
    /// The model's name.
    pub product_name: Option<String>,
    /// `SPX`, `CPX`, …, if the GPU can be partitioned.
    pub compute_partition: Option<String>,
    pub memory_partition: Option<String>,
    /// The RAS counters; `None` if there are none.
    pub ras: Option<ras::Counts>,
    /// The first file that could not be read, and the error: the GPU is being reset, or gone from
    /// the bus.
    pub fault: Option<String>,
}

/// The device of `renderD<minor>`; `None` if there is none, or it is not on PCI.
pub fn of_render_node(sys: &Path, minor: u32, location: Option<PciAddress>) -> Option<DrmDevice> {
    let own = fs::canonicalize(sys.join(format!("class/drm/renderD{minor}/device"))).ok()?;
    let (pci, gpu) = match sysfs::pci_of(&own) {
        Some(pci) => (pci, own.clone()),
        // A partition's own directory has neither memory nor a name. They are in its GPU's.
        None => (location?, sysfs::pci_directory(sys, location?)?),
    };
    Some(read(pci, gpu, &own))
}

/// The device of a GPU, of which only the PCI directory is known.
pub fn of_pci(pci: PciAddress, directory: PathBuf) -> DrmDevice {
    let own = directory.clone();
    read(pci, directory, &own)
}

fn read(pci: PciAddress, gpu: PathBuf, own: &Path) -> DrmDevice {
    let mut files = Files { directory: &gpu, fault: None };
    let vram_total = files.text("mem_info_vram_total").and_then(|bytes| bytes.parse().ok());
    let unique_id = files.text("unique_id").and_then(|id| hex(&id));
    let device_id = files.text("device").and_then(|id| hex(&id));
    let product_name = files.text("product_name");
    let compute_partition = files.mode("current_compute_partition");
    let memory_partition = files.mode("current_memory_partition");
    let fault = files.fault;
    DrmDevice {
        pci,
        card: sysfs::numbered(&own.join("drm"), "card").first().copied(),
        numa_node: sysfs::numa_node(&gpu),
        vram_total,
        unique_id,
        device_id,
        product_name,
        compute_partition,
        memory_partition,
        ras: ras::read(&gpu.join("ras")),
        fault,
        directory: gpu,
    }
}

/// Reads `0x74a1`, or the bare digits of a unique id. 0 is not an id.
fn hex(text: &str) -> Option<u64> {
    let id = u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    Some(id).filter(|id| *id > 0)
}

/// The files of a GPU, and the first one that could not be read.
struct Files<'a> {
    directory: &'a Path,
    fault: Option<String>,
}

impl Files<'_> {
    fn text(&mut self, name: &str) -> Option<String> {
        match sysfs::text(&self.directory.join(name)) {
            Ok(text) => text,
            Err(error) => {
                if self.fault.is_none() && is_fault(&error) {
                    self.fault = Some(format!("its driver does not answer: `{name}`: {error}"));
                }
                None
            }
        }
    }

    fn mode(&mut self, name: &str) -> Option<String> {
        self.text(name).filter(|mode| !mode.eq_ignore_ascii_case("UNKNOWN"))
    }
}

/// Whether the error comes from the driver. For a GPU in a reset it is EPERM, or EBUSY in newer
/// kernels (`amdgpu_in_reset`). EACCES comes from the file system, and concerns the reader.
fn is_fault(error: &io::Error) -> bool {
    use nix::libc::{EBUSY, EIO, ENODEV, ENXIO, EPERM, ETIMEDOUT};
    error
        .raw_os_error()
        .is_some_and(|errno| [EBUSY, EIO, ENODEV, ENXIO, EPERM, ETIMEDOUT].contains(&errno))
}
