use super::*;
use crate::injection;
use crate::store::tests::lease;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

struct Host {
    _dir: tempfile::TempDir,
    paths: Paths,
    store: Store,
}

impl Host {
    /// A host with these drivers, and no other sign of GPUs.
    fn new(drivers: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        for made in [&paths.proc, &paths.sys, &paths.dev] {
            fs::create_dir_all(made).unwrap();
        }
        let text = format!("Character devices:\n  1 mem\n{drivers}\nBlock devices:\n240 nvidia\n");
        fs::write(paths.proc.join("devices"), text).unwrap();
        Self { store: Store::at(&paths.run), paths, _dir: dir }
    }

    fn opens(&self, linux: Value) -> bool {
        let facts = injection::facts(json!({ "linux": linux }).to_string().as_bytes()).unwrap();
        opens_gpu(&Access::of(&facts), &self.paths, &self.store)
    }

    fn by_node(&self, path: &str, major: u32, minor: u32) -> bool {
        let node = json!({ "path": path, "type": "c", "major": major, "minor": minor });
        self.opens(json!({ "devices": [node] }))
    }

    fn by_rule(&self, major: Option<u32>, minor: Option<u32>) -> bool {
        let rule = json!({ "allow": true, "type": "c", "major": major, "minor": minor,
            "access": "rw" });
        self.opens(json!({ "resources": { "devices": [rule] } }))
    }
}

#[test]
fn a_driver_tells_its_devices() {
    let host = Host::new("195 nvidia-frontend\n226 drm\n508 nvidia-uvm\n509 kfd\n 10 misc\n");
    for (major, minor) in [(195, 0), (195, 255), (226, 128), (508, 0), (509, 0)] {
        assert!(host.by_node("/dev/x", major, minor), "{major}:{minor}");
        assert!(host.by_rule(Some(major), Some(minor)), "{major}:{minor}");
        assert!(host.by_rule(Some(major), None), "{major}");
    }
    assert!(host.by_rule(None, None) && host.by_rule(None, Some(128)));
    assert!(host.by_node("/dev/nvidia0", 1, 3) && host.by_node("/dev/dri/renderD128", 1, 3));
    for (major, minor) in [(10, 229), (240, 0), (1, 11)] {
        assert!(!host.by_node("/dev/x", major, minor), "{major}:{minor}");
        assert!(!host.by_rule(Some(major), Some(minor)) && !host.by_rule(Some(major), None));
    }
    assert!(!host.opens(json!({})));
}

#[test]
fn a_host_without_gpus_has_none_to_open() {
    let host = Host::new(" 10 misc\n");
    assert!(!host.by_rule(None, None) && !host.by_node("/dev/x", 195, 0));
    assert!(!host.opens(json!({ "resources": { "devices": [{ "allow": true, "type": "a" }] } })));
}

#[test]
fn without_the_list_of_drivers_all_may_be_gpus() {
    let host = Host::new("");
    fs::remove_file(host.paths.proc.join("devices")).unwrap();
    assert!(host.by_node("/dev/x", 10, 229) && host.by_rule(Some(10), Some(229)));
    assert!(!host.opens(json!({})), "but one that is given nothing has none");
}

#[test]
fn sysfs_tells_a_device_by_its_number() {
    let host = Host::new(" 10 misc\n");
    for (numbers, name) in [("240:0", "kfd"), ("241:1", "dri/renderD128"), ("242:0", "fuse")] {
        let dir = host.paths.sys.join("dev/char").join(numbers);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("uevent"), format!("MAJOR=1\nDEVNAME={name}\n")).unwrap();
    }
    assert!(host.by_node("/dev/x", 240, 0) && host.by_rule(Some(241), Some(1)));
    assert!(!host.by_node("/dev/x", 242, 0) && !host.by_rule(Some(241), Some(2)));
}

#[test]
fn nodes_of_the_host_and_of_leases_tell_their_numbers() {
    let host = Host::new(" 10 misc\n");
    for (name, minor) in [("nvidia0", 0), ("odd", 7), ("other", 8)] {
        let path = host.paths.dev.join(name);
        if mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1219, minor)).is_err() {
            return;
        }
    }
    assert!(host.by_node("/dev/x", 1219, 0) && host.by_rule(Some(1219), None));
    assert!(!host.by_node("/dev/x", 1219, 7), "by that name it is no GPU");
    fs::create_dir_all(&host.paths.run).unwrap();
    host.store.prepare(&host.paths).unwrap();
    let mut held = lease("web", "/run/runc");
    held.devices.truncate(1);
    held.devices[0].nodes = vec!["/dev/odd".to_owned()];
    host.store.lock(Duration::from_secs(5), &host.paths).unwrap().put(&held).unwrap();
    assert!(host.by_node("/dev/x", 1219, 7) && host.by_rule(Some(1219), Some(7)));
    assert!(host.by_node("/dev/odd", 1, 3));
    assert!(!host.by_node("/dev/x", 1219, 8));
}
