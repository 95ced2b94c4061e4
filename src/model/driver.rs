//! A vendor's driver on the host: its version, and the files of it that a container needs.

use super::device::Vendor;
use super::spelled::spelled;
use serde::{Deserialize, Serialize};

spelled! {
    /// Driver features that a container may ask for (`NVIDIA_DRIVER_CAPABILITIES`).
    pub enum Capability {
        Compute = "compute",
        Utility = "utility",
        Graphics = "graphics",
        Video = "video",
        Display = "display",
        All = "all",
    }
}

/// A vendor's driver, as a scan found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    pub vendor: Vendor,
    /// The version of the kernel module; null where none is loaded.
    pub version: Option<String>,
    /// The highest CUDA version that it can serve (`12.4`), where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The version of its management library (NVML), where one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The directory that its files lie below: `/`, unless the driver is in a container's.
    pub root: String,
    /// The files that containers need. None for a driver whose images bring their own (AMD).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DriverFile>,
}

/// What kind of file it is, which decides where it goes in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A shared library: goes where the container's own loader looks.
    Library,
    Binary,
    /// A configuration file of a loader (Vulkan, EGL, OpenCL).
    Config,
    /// Firmware: a file or a directory.
    Firmware,
    /// A socket of a service of the driver's.
    Socket,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFile {
    /// Where it lies on the host, absolute, links resolved.
    pub path: String,
    pub kind: FileKind,
    /// The names that it has in a container. Of a library, below the loader's directory: its
    /// own, its SONAME, and the names that programs open it by (`libcuda.so`, `vdpau/…`). Of all
    /// else, the absolute path.
    pub names: Vec<String>,
    /// The features that it belongs to: it is needed if one of them is asked for.
    pub capabilities: Vec<Capability>,
}
