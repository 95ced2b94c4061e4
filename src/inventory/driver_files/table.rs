//! The files of NVIDIA's driver, and the features that need them.
//!
//! The features are those of NVIDIA's own container tools (`NVIDIA_DRIVER_CAPABILITIES`,
//! libnvidia-container's `nvc_info.c`). The files are those that NVIDIA's driver packages install
//! (`.manifest` and README, "Installed Components").

use crate::model::driver::Capability::{self, Compute, Display, Graphics, Utility, Video};

/// For files that every feature needs.
pub(super) const ANY: &[Capability] = &[Compute, Utility, Graphics, Video, Display];
const DRAWING: &[Capability] = &[Graphics, Display];
/// For a library that is not in this table and comes from a later driver. Management has never
/// needed more libraries than it does now.
const LATER: &[Capability] = &[Compute, Graphics, Video, Display];

/// Libraries, by the part of their name before `.so`.
const LIBRARIES: &[(&str, &[Capability])] = &[
    ("libnvidia-ml", &[Utility]),
    ("libnvidia-cfg", &[Utility]),
    ("libnvidia-nscq", &[Utility]),
    ("libnvidia-sandboxutils", &[Utility]),
    ("libcuda", &[Compute]),
    ("libcudadebugger", &[Compute]),
    ("libnvidia-opencl", &[Compute]),
    ("libnvidia-ptxjitcompiler", &[Compute]),
    ("libnvidia-fatbinaryloader", &[Compute]),
    ("libnvidia-compiler", &[Compute]),
    ("libnvidia-compiler-next", &[Compute]),
    ("libnvidia-nvvm", &[Compute]),
    ("libnvidia-nvvm70", &[Compute]),
    ("libnvidia-tileiras", &[Compute]),
    ("libnvidia-pkcs11", &[Compute]),
    ("libnvidia-pkcs11-openssl3", &[Compute]),
    ("libnvidia-gpucomp", &[Compute, Graphics, Display]),
    ("libnvidia-allocator", &[Compute, Graphics, Display]),
    ("libnvcuvid", &[Video]),
    ("libnvidia-encode", &[Video]),
    ("libnvidia-opticalflow", &[Video]),
    ("libvdpau_nvidia", &[Video]),
    ("libnvidia-ngx", &[Graphics, Video, Display]),
    ("libGLX_nvidia", DRAWING),
    ("libEGL_nvidia", DRAWING),
    ("libGLESv1_CM_nvidia", DRAWING),
    ("libGLESv2_nvidia", DRAWING),
    ("libnvidia-glcore", DRAWING),
    ("libnvidia-eglcore", DRAWING),
    ("libnvidia-glsi", DRAWING),
    ("libnvidia-tls", DRAWING),
    ("libnvidia-glvkspirv", DRAWING),
    ("libnvidia-rtcore", DRAWING),
    ("libnvidia-cbl", DRAWING),
    ("libnvidia-fbc", DRAWING),
    ("libnvidia-ifr", DRAWING),
    ("libnvidia-present", DRAWING),
    ("libnvidia-vulkan-producer", DRAWING),
    ("libnvidia-api", DRAWING),
    ("libnvidia-egl-gbm", DRAWING),
    ("libnvidia-egl-wayland", DRAWING),
    ("libnvidia-egl-wayland2", DRAWING),
    ("libnvidia-egl-xcb", DRAWING),
    ("libnvidia-egl-xlib", DRAWING),
    ("libnvoptix", DRAWING),
    // A plug-in for GBM; a link to libnvidia-allocator.
    ("nvidia-drm_gbm", DRAWING),
];

/// The driver's libraries that have a version of their own.
const OWN_VERSION: &[&str] = &[
    "libnvidia-nvvm70",
    "libnvidia-api",
    "libnvidia-egl-gbm",
    "libnvidia-egl-wayland",
    "libnvidia-egl-wayland2",
    "libnvidia-egl-xcb",
    "libnvidia-egl-xlib",
];

/// Libraries with similar names that are not the driver's: those of `nvidia-settings`, and of
/// NVIDIA's container tools.
const FOREIGN: &[&str] = &[
    "libnvidia-gtk2",
    "libnvidia-gtk3",
    "libnvidia-wayland-client",
    "libnvidia-container",
    "libnvidia-container-go",
];

/// Subdirectories of a directory of libraries in which programs look for some of them.
pub(super) const SUBDIRECTORIES: [&str; 3] = ["", "vdpau", "gbm"];

/// The parts of a library's file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LibraryName<'a> {
    pub stem: &'a str,
    /// `550.54.14`; empty for `libcuda.so`.
    pub version: &'a str,
}

impl<'a> LibraryName<'a> {
    /// Parses the name of a file or link; `None` if it cannot be a library of the driver.
    pub(super) fn of(file_name: &'a str) -> Option<Self> {
        let (stem, version) =
            file_name.split_once(".so.").or_else(|| Some((file_name.strip_suffix(".so")?, "")))?;
        let known = LIBRARIES.iter().any(|(name, _)| *name == stem);
        let is_like_it = stem.starts_with("libnvidia-") && !FOREIGN.contains(&stem);
        (known || is_like_it).then_some(Self { stem, version })
    }

