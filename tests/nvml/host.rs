//! A host whose NVIDIA driver is a fake.

use crate::support::{CLI, ok};
use gpulease::door::config::{Config, Source};
use gpulease::door::inventory::{Inventory, freshness, scan, scan_files};
use gpulease::door::model::device::{Device, LinkKind};
use gpulease::door::paths::Paths;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the driver's library is on the host.
const LIBRARY: &str = "usr/lib64/libnvidia-ml.so.1";

pub struct Host {
    dir: tempfile::TempDir,
    pub paths: Paths,
    pub config: Config,
}

impl Host {
    /// With the library that plays this node, and the procfs and sysfs of its driver.
    pub fn new(node: &Value) -> Self {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let dir = tempfile::Builder::new().prefix("gpulease-nvml-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::below(dir.path());
        let config = Config { sources: [Source::Nvidia].into(), ..Config::of(&paths) };
        let host = Self { dir, paths, config };
        host.put("proc/sys/kernel/random/boot_id", "0b5cb03a-0000-0000-0000-000000000000\n");
        host.put(
            "proc/devices",
            "Character devices:\n195 nvidia\n511 nvidia-uvm\n\nBlock devices:\n",
        );
        host.put("sys/module/nvidia/version", "550.163.01\n");
        fs::create_dir(host.path("etc")).unwrap();
        for name in ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"] {
            host.put(&format!("dev/{name}"), "");
        }
        for gpu in node["gpus"].as_array().unwrap() {
            host.know(gpu);
        }
        fs::create_dir_all(host.path(LIBRARY).parent().unwrap()).unwrap();
        fs::copy(fake_library(), host.path(LIBRARY)).unwrap();
        host.play(node);
        host
    }

    /// What the kernel module and the kernel tell of a GPU.
    fn know(&self, gpu: &Value) {
        let (pci, minor) = (gpu["pci"].as_str().unwrap(), gpu["minor"].as_u64().unwrap());
        let (name, uuid) = (gpu["name"].as_str().unwrap(), gpu["uuid"].as_str().unwrap());
        self.put(
            &format!("proc/driver/nvidia/gpus/{pci}/information"),
            &format!(
                "Model: \t\t {name}\nGPU UUID: \t {uuid}\nBus Location: \t {pci}\n\
                 Device Minor: \t {minor}\nGPU Excluded:\t No\n"
            ),
        );
        let numa = gpu["numa"].as_i64().unwrap_or(-1);
        self.put(&format!("sys/bus/pci/devices/{pci}/numa_node"), &format!("{numa}\n"));
        self.put(&format!("sys/bus/pci/devices/{pci}/vendor"), "0x10de\n");
        self.put(&format!("sys/bus/pci/devices/{pci}/class"), "0x030200\n");
        let driver = self.path(&format!("sys/bus/pci/devices/{pci}/driver"));
        std::os::unix::fs::symlink("../../../bus/pci/drivers/nvidia", driver).unwrap();
        self.put(&format!("dev/nvidia{minor}"), "");
        for instance in gpu["mig"]["instances"].as_array().into_iter().flatten() {
            let Some(gi) = instance["gi"].as_u64() else { continue };
            let ci = instance["ci"].as_u64().unwrap();
            self.put(
                &format!("proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{gi}/ci{ci}/access"),
                "DeviceFileMinor: 1\n",
            );
        }
    }

    /// From now on the library plays this node.
    pub fn play(&self, node: &Value) {
        fs::write(self.library().with_file_name("node.json"), node.to_string()).unwrap();
    }

    pub fn library(&self) -> PathBuf {
        self.path(LIBRARY)
    }

    /// As if the library had no function of this name.
    pub fn without(&self, function: &str) {
        let mut bytes = fs::read(self.library()).unwrap();
        let name = [b"\0", function.as_bytes(), b"\0"].concat();
        let found: Vec<usize> =
            (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(&name)).collect();
        assert!(!found.is_empty(), "{function} is not in the library");
        for at in found {
            bytes[at + 1] = b'x';
        }
        fs::write(self.library(), bytes).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What a scan finds, which must hold for now.
    pub fn scan(&self) -> Inventory {
        let inventory = scan(&self.paths, &self.config).unwrap();
        freshness(&inventory, &self.paths, &self.config).unwrap();
        assert!(inventory.node.is_numbered());
        inventory
    }

    /// What is found without asking the library.
    pub fn scan_files(&self) -> Inventory {
        scan_files(&self.paths, &self.config).unwrap()
    }

    /// The `gpulease` command, for which only the library is the fake host's.
    pub fn refresh(&self) -> Output {
        let config = format!(
            "driver_root = {:?}\nrun_dir = {:?}\nsources = [\"nvidia\"]\n",
            self.dir.path(),
            self.path("run/gpulease")
        );
        self.put("etc/config.toml", &config);
        // Without the driver of the host that the test runs on, where that can be hidden.
        let mut command = Command::new(CLI);
        if nix::unistd::geteuid().is_root() {
            command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
            command.args(["mount -t tmpfs none /proc/driver; exec \"$0\" \"$@\"", CLI]);
        }
        command.arg("--gpulease-config").arg(self.path("etc/config.toml"));
        ok(command.args(["inventory", "refresh", "--json"]).output().unwrap())
    }
}

/// The library, which cargo puts beside the directory of the tests.
fn fake_library() -> PathBuf {
    let path = Path::new(CLI).with_file_name("examples/libfake_nvml.so");
    assert!(path.exists(), "build it: cargo build --features failpoints --example fake_nvml");
    path
}

/// The links of an inventory as `index-index`, kind and lanes.
pub fn links(inventory: &Inventory) -> Vec<(String, LinkKind, u32)> {
    let index = |id| inventory.node.device(id).unwrap().index;
    let links = inventory.node.links.iter();
    let mut links: Vec<_> = links
        .map(|link| (format!("{}-{}", index(&link.a), index(&link.b)), link.kind, link.lanes))
        .collect();
    links.sort();
    links
}

/// The paths of a device's own nodes.
pub fn node_paths(device: &Device) -> Vec<&str> {
    device.nodes.iter().map(|node| node.path.as_str()).collect()
}
