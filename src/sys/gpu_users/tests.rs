//! Faked procfs and sysfs.

use super::*;
use crate::model::device::Device;
use crate::model::fixtures;
use crate::model::mig::{Mig, MigInstance, MigProfile};
use std::fs;
use std::os::unix::fs::symlink;

struct Host {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        for path in [&paths.proc, &paths.sys, &paths.dev] {
            fs::create_dir_all(path).unwrap();
        }
        Self { dir, paths }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn process(&self, pid: i32, parent: i32, name: &str, open: &[&str]) {
        self.write(&format!("proc/{pid}/comm"), &format!("{name}\n"));
        self.write(&format!("proc/{pid}/stat"), &format!("{pid} (a) b) S {parent} 1 1 0\n"));
        let fd = self.paths.proc.join(pid.to_string()).join("fd");
        fs::create_dir_all(&fd).unwrap();
        for (number, target) in open.iter().enumerate() {
            symlink(target, fd.join(number.to_string())).unwrap();
        }
    }

    /// The devices of each process, by its pid.
    fn seen(&self, node: &Node) -> Vec<(i32, Vec<String>)> {
        let ids =
            |user: GpuUser| (user.pid, user.devices.keys().map(ToString::to_string).collect());
        look(node, &self.paths).into_iter().map(ids).collect()
    }
}

fn device(uuid: &str, vendor: Vendor, nodes: &[&str]) -> Device {
    Device { nodes: fixtures::nodes(nodes), ..fixtures::device(uuid, vendor) }
}

fn nvidia(uuids: &[&str]) -> Node {
    let gpu = |(number, uuid): (usize, &&str)| {
        device(uuid, Vendor::Nvidia, &[&format!("/dev/nvidia{number}")])
    };
    Node { devices: uuids.iter().enumerate().map(gpu).collect(), ..Node::default() }
}

const UVM: &str = "/dev/nvidia-uvm";

#[test]
fn computing_needs_uvm_and_the_nodes_of_gpus() {
    let host = Host::new();
    host.write("sys/module/nvidia_uvm/refcnt", "2\n");
    host.process(1, 0, "systemd", &["/dev/null", "socket:[77]", "nvidia-uvm"]);
    host.process(2, 0, "kthreadd", &[]);
    host.process(70, 1, "nvidia-smi", &["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1"]);
    host.process(80, 1, "bash", &[]);
    host.process(4711, 80, "python3", &[UVM, "/dev/nvidiactl", "/dev/nvidia1", "/dev/nvidia1"]);
    host.process(4712, 4711, "a", &["/dev/nvidia-uvm (deleted)", "/dev/nvidia0 (deleted)"]);
    host.process(4713, 1, "b", &[UVM, "/dev/nvidia9"]);
    // One that ends meanwhile: its directory is there, and nothing in it.
    fs::create_dir(host.paths.proc.join("4714")).unwrap();
    let node = nvidia(&["GPU-a", "GPU-b"]);
    let all = look(&node, &host.paths);
    assert_eq!(all[0].name.as_deref(), Some("python3"));
    assert_eq!(all[0].ancestors, [4711, 80, 1]);
    assert_eq!(all[0].cgroup, None, "no cgroups here");
    assert_eq!(
        host.seen(&node),
        [(4711, vec!["GPU-b".to_owned()]), (4712, vec!["GPU-a".to_owned()])]
    );
}

#[test]
fn an_unused_module_spares_the_search() {
    let host = Host::new();
    host.process(4711, 1, "python3", &[UVM, "/dev/nvidia0"]);
    let node = nvidia(&["GPU-a"]);
    assert!(host.seen(&node).is_empty(), "not loaded");
    host.write("sys/module/nvidia_uvm/refcnt", "0\n");
    assert!(host.seen(&node).is_empty(), "loaded");
    host.write("sys/module/nvidia_uvm/refcnt", "1\n");
    assert_eq!(host.seen(&node).len(), 1);
    // A kernel that does not count.
    fs::remove_file(host.paths.sys.join("module/nvidia_uvm/refcnt")).unwrap();
    assert_eq!(host.seen(&node).len(), 1);
    let simulated = Device { simulated: true, ..node.devices[0].clone() };
    assert!(host.seen(&Node { devices: vec![simulated], ..Node::default() }).is_empty());
}

#[test]
fn a_node_under_another_name_is_known_by_its_number() {
    let host = Host::new();
    host.write("sys/module/nvidia_uvm/refcnt", "1\n");
    // On the host GPU 1 is what the container calls its GPU 0.
    symlink("/dev/zero", host.paths.dev.join("nvidia0")).unwrap();
    symlink("/dev/null", host.paths.dev.join("nvidia1")).unwrap();
    let inside = host.dir.path().join("container/dev/nvidia0");
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    symlink("/dev/null", &inside).unwrap();
    host.process(5, 1, "python3", &[UVM, inside.to_str().unwrap()]);
    assert_eq!(host.seen(&nvidia(&["GPU-a", "GPU-b"])), [(5, vec!["GPU-b".to_owned()])]);
}

