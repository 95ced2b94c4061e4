//! The GPUs that NVIDIA's kernel module shows in `/proc/driver/nvidia`, and the kernel on the PCI
//! bus.

use crate::config::Source;
use crate::inventory::stamp::{Look, Stamp};
use crate::inventory::sysfs;
use crate::model::device::PciAddress;
use crate::model::text::shown;
use crate::paths::Paths;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A GPU that the kernel module drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelGpu {
    pub(super) pci: PciAddress,
    pub(super) model: Option<String>,
    /// Its UUID, once it has been used for the first time.
    pub(super) uuid: Option<String>,
    /// The minor number of its node in `/dev`.
    pub(super) minor: Option<u32>,
    /// The state of the file that these were read from.
    pub(super) information: Stamp,
}

#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// The GPUs, in PCI order.
    pub(super) gpus: Vec<KernelGpu>,
    /// Messages for people.
    pub(super) notes: Vec<String>,
}

/// The directory with an entry for each GPU.
pub(super) fn gpus_dir(paths: &Paths) -> PathBuf {
    paths.proc.join("driver/nvidia/gpus")
}

/// The GPUs of the kernel module.
pub(super) fn read(paths: &Paths) -> Kernel {
    let mut kernel = Kernel::default();
    for entry in fs::read_dir(gpus_dir(paths)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pci) = PciAddress::parse(&name) else { continue };
        let path = entry.path().join("information");
        let information = Stamp::of_text(Source::Nvidia, &path)
            .unwrap_or_else(|_| Stamp::unknown(Source::Nvidia, &path));
        // If the file cannot be read, at least the address is known.
        let text = match &information.look {
            Look::Text(text) => text.as_str(),
            _ => "",
        };
        let facts = facts(text);
        if facts.get("GPU Excluded").is_some_and(|value| value.eq_ignore_ascii_case("yes")) {
            kernel.notes.push(format!("GPU {pci} is excluded in the driver's configuration"));
            continue;
        }
        let uuid = facts.get("GPU UUID").filter(|uuid| !uuid.contains('?'));
        kernel.gpus.push(KernelGpu {
            pci,
            model: facts.get("Model").map(|model| shown(model)),
            uuid: uuid.map(|uuid| (*uuid).to_owned()),
            minor: facts.get("Device Minor").and_then(|minor| minor.parse().ok()),
            information: information.clone(),
        });
    }
    kernel.gpus.sort_by_key(|gpu| gpu.pci);
    kernel
}

