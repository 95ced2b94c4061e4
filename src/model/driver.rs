//! A vendor's driver on the host: its version, and its files that a container needs.

use super::device::Vendor;
use super::spelled::spelled;
use super::text::shown;
use serde::{Deserialize, Serialize};

spelled! {
    /// The driver's features that a container may ask for (`NVIDIA_DRIVER_CAPABILITIES`).
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
    /// The highest CUDA version that the driver supports (`12.4`), where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// The version of the driver's management library (NVML), where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The directory that contains the driver's files: `/`, or the root of a driver's container.
    pub root: String,
    /// The files that containers need. There are none for a driver whose images bring their own
    /// (AMD).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DriverFile>,
}

impl Driver {
    /// A phrase that says so if the libraries and the kernel module have different versions, as
    /// after an upgrade without a reboot. They only work together in one version.
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

/// The version in the name of one of the two libraries that decide the driver's version:
/// `libcuda.so.550.54.15`, `libnvidia-ml.so.550.54.15`.
fn version_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let version = ["libcuda.so.", "libnvidia-ml.so."].iter().find_map(|l| name.strip_prefix(l))?;
    // `libcuda.so.1` is a name, not a version.
    version.contains('.').then_some(version)
}

/// The kind of a file. It decides where the file goes in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A shared library. It goes where the container's own loader looks.
    Library,
    Binary,
    /// A configuration file of a loader (Vulkan, EGL, OpenCL).
    Config,
    /// Firmware: a file or a directory.
    Firmware,
    /// A socket of one of the driver's services.
    Socket,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFile {
    /// The absolute path on the host, without links.
    pub path: String,
    pub kind: FileKind,
    /// The file's names in a container. Those of a library are relative to the loader's directory:
    /// its own name, its SONAME, and the names by which programs open it (`libcuda.so`, `vdpau/…`).
    /// All other files have absolute paths.
    pub names: Vec<String>,
    /// The features that need the file. It is added if one of them is asked for.
    pub capabilities: Vec<Capability>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_must_have_the_modules_version() {
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