    /// The version of the driver that the file belongs to, if its name contains one.
    pub(super) fn driver_version(&self) -> Option<&'a str> {
        (!self.has_own_version() && is_driver_version(self.version)).then_some(self.version)
    }

    /// Whether the version in its name is not the driver's.
    pub(super) fn has_own_version(&self) -> bool {
        OWN_VERSION.contains(&self.stem)
    }

    /// The features that need it.
    pub(super) fn capabilities(&self) -> &'static [Capability] {
        let known = LIBRARIES.iter().find(|(name, _)| *name == self.stem);
        known.map_or(LATER, |(_, capabilities)| capabilities)
    }
}

/// Whether a text is a version of NVIDIA's drivers: `340.108`, `535.216.01`.
pub(super) fn is_driver_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let first = parts.next().is_some_and(|part| (3..=4).contains(&part.len()));
    let is_number =
        |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    first && (2..=4).contains(&text.split('.').count()) && text.split('.').all(is_number)
}

pub(super) const BINARIES: &[(&str, &[Capability])] = &[
    ("nvidia-smi", &[Utility]),
    ("nvidia-debugdump", &[Utility]),
    ("nvidia-persistenced", &[Utility]),
    ("nvidia-cuda-mps-control", &[Compute]),
    ("nvidia-cuda-mps-server", &[Compute]),
];

/// The directories of programs. The last one is Debian's, whose `/usr/bin` has links to it.
pub(super) const BINARY_DIRS: &[&str] =
    &["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/lib/nvidia/current"];

/// Files that loaders read (Vulkan, EGL, OpenCL), and the driver's own data.
pub(super) const CONFIGS: &[(&str, &[Capability])] = &[
    ("/etc/OpenCL/vendors/nvidia.icd", &[Compute]),
    ("/etc/vulkan/icd.d/nvidia_icd.json", DRAWING),
    ("/etc/vulkan/implicit_layer.d/nvidia_layers.json", DRAWING),
    ("/usr/share/vulkan/icd.d/nvidia_icd.json", DRAWING),
    ("/usr/share/vulkan/icd.d/nvidia_icd.x86_64.json", DRAWING),
    ("/usr/share/vulkan/icd.d/nvidia_icd.aarch64.json", DRAWING),
    ("/usr/share/vulkan/implicit_layer.d/nvidia_layers.json", DRAWING),
    ("/usr/share/glvnd/egl_vendor.d/10_nvidia.json", DRAWING),
    ("/usr/share/egl/egl_external_platform.d/09_nvidia_wayland2.json", DRAWING),
    ("/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json", DRAWING),
    ("/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json", DRAWING),
    ("/usr/share/egl/egl_external_platform.d/20_nvidia_xcb.json", DRAWING),
    ("/usr/share/egl/egl_external_platform.d/20_nvidia_xlib.json", DRAWING),
    ("/usr/share/nvidia/nvoptix.bin", DRAWING),
];

/// Sockets of the driver's services. MPS's pipe is not among them, since it would connect a
/// container to the host's own MPS server; nor is the fabric manager's.
pub(super) const SOCKETS: &[(&str, &[Capability])] =
    &[("/run/nvidia-persistenced/socket", &[Utility])];

/// The directory of firmware, which has a subdirectory for each version of the driver.
pub(super) const FIRMWARE: &str = "/lib/firmware/nvidia";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let of = |name| LibraryName::of(name).map(|n| (n.stem, n.version, n.driver_version()));
        assert_eq!(of("libcuda.so.550.54.14"), Some(("libcuda", "550.54.14", Some("550.54.14"))));
        assert_eq!(of("libcuda.so"), Some(("libcuda", "", None)));
        assert_eq!(of("libnvidia-ml.so.1"), Some(("libnvidia-ml", "1", None)));
        assert_eq!(of("libnvidia-egl-gbm.so.1.1.2"), Some(("libnvidia-egl-gbm", "1.1.2", None)));
        assert_eq!(of("nvidia-drm_gbm.so"), Some(("nvidia-drm_gbm", "", None)));
        for other in ["libc.so.6", "libcudart.so.12", "libnvidia-container.so.1", "libcuda.a", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn versions_of_drivers_are_known_by_their_shape() {
        for yes in ["340.108", "535.216.01", "550.163.01", "1000.1"] {
            assert!(is_driver_version(yes), "{yes}");
        }
        for no in ["1", "1.1.2", "550", "550.", ".550", "550.x", "550.1.2.3.4", "550/..", ""] {
            assert!(!is_driver_version(no), "{no}");
        }
    }

    #[test]
    fn features_decide() {
        let of = |name| LibraryName::of(name).unwrap().capabilities();
        assert_eq!(of("libcuda.so.1"), [Compute]);
        assert_eq!(of("libnvidia-ml.so.1"), [Utility]);
        assert!(!of("libnvidia-of-tomorrow.so.700.10").contains(&Utility));
    }
}
