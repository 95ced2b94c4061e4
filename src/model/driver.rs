//! A vendor's driver on the host: its version, and the files of it that a container needs.

use super::device::Vendor;
use super::spelled::spelled;
use super::text::shown;
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

impl Driver {
    /// What is wrong where its libraries are of another version than its kernel module, with which
    /// alone they work: an upgrade without a reboot leaves them apart.
    pub fn misfit(&self) -> Option<String> {
        let module = self.version.as_deref().filter(|_| !self.files.is_empty())?;
        let libraries = || self.files.iter().filter(|file| file.kind == FileKind::Library);
        let end = format!(".so.{module}");
        if libraries().any(|file| file.path.ends_with(&end)) {
            return None;
        }
        let mut versions: Vec<&str> =
            libraries().filter_map(|file| version_of(&file.path)).collect();
        versions.sort_unstable();
        versions.dedup();
        let versions =
            if versions.is_empty() { "another".to_owned() } else { versions.join(" and ") };
        Some(format!(
            "NVIDIA's kernel module has version {}, its libraries have {}",
            shown(module),
            shown(&versions)
        ))
    }
}

/// The version of the two libraries that tell it by their names and that all else
/// goes by: `libcuda.so.550.54.15`, `libnvidia-ml.so.550.54.15`.
fn version_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let version = ["libcuda.so.", "libnvidia-ml.so."].iter().find_map(|l| name.strip_prefix(l))?;
    // `libcuda.so.1` is a name, not a version.
    version.contains('.').then_some(version)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_another_version_than_the_module_are_told() {
        let file = |path: &&str| DriverFile {
            path: (*path).to_owned(),
            kind: FileKind::Library,
            names: Vec::new(),
            capabilities: Vec::new(),
        };
        let misfit = |module: Option<&str>, paths: &[&str]| {
            let driver = Driver {
                vendor: Vendor::Nvidia,
                version: module.map(str::to_owned),
                cuda: None,
                library: None,
                root: "/".to_owned(),
                files: paths.iter().map(file).collect(),
            };
            driver.misfit().unwrap_or_default()
        };
        let old = ["/a/libcuda.so.550.54.15", "/a/libnvidia-ml.so.550.54.15", "/a/libvdpau.so.1.0"];
        assert_eq!(misfit(Some("550.54.15"), &old), "");
        assert_eq!(misfit(None, &old), "");
        assert_eq!(misfit(Some("550.54.15"), &[]), "");
        let told = "NVIDIA's kernel module has version 550.90.07, its libraries have 550.54.15";
        assert_eq!(misfit(Some("550.90.07"), &old), told);
        assert!(
            misfit(Some("54.15"), &old).ends_with("version 54.15, its libraries have 550.54.15")
        );
        assert!(misfit(Some("550.90.07"), &["/a/libcuda.so.1"]).ends_with("have another"));
    }
}
