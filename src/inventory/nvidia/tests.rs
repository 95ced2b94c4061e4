//! Changes that make an inventory of NVIDIA's GPUs out of date, with faked trees.

use super::find;
use crate::allocator;
use crate::allocator::Snapshot;
use crate::config::{Config, Source};
use crate::inventory::found::Reach;
use crate::inventory::{Inventory, freshness, scan};
use crate::model::device::Vendor;
use crate::model::quantity::Bytes;
use crate::paths::Paths;
use crate::request::{Request, RequestSource, Selector, Strategy};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A host with a driver and GPUs, but without NVML.
struct Fake {
    dir: tempfile::TempDir,
    paths: Paths,
    config: Config,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::below(dir.path());
        let config = Config { sources: [Source::Nvidia].into(), ..Config::of(&paths) };
        let fake = Self { dir, paths, config };
        fake.put("proc/sys/kernel/random/boot_id", "0b5cb03a-0000-0000-0000-000000000000\n");
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The driver with this many GPUs, of which the first two can be divided.
    fn load(&self, gpus: u32) {
        self.put("sys/module/nvidia/version", "550.163.01\n");
        self.put(&format!("{UVM}/refcnt"), "0\n");
        for number in 0..gpus {
            self.put(
                &format!("proc/driver/nvidia/gpus/0000:{number:02x}:00.0/information"),
                &format!(
                    "Model: \t\t NVIDIA A100-SXM4-40GB\n\
                     GPU UUID: \t GPU-aaaa000{number}-0000-0000-0000-000000000000\n\
                     Device Minor: \t {number}\nGPU Excluded:\t No\n"
                ),
            );
        }
        for number in 0..gpus.min(2) {
            self.put(&format!("{CAPABILITIES}/gpu{number}/mig/gi1/ci0/access"), "");
        }
        for node in ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"] {
            self.put(&format!("dev/{node}"), "");
        }
    }

    fn scan(&self) -> Inventory {
        let inventory = scan(&self.paths, &self.config).unwrap();
        assert_eq!(self.stale(&inventory), None, "it is out of date at once");
        inventory
    }

    fn stale(&self, inventory: &Inventory) -> Option<String> {
        freshness(inventory, &self.paths, &self.config).err()
    }

    /// Makes sure that it is this path that makes the inventory stale.
    #[track_caller]
    fn is_stale_by(&self, inventory: &Inventory, name: &str) {
        let why = self.stale(inventory).unwrap();
        let path = format!("`{}` ", self.path(name).display());
        let what = why.strip_prefix(&path).unwrap_or_else(|| panic!("not {path}: {why}"));
        assert!(["has changed since", "has appeared since", "is gone"].contains(&what), "{why}");
    }
}

const CAPABILITIES: &str = "proc/driver/nvidia/capabilities";
const UVM: &str = "sys/module/nvidia_uvm";

#[test]
fn without_nvml_the_kernel_tells_what_it_knows() {
    let fake = Fake::new();
    fake.load(2);
    fake.put("sys/bus/pci/devices/0000:01:00.0/numa_node", "1\n");
    let inventory = fake.scan();
    let devices = &inventory.node.devices;
    assert_eq!(devices.len(), 2);
    let gpu = &devices[1];
    assert_eq!(gpu.uuid.as_str(), "GPU-aaaa0001-0000-0000-0000-000000000000");
    assert_eq!((gpu.index, gpu.vendor, gpu.numa_node), (1, Vendor::Nvidia, Some(1)));
    assert_eq!(gpu.model, "NVIDIA A100-SXM4-40GB");
    assert_eq!((gpu.memory_total_bytes, gpu.healthy), (None, None));
    assert_eq!(gpu.details, crate::model::device::Details::default());
    assert_eq!(
        gpu.nodes.iter().map(|node| node.path.as_str()).collect::<Vec<_>>(),
        ["/dev/nvidia1"]
    );
    let control: Vec<&str> =
        inventory.node.control[0].nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(control, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]);
    assert_eq!(inventory.from, ["/proc/driver/nvidia"]);
    let driver = &inventory.drivers[0];
    assert_eq!(driver.version.as_deref(), Some("550.163.01"));
    assert_eq!((&driver.cuda, &driver.library), (&None, &None));
    let [note] = &inventory.notes[..] else { panic!("{:?}", inventory.notes) };
    assert!(
        note.starts_with("NVIDIA's NVML was not used: there is no libnvidia-ml.so.1"),
        "{note}"
    );
    assert!(note.contains("leased whole"), "{note}");
}