#[test]
fn a_process_on_one_mig_instance_is_not_on_the_others() {
    let host = Host::new();
    host.write("sys/module/nvidia_uvm/refcnt", "3\n");
    let cap = |number: u32| format!("/dev/nvidia-caps/nvidia-cap{number}");
    let instance = |index: u32| {
        let parent = DeviceId::new("GPU-a").unwrap();
        let profile = MigProfile::new("1g.5gb").unwrap();
        let mig = MigInstance { parent, profile, index, gi: 7 + index, ci: 0 };
        let own = [cap(60 + index), cap(70 + index)];
        let nodes = [own[0].as_str(), own[1].as_str()];
        Device {
            mig: Some(Mig::Instance(mig)),
            ..device(&format!("MIG-{index}"), Vendor::Nvidia, &nodes)
        }
    };
    let gpu =
        Device { mig: Some(Mig::Enabled), ..device("GPU-a", Vendor::Nvidia, &["/dev/nvidia0"]) };
    let node = Node { devices: vec![gpu, instance(0), instance(1)], ..Node::default() };
    host.process(5, 1, "one", &[UVM, "/dev/nvidia0", &cap(61), &cap(71)]);
    host.process(6, 1, "any", &[UVM, "/dev/nvidia0"]);
    let expected = [(5, vec!["MIG-1".to_owned()]), (6, vec!["GPU-a".to_owned()])];
    assert_eq!(host.seen(&node), expected);
}

#[test]
fn kfd_says_who_has_memory_on_which_gpu() {
    let host = Host::new();
    let gpu = |uuid: &str, kfd_node| Device { kfd_node, ..device(uuid, Vendor::Amd, &[]) };
    let devices = vec![gpu("GPU-a", Some(1)), gpu("GPU-b", Some(2)), gpu("GPU-c", None)];
    let node = Node { devices, ..Node::default() };
    assert!(host.seen(&node).is_empty(), "no KFD");
    host.write("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "31337\n");
    host.write("sys/class/kfd/kfd/topology/nodes/2/gpu_id", "4242\n");
    host.write("sys/class/kfd/kfd/proc/9/vram_31337", "0\n");
    host.write("sys/class/kfd/kfd/proc/9/vram_4242", "1073741824\n");
    host.write("sys/class/kfd/kfd/proc/10/vram_31337", "1\n");
    host.process(9, 1, "python3", &[]);
    // Entries that are no process, and a foreign GPU.
    for process in ["self", "4294967295", "-1"] {
        host.write(&format!("sys/class/kfd/kfd/proc/{process}/vram_31337"), "4096");
    }
    host.write("sys/class/kfd/kfd/proc/11/vram_999", "4096");
    host.write("sys/class/kfd/kfd/proc/11/pasid", "32770");
    host.process(11, 1, "other", &[]);
    let all = look(&node, &host.paths);
    assert_eq!(all.len(), 1, "process 10 is gone: {all:?}");
    let devices: Vec<_> = all[0].devices.iter().collect();
    let (uuid, used) = (DeviceId::new("GPU-b").unwrap(), Some(Bytes(1 << 30)));
    assert_eq!((all[0].pid, devices), (9, vec![(&uuid, &used)]));
    // It has a queue, and nothing else yet.
    host.write("sys/class/kfd/kfd/proc/9/queues/0/gpuid", "31337\n");
    let devices = look(&node, &host.paths).remove(0).devices;
    assert_eq!(devices.into_values().collect::<Vec<_>>(), [Some(Bytes(0)), used]);
    // A queue on a GPU of whose memory the driver does not tell.
    host.write("sys/class/kfd/kfd/proc/12/queues/3/gpuid", "4242\n");
    host.write("sys/class/kfd/kfd/proc/12/vram_4242/unreadable", "");
    host.process(12, 1, "python3", &[]);
    let devices = look(&node, &host.paths).remove(1).devices;
    assert_eq!(devices, [(uuid, None)].into());
}

#[test]
fn partitions_of_one_gpu_have_processes_of_their_own() {
    let host = Host::new();
    let partition = |uuid: &str, kfd: u32| {
        let node = format!("sys/class/kfd/kfd/topology/nodes/{kfd}/gpu_id");
        host.write(&node, &format!("{}\n", 1000 + kfd));
        Device { kfd_node: Some(kfd), ..device(uuid, Vendor::Amd, &[]) }
    };
    let devices = (2..5).map(|kfd| partition(&format!("GPU-a-{kfd}"), kfd)).collect();
    host.write("sys/class/kfd/kfd/proc/5/vram_1004", "1024");
    host.process(5, 1, "python3", &[]);
    let seen = host.seen(&Node { devices, ..Node::default() });
    assert_eq!(seen, [(5, vec!["GPU-a-4".to_owned()])]);
}

#[test]
fn a_chain_of_parents_that_is_a_ring_ends() {
    let host = Host::new();
    host.process(5, 6, "a", &[]);
    host.process(6, 5, "b", &[]);
    assert_eq!(ancestors(5, &host.paths).len(), ANCESTORS_MAX);
    assert_eq!(ancestors(7, &host.paths), [7]);
}