/// Reads lines like `Device Minor: \t 0`: a name, a colon, white space and a value.
fn facts(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// The version of the kernel module that is loaded.
pub(super) fn version(paths: &Paths) -> Option<String> {
    let text = fs::read_to_string(version_path(paths)).ok()?;
    Some(text.trim().to_owned()).filter(|version| !version.is_empty())
}

/// The file with the version.
pub(super) fn version_path(paths: &Paths) -> PathBuf {
    paths.sys.join("module/nvidia/version")
}

/// A note for each NVIDIA GPU that is bound to another driver, or to none.
pub(super) fn unbound(paths: &Paths) -> Vec<String> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(paths.sys.join("bus/pci/devices")).into_iter().flatten().flatten() {
        let device = entry.path();
        let read = |name: &str| fs::read_to_string(device.join(name)).unwrap_or_default();
        // Only display controllers count, not the audio function of the same card.
        if read("vendor").trim() != "0x10de" || !read("class").starts_with("0x03") {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        match sysfs::driver(&device) {
            Some(driver) if driver == "nvidia" => {}
            Some(driver) => notes.push(format!(
                "GPU {} is bound to the driver `{}`, not to `nvidia`: it is not leased",
                shown(&name),
                shown(&driver)
            )),
            None => notes.push(format!("GPU {} has no driver: it is not leased", shown(&name))),
        }
    }
    notes.sort();
    notes
}

/// The minor numbers of the nodes by which the driver admits processes to parts of GPUs, by name:
/// `gpu0/gi1/access` is GPU instance 1 of the GPU with minor number 0.
pub(super) fn mig_minors(paths: &Paths) -> BTreeMap<String, u32> {
    let path = paths.proc.join("driver/nvidia-caps/mig-minors");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, minor) = line.trim().split_once(' ')?;
            Some((name.to_owned(), minor.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_modules_own_words() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert!(read(&paths).gpus.is_empty());
        let information = |pci: &str, text: &str| {
            put(&gpus_dir(&paths).join(pci).join("information"), text);
        };
        information(
            "0000:1b:00.0",
            "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 345\n\
             GPU UUID: \t GPU-aaaaaaaa-0000-1111-2222-333333333333\n\
             Video BIOS: \t 96.00.30.00.01\nBus Type: \t PCIe\nDMA Size: \t 52 bits\n\
             DMA Mask: \t 0xfffffffffffff\nBus Location: \t 0000:1b:00.0\n\
             Device Minor: \t 1\nGPU Firmware: \t 550.163.01\nGPU Excluded:\t No\n",
        );
        information(
            "0000:04:00.0",
            "Model: \t\t Tesla T4\nGPU UUID: \t GPU-????????-????-????-????-????????????\n\
             Device Minor: \t 0\n",
        );
        information("0000:05:00.0", "Model: \t Tesla T4\nGPU Excluded:\t Yes\n");
        fs::create_dir_all(gpus_dir(&paths).join("0000:06:00.0")).unwrap();
        let kernel = read(&paths);
        let gpu = |bus, model: Option<&str>, uuid: Option<&str>, minor| KernelGpu {
            pci: PciAddress { domain: 0, bus, device: 0, function: 0 },
            model: model.map(str::to_owned),
            uuid: uuid.map(str::to_owned),
            minor,
            information: {
                let path = gpus_dir(&paths).join(format!("0000:{bus:02x}:00.0/information"));
                Stamp::of_text(Source::Nvidia, &path).unwrap()
            },
        };
        let uuid = "GPU-aaaaaaaa-0000-1111-2222-333333333333";
        assert_eq!(
            kernel.gpus,
            [
                gpu(4, Some("Tesla T4"), None, Some(0)),
                gpu(6, None, None, None),
                gpu(0x1b, Some("NVIDIA H100 80GB HBM3"), Some(uuid), Some(1)),
            ]
        );
        assert_eq!(kernel.notes, ["GPU 0000:05:00.0 is excluded in the driver's configuration"]);
    }

    #[test]
    fn place_and_driver_of_a_gpu() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let device = |pci: &str, class: &str, vendor: &str, driver: Option<&str>| {
            let path = paths.sys.join("bus/pci/devices").join(pci);
            put(&path.join("vendor"), vendor);
            put(&path.join("class"), class);
            if let Some(driver) = driver {
                symlink(format!("../../../bus/pci/drivers/{driver}"), path.join("driver")).unwrap();
            }
            path
        };
        let bound = device("0000:01:00.0", "0x030200\n", "0x10de\n", Some("nvidia"));
        device("0000:02:00.0", "0x030000\n", "0x10de\n", Some("vfio-pci"));
        device("0000:02:00.1", "0x040300\n", "0x10de\n", Some("snd_hda_intel"));
        device("0000:03:00.0", "0x030000\n", "0x1002\n", Some("amdgpu"));
        device("0000:04:00.0", "0x030200\n", "0x10de\n", None);
        assert_eq!(
            unbound(&paths),
            [
                "GPU 0000:02:00.0 is bound to the driver `vfio-pci`, not to `nvidia`: it is not leased",
                "GPU 0000:04:00.0 has no driver: it is not leased",
            ]
        );
        assert_eq!(sysfs::numa_node(&bound), None);
        put(&bound.join("numa_node"), "-1\n");
        assert_eq!(sysfs::numa_node(&bound), None);
        put(&bound.join("numa_node"), "1\n");
        assert_eq!(sysfs::numa_node(&bound), Some(1));
    }

    #[test]
    fn minors_of_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert!(mig_minors(&paths).is_empty());
        let path = paths.proc.join("driver/nvidia-caps/mig-minors");
        put(&path, "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\nnonsense\n");
        let minors = mig_minors(&paths);
        assert_eq!(minors.get("gpu0/gi0/ci0/access"), Some(&4));
        assert_eq!(minors.len(), 4);
    }
}