/// As clones of a virtual GPU's profile are: the kernel module tells one UUID for both.
#[test]
fn of_two_gpus_with_one_uuid_neither_is_leased() {
    let fake = Fake::new();
    fake.load(3);
    let information = "proc/driver/nvidia/gpus/0000:01:00.0/information";
    let text = fs::read_to_string(fake.path(information)).unwrap();
    fake.put(information, &text.replace("GPU-aaaa0001", "GPU-aaaa0000"));
    let node = fake.scan().node;
    let snapshot = Snapshot::idle(&node);
    let mut request = Request::one(Strategy::FirstFit, RequestSource::Annotations);
    let grant = allocator::grant(&snapshot, &request).unwrap();
    assert_eq!(grant.devices[0].uuid, node.devices[2].uuid);
    for index in [0, 1] {
        request.devices = vec![Selector::Index(index)];
        let refusal = allocator::grant(&snapshot, &request).unwrap_err();
        let why = format!(
            "cannot be told apart from another device: GPU {0} at 0000:0{0}:00.0 has the same UUID",
            1 - index
        );
        assert!(refusal.verdicts.iter().any(|verdict| verdict.reason == why), "{refusal:?}");
    }
}

/// A devices file of before the GPUs were put into other slots.
#[test]
fn a_node_of_file_and_driver_belongs_to_none() {
    let fake = Fake::new();
    fake.load(2);
    let config = Config { sources: [Source::Static, Source::Nvidia].into(), ..fake.config.clone() };
    let file = "[[device]]\nuuid = 'GPU-f'\nvendor = 'nvidia'\nmodel = 'A100'\n\
                memory_mib = 40960\npci = '0000:07:00.0'\nnodes = ['/dev/nvidia1']\n";
    fs::create_dir_all(config.devices_file.parent().unwrap()).unwrap();
    fs::write(&config.devices_file, file).unwrap();
    let node = scan(&fake.paths, &config).unwrap().node;
    let marks: Vec<Option<&str>> =
        node.devices.iter().map(|device| device.details.ambiguous.as_deref()).collect();
    let has = |place: &str| format!("GPU {place} has the same node `/dev/nvidia1`");
    let (one, other) = (has("2 at 0000:07:00.0"), has("1 at 0000:01:00.0"));
    assert_eq!(marks, [None, Some(one.as_str()), Some(other.as_str())]);
}

#[test]
fn a_gpu_without_a_uuid_is_listed_and_not_leased() {
    let fake = Fake::new();
    fake.load(1);
    fake.put(
        "proc/driver/nvidia/gpus/0000:1b:00.0/information",
        "Model: \t Tesla T4\nGPU UUID: \t GPU-????????-????-????-????-????????????\n\
         Device Minor: \t 1\n",
    );
    // One of which nothing can be read.
    fs::create_dir_all(fake.path("proc/driver/nvidia/gpus/0000:1c:00.0")).unwrap();
    fake.put("dev/kmsg", "4,1,1,-;NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.\n");
    let inventory = fake.scan();
    let devices = &inventory.node.devices;
    assert_eq!(devices[1].uuid.as_str(), "GPU-0000-1b-00.0");
    let fault = devices[1].details.fault.as_deref().unwrap();
    assert!(fault.contains("UUID") && fault.contains("nvidia-smi"), "{fault}");
    assert_eq!(devices[0].details.fault, None);
    assert_eq!(devices[1].healthy, Some(false));
    let health_reason = devices[1].details.health_reason.as_deref();
    assert_eq!(health_reason, Some("XID 79: GPU has fallen off the bus."));
    assert_eq!(devices[2].uuid.as_str(), "GPU-0000-1c-00.0");
    let fault = devices[2].details.fault.as_deref();
    assert_eq!(fault, Some("the driver does not tell its minor number"));
    assert!(devices[2].nodes.is_empty());
    // It is used: the kernel tells.
    fake.put(
        "proc/driver/nvidia/gpus/0000:1b:00.0/information",
        "Model: \t Tesla T4\nGPU UUID: \t GPU-aaaa0007-0000-0000-0000-000000000000\n\
         Device Minor: \t 1\n",
    );
    fake.is_stale_by(&inventory, "proc/driver/nvidia/gpus/0000:1b:00.0/information");
    let gpu = &fake.scan().node.devices[1];
    assert_eq!(gpu.uuid.as_str(), "GPU-aaaa0007-0000-0000-0000-000000000000");
    assert_eq!(gpu.details.fault, None);
}

#[test]
fn a_host_without_the_driver_is_no_case_for_words() {
    let fake = Fake::new();
    let found = find(&fake.paths, &fake.config, Reach::Libraries);
    assert!(found.devices.is_empty() && found.drivers.is_empty() && found.control.is_empty());
    assert_eq!(found.notes, Vec::<String>::new());
    assert_eq!(found.stamps.len(), 1);
}

#[test]
fn nodes_that_cuda_needs_are_missed() {
    let fake = Fake::new();
    fake.load(1);
    fs::remove_file(fake.path("dev/nvidia-uvm")).unwrap();
    let inventory = fake.scan();
    let note = inventory.notes.last().unwrap();
    assert!(note.contains("/dev/nvidia-uvm") && note.contains("nvidia-modprobe"), "{note}");
    fake.put("dev/nvidia-uvm", "");
    fake.is_stale_by(&inventory, "dev/nvidia-uvm");
    assert!(!fake.scan().notes.iter().any(|note| note.contains("nvidia-modprobe")));
}

#[test]
fn whatever_changes_makes_it_stale() {
    let fake = Fake::new();
    let inventory = fake.scan();
    fake.load(3);
    fake.is_stale_by(&inventory, "sys/module/nvidia/version");

    let inventory = fake.scan();
    assert!(inventory.stamps.len() <= 22, "{:#?}", inventory.stamps);
    fake.put("sys/module/nvidia/version", "580.82.07\n");
    fake.is_stale_by(&inventory, "sys/module/nvidia/version");

    let inventory = fake.scan();
    // A module that is loaded anew has another directory, and may have another major.
    fs::rename(fake.path(UVM), fake.path("sys/module/gone")).unwrap();
    fake.put(&format!("{UVM}/refcnt"), "0\n");
    fake.is_stale_by(&inventory, UVM);
    let inventory = fake.scan();
    fake.put(&format!("{UVM}/refcnt"), "3\n");
    assert_eq!(fake.stale(&inventory), None, "who uses it does not count");

    fs::create_dir_all(fake.path(CAPABILITIES).join("gpu0/mig/gi2")).unwrap();
    fake.is_stale_by(&inventory, &format!("{CAPABILITIES}/gpu0/mig"));
    let inventory = fake.scan();
    fs::remove_dir_all(fake.path(CAPABILITIES).join("gpu1/mig/gi1")).unwrap();
    fake.is_stale_by(&inventory, &format!("{CAPABILITIES}/gpu1/mig"));

    let inventory = fake.scan();
    fs::remove_dir_all(fake.path("proc/driver/nvidia/gpus/0000:02:00.0")).unwrap();
    fake.is_stale_by(&inventory, "proc/driver/nvidia/gpus");

    let inventory = fake.scan();
    fake.put("usr/lib64/libnvidia-ml.so.1", "no library");
    fake.is_stale_by(&inventory, "usr/lib64/libnvidia-ml.so.1");
    let inventory = fake.scan();
    fs::remove_file(fake.path("sys/module/nvidia/version")).unwrap();
    fake.is_stale_by(&inventory, "sys/module/nvidia/version");
}

#[test]
fn an_unreadable_stamp_leaves_the_rest_usable() {
    let fake = Fake::new();
    fake.load(2);
    let whole = fake.scan().stamps.len();
    // No text.
    fs::write(fake.path("sys/module/nvidia/version"), b"\xff\xfe\n").unwrap();
    let inventory = scan(&fake.paths, &fake.config).unwrap();
    assert_eq!(inventory.stamps.len(), whole);
    let version = fake.path("sys/module/nvidia/version");
    let note = inventory.notes.iter().find(|note| note.contains("cannot be read")).unwrap();
    assert!(note.contains(version.to_str().unwrap()), "{note}");
    let why = format!("`{}` could not be looked at when it was made", version.display());
    assert_eq!(fake.stale(&inventory), Some(why));
    assert_eq!(inventory.node.devices.len(), 2);
}

#[test]
fn any_change_of_mig_instances_makes_it_stale() {
    let fake = Fake::new();
    fake.load(2);
    let at = |name: &str| fake.path(CAPABILITIES).join(name);
    let make = |name: &str| fs::create_dir_all(at(name)).unwrap();
    let delete = |name: &str| fs::remove_dir_all(at(name)).unwrap();
    let stale_by = |change: &dyn Fn(), name: &str| {
        let inventory = fake.scan();
        // Let the kernel's clock tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        change();
        fake.is_stale_by(&inventory, &format!("{CAPABILITIES}/{name}"));
    };
    // The GPU instance first, the compute instance later.
    stale_by(&|| make("gpu0/mig/gi2"), "gpu0/mig");
    stale_by(&|| make("gpu0/mig/gi2/ci0"), "gpu0/mig/gi2");
    // One compute instance on all of it is replaced by two smaller ones.
    let two = || {
        delete("gpu0/mig/gi2/ci0");
        make("gpu0/mig/gi2/ci0");
        make("gpu0/mig/gi2/ci1");
    };
    stale_by(&two, "gpu0/mig/gi2");
    // In procfs a compute instance for another leaves the GPU instance's directory as it was.
    let inventory = fake.scan();
    std::thread::sleep(std::time::Duration::from_millis(20));
    delete("gpu0/mig/gi2/ci1");
    make("gpu0/mig/gi2/ci1");
    let part = at("gpu0/mig/gi2/ci1");
    let part = inventory.stamps.iter().find(|stamp| stamp.path == part).unwrap();
    assert_ne!(part.now().unwrap(), part.look);
    let all = || {
        delete("gpu0/mig/gi2/ci0");
        delete("gpu0/mig/gi2/ci1");
    };
    stale_by(&all, "gpu0/mig/gi2");
    // Deleted and made anew: the names are as they were.
    let anew = || {
        delete("gpu1/mig/gi1");
        make("gpu1/mig/gi1/ci0");
    };
    stale_by(&anew, "gpu1/mig/gi1");
    stale_by(&|| delete("gpu1/mig/gi1"), "gpu1/mig");
}

#[test]
fn another_library_makes_it_stale() {
    let fake = Fake::new();
    fake.load(1);
    fake.put("usr/lib/libnvidia-ml.so.550", "no library");
    let path = fake.path("usr/lib/libnvidia-ml.so.1");
    std::os::unix::fs::symlink("libnvidia-ml.so.550", path).unwrap();
    let inventory = fake.scan();
    // It cannot be loaded, or there is no `gpulease` yet that would load it: said either way.
    assert!(
        inventory.notes[0].starts_with("NVIDIA's NVML was not used: "),
        "{:?}",
        inventory.notes
    );
    assert_eq!(inventory.node.devices.len(), 1);
    fake.put("usr/lib/libnvidia-ml.so.550", "another one");
    fake.is_stale_by(&inventory, "usr/lib/libnvidia-ml.so.1");
}

#[test]
fn a_library_that_others_can_write_is_not_loaded() {
    let fake = Fake::new();
    fake.load(1);
    fake.put("usr/lib64/libnvidia-ml.so.1", "");
    let path = fake.path("usr/lib64/libnvidia-ml.so.1");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let found = find(&fake.paths, &fake.config, Reach::Libraries);
    let note = &found.notes[0];
    assert!(note.contains("the library is not loaded: ") && note.contains("0666"), "{note}");
    assert_eq!(found.devices.len(), 1);
    assert_eq!(found.devices[0].memory_total_bytes, None::<Bytes>);
    // Set right, it is looked at again.
    assert!(found.stamps.iter().any(|stamp| stamp.path == Path::new(&path)));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let stale = found.stamps.iter().any(|stamp| stamp.now().unwrap() != stamp.look);
    assert!(stale);
}

#[test]
fn errors_of_an_instance_are_its_own() {
    let fake = Fake::new();
    fake.load(1);
    fake.put("dev/kmsg", "4,1,1,-;NVRM: Xid (PCI:0000:00:00 GPU-I:01): 95, Uncontained\n");
    assert_eq!(fake.scan().node.devices[0].healthy, None);
}
