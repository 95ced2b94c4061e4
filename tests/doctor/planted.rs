//! Planted faults: exactly the expected finding comes, and its fix names what to touch.

use super::node::{CONTAINERD, Node, codes};
use gpulease::door::inventory::cache::INVENTORY_VERSION;
use gpulease::door::inventory::{profiles, static_file};
use std::fs;
use std::fs::File;
use std::os::unix::fs::symlink;

/// What is planted, the level, the code, words of the fix, and whether `health` sees it.
struct Row {
    plant: fn(&Node),
    level: &'static str,
    code: &'static str,
    fix: &'static str,
    health: bool,
}

const fn fault(code: &'static str, fix: &'static str, health: bool, plant: fn(&Node)) -> Row {
    Row { plant, level: "fault", code, fix, health }
}

const fn warning(code: &'static str, fix: &'static str, plant: fn(&Node)) -> Row {
    Row { plant, level: "warning", code, fix, health: false }
}

const fn note(code: &'static str, fix: &'static str, plant: fn(&Node)) -> Row {
    Row { plant, level: "note", code, fix, health: false }
}

const REAL: &str = "[[device]]\nuuid = 'GPU-1'\nvendor = 'nvidia'\nmodel = 'M'\n\
                    memory_mib = 1024\npci = '0000:01:00.0'\nnodes = ['/dev/nvidia0']\n";

pub const OUR_HOOK: &str = r#"{"version": "1.0.0", "stages": ["precreate"], "when": {"always": true},
    "hook": {"path": "/usr/local/bin/gpulease-hook", "args": ["gpulease-hook", "precreate"]}}"#;

/// The device of [`REAL`] with its node, and nothing else to be said of it.
fn real(node: &Node) {
    node.write(DEVICES, REAL);
    node.device("dev/nvidia0");
    node.write("sys/fs/cgroup/cgroup.controllers", "cpu dmem\n");
    node.refresh();
}

/// NVIDIA's kernel module, as it shows itself.
fn nvidia_module(node: &Node) {
    node.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 550.54.15\n");
    let gpu = "Model: \t\t M\nGPU UUID: \t GPU-1\nDevice Minor: \t 0\n";
    node.write("proc/driver/nvidia/gpus/0000:01:00.0/information", gpu);
    node.device("dev/nvidiactl");
}

/// Of the node's boot, with a process of another: that one is gone for sure.
const DEAD_DAEMON: &str = r#"{"v": 1, "device": "GPU-1", "simulated": true, "per_lease": false,
    "boot_id": "5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1", "prior_compute_mode": null, "kept": false,
    "process": {"pid": 400000000, "start_time": 1, "pid_namespace": 1,
        "boot_id": "another"}}"#;

const VENDOR_HOOK: &str = r#"{"version": "1.0.0", "stages": ["prestart"], "when": {"always": true},
    "hook": {"path": "/usr/bin/nvidia-container-runtime-hook"}}"#;

const HOOK_FILE: &str = "etc/containers/gpulease-hooks.d/60-gpulease.json";
const HOOKS_DROP_IN: &str = "etc/containers/containers.conf.d/90-gpulease-precreate.conf";

/// As `gpulease install podman --precreate` leaves it.
pub fn precreate(node: &Node, hook: &str) {
    node.write(HOOK_FILE, hook);
    let drop_in = include_str!("../../hooks/podman-precreate/90-gpulease-precreate.conf");
    node.write(HOOKS_DROP_IN, drop_in);
}

const DOCKER: &str = "etc/docker/daemon.json";
const PODMAN: &str = "etc/containers/containers.conf.d/gpulease.conf";
const CRIO: &str = "etc/crio/crio.conf.d/gpulease.conf";
const CONFIG: &str = "etc/gpulease/config.toml";
const DEVICES: &str = "etc/gpulease/devices.toml";
const HOOK: &str = "usr/local/bin/gpulease-hook";

/// Podman reads its files for each command.
const NOT_WIRED_FIX: &str = "for Docker `gpulease install docker --reload`, \
                             for Podman `gpulease install podman`, \
                             for containerd `gpulease install containerd --reload`, \
                             for CRI-O `gpulease install crio --reload`";

const ROWS: &[Row] = &[
    fault("config-insecure", "`chmod go-w ", true, |node| {
        node.write(CONFIG, "");
        node.chmod(CONFIG, 0o666);
    }),
    fault("config-empty", "for the defaults", true, |node| node.write(CONFIG, "\n")),
    fault("config-invalid", "config.toml`; gpulease-config(5)", true, |node| {
        node.write(CONFIG, "runtime = [\n");
    }),
    fault("config-invalid", "config.toml`; gpulease-config(5)", true, |node| {
        node.write(CONFIG, "no_such_key = 1\n");
    }),
    warning("simulated-hides-gpus", "remove the file", |node| {
        node.write("sys/class/kfd/kfd/topology/generation_id", "1\n");
    }),
    fault("driver-files-missing", "`driver` to another mode", true, |node| {
        node.write(CONFIG, "driver = \"native\"\n");
        real(node);
    }),
    fault("cdi-missing", "nvidia-ctk cdi generate", true, |node| {
        node.write(CONFIG, "driver = \"cdi\"\n");
        real(node);
    }),
    fault("runtime-missing", "install runc or crun", true, |node| node.remove("usr/bin/runc")),
    fault("runtime-missing", "set `runtime` in ", true, |node| {
        node.write(CONFIG, "runtime = \"/opt/runc\"\n");
    }),
    fault("runtime-not-executable", "usr/bin/runc", true, |node| node.chmod("usr/bin/runc", 0o644)),
    fault("runtime-insecure", "`chmod go-w ", true, |node| node.chmod("usr/bin/runc", 0o757)),
    fault("runtime-is-gpulease", "set `runtime` in ", true, |node| {
        node.write(CONFIG, "runtime = \"/usr/local/bin/gpulease-runtime\"\n");
    }),
    fault("runtime-is-gpulease", "set `runtime` in ", true, |node| {
        node.remove("usr/bin/runc");
        symlink("../local/bin/gpulease-runtime", node.path("usr/bin/runc")).unwrap();
    }),
    fault("runtime-vendor", "set `driver` to `auto`", true, |node| {
        node.program("usr/bin/nvidia-container-runtime", "echo 'runc version 1.2.6'");
        let runtime = "runtime = \"/usr/bin/nvidia-container-runtime\"\n";
        node.write(CONFIG, format!("{runtime}driver = \"none\"\n"));
        node.refresh();
    }),
    // No check but the default request's sees that this runtime cannot give simulated devices.
    fault("bad-config", "the path of runc or crun", true, |node| {
        node.program("usr/bin/nvidia-container-runtime", "echo 'runc version 1.2.6'");
        node.write(CONFIG, "runtime = \"/usr/bin/nvidia-container-runtime\"\n");
        node.refresh();
    }),
    fault("runtime-vendor", "set `runtime` to ", true, |node| {
        node.write(CONFIG, "driver = \"chain\"\n");
        node.refresh();
    }),
    fault("runtime-insecure", "/opt`", true, |node| {
        node.program("opt/a/b/runc", "echo 'runc version 1.2.6'");
        node.chmod("opt", 0o777);
        node.write(CONFIG, "runtime = \"/opt/a/b/runc\"\n");
    }),
    fault("hook-missing", "gpulease-hook", true, |node| node.remove(HOOK)),
    fault("hook-missing", "/opt/gpulease-hook", true, |node| {
        node.write(CONFIG, "hook = \"/opt/gpulease-hook\"\n");
    }),
    fault("hook-not-executable", "`chmod 0755 ", true, |node| node.chmod(HOOK, 0o644)),
    fault("hook-insecure", "`chmod go-w ", true, |node| node.chmod(HOOK, 0o775)),
    fault("shim-not-executable", "gpulease-runtime", false, |node| {
        node.chmod("usr/local/bin/gpulease-runtime", 0o644);
    }),
    fault("shim-insecure", "`chmod go-w ", false, |node| {
        node.chmod("usr/local/bin/gpulease-runtime", 0o757);
    }),
    note("run-dir-missing", "gpulease inventory refresh", |node| {
        node.remove("run/gpulease");
    }),
    fault("run-dir-mode", "`chmod 0755 ", true, |node| node.chmod("run/gpulease", 0o777)),
    fault("run-dir-mode", "run/gpulease/leases`", true, |node| {
        node.chmod("run/gpulease/leases", 0o775);
    }),
    fault("run-dir-moved", "set `run_dir` back", true, |node| {
        node.write("run/before/leases/web@run!runc.json", "{");
        let line = "/etc/gpulease/config.toml\t/run/before\t5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1\n";
        node.write("var/lib/gpulease/run_dir", line);
    }),
    fault("run-dir-parent", "`chmod go-w ", true, |node| node.chmod("run/", 0o777)),
    warning("run-dir-not-tmpfs", "config.toml", |node| {
        node.mkdir("var/gpulease");
        node.write(CONFIG, "run_dir = \"/var/gpulease\"\n");
        fs::copy(
            node.path("run/gpulease/inventory.json"),
            node.path("var/gpulease/inventory.json"),
        )
        .unwrap();
    }),
    fault("lock-unusable", "run/gpulease/lock", true, |node| {
        node.remove("run/gpulease/lock");
        symlink("elsewhere", node.path("run/gpulease/lock")).unwrap();
    }),
    fault("records-strange", "x@run!runc.json", false, |node| {
        let path = node.path("run/gpulease/leases/x@run!runc.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    }),
    warning("record-corrupt", "web@run!runc.json", |node| {
        node.write("run/gpulease/leases/web@run!runc.json", "{\"v\": 1,");
    }),
    note("leases-dead", "gpulease leases", Node::dead_lease),
    note("leases-dead", "gpulease leases", Node::lease_that_is_over),
    warning("leases-unjudged", "--assume-dead", Node::nested_lease),
    fault("limit-lost", "restart the container", false, |node| {
        node.limited_lease("drm/0000:01:00.0/vram max\n");
    }),
    fault("limit-lost", "restart the container", false, |node| {
        node.limited_lease("drm/0000:02:00.0/vram 4096\ndrm/0000:01:00.0/vram 4097\n");
    }),
    fault("limit-lost", "restart the container", false, |node| {
        node.limited_lease("");
        node.remove("sys/fs/cgroup/docker/web/dmem.max");
    }),
    note("records-set-aside", "run/gpulease/corrupt", |node| {
        node.write("run/gpulease/corrupt/web@run!runc.json", "{");
    }),
    warning("mps-control-missing", "`driver_root`", |node| {
        node.write(CONFIG, "[mps]\ncontrol = \"/nonexistent\"\n");
    }),
    warning("mps-journal", "gpulease mps stop GPU-1", |node| {
        node.write("run/gpulease/mps/GPU-1/journal.json", "{");
    }),
    note("mps-daemon-stale", "gpulease mps reap", |node| {
        node.write("run/gpulease/mps/GPU-1/pipe/control", "");
    }),
    warning("mps-daemon-dead", "gpulease mps reap", |node| {
        node.write("run/gpulease/mps/GPU-1/journal.json", DEAD_DAEMON);
    }),
    note("leftovers", "-delete", |node| {
        node.write("run/gpulease/leases/.web.1.tmp", "{");
        let file = File::options().write(true).open(node.path("run/gpulease/leases/.web.1.tmp"));
        file.unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }),
    note("inventory-missing", "gpulease inventory refresh", |node| {
        node.remove("run/gpulease/inventory.json");
    }),
    note("inventory-stale", "gpulease inventory refresh", |node| {
        node.write("proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000000\n");
    }),
    warning("inventory-damaged", "gpulease inventory refresh", |node| {
        node.write("run/gpulease/inventory.json", format!("{{\"v\": {INVENTORY_VERSION}}}"));
    }),
    fault("devices-file-insecure", "devices.toml", true, |node| node.chmod(DEVICES, 0o666)),
    fault("devices-file-invalid", "devices.toml", true, |node| node.write(DEVICES, "[[device]]\n")),
    fault("simulated-number-exists", "devices.toml", true, |node| {
        let profile = profiles::find("mixed4").unwrap();
        let parsed = static_file::parse(profile.toml).unwrap();
        let number = parsed.devices[0].nodes[0].simulated.unwrap();
        node.write(&format!("sys/dev/char/{}:{}", number.major, number.minor), "");
    }),
    fault("device-node-missing", "nvidia-modprobe", true, |node| {
        node.write(DEVICES, REAL);
        node.write("sys/fs/cgroup/cgroup.controllers", "cpu dmem\n");
        node.refresh();
    }),
    fault("device-node-missing", "`nvidia-modprobe -f FILE`", true, |node| {
        // The GPU is there, and one of the two capabilities of its instance.
        let caps = "/dev/nvidia-caps/nvidia-cap";
        let instance = format!(
            "[[device.mig]]\nuuid = 'MIG-1'\nprofile = '1g.5gb'\ngi = 7\nmemory_mib = 512\n\
             nodes = ['{caps}66', '{caps}67']\n"
        );
        node.write(DEVICES, format!("{REAL}{instance}"));
        node.device("dev/nvidia0");
        node.device("dev/nvidia-caps/nvidia-cap66");
        node.write("sys/fs/cgroup/cgroup.controllers", "cpu dmem\n");
        node.refresh();
    }),
    fault("no-devices", "gpulease inventory example", true, |node| {
        node.write(DEVICES, "");
        node.refresh();
    }),
    fault("no-devices", "leave `sources` out", true, |node| {
        node.write(CONFIG, "sources = []\n");
        node.refresh();
    }),
    fault("no-devices", "list `static` in `sources`", true, |node| {
        node.write(CONFIG, "sources = ['nvidia']\n");
        node.refresh();
    }),
    fault("nvidia-nodes-missing", "`nvidia-modprobe -u -c=0`", false, |node| {
        real(node);
        nvidia_module(node);
        node.refresh();
    }),
    warning("device-ambiguous", "a UUID of its own", |node| {
        real(node);
        let of_driver = "Model: \t\t M\nGPU UUID: \t GPU-2\nDevice Minor: \t 0\n";
        node.write("proc/driver/nvidia/gpus/0000:02:00.0/information", of_driver);
        for control in ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"] {
            node.device(&format!("dev/{control}"));
        }
        node.refresh();
    }),
    warning("device-unhealthy", "`dmesg`", |node| {
        real(node);
        node.write(DEVICES, format!("{REAL}healthy = false\n"));
        node.refresh();
    }),
    note("device-busy", "`gpulease processes`", |node| {
        real(node);
        node.write("sys/module/nvidia_uvm/refcnt", "1\n");
        node.write("proc/4711/comm", "python3\n");
        node.mkdir("proc/4711/fd");
        for (fd, target) in [("3", "/dev/nvidia-uvm"), ("4", "/dev/nvidia0")] {
            let link = node.path("proc/4711/fd").join(fd);
            symlink(target, link).unwrap();
        }
    }),
    warning("cdi-stale", "nvidia-ctk cdi generate", |node| {
        // Its number is that of /dev/null, 1:3, and so is the other one's.
        node.device("dev/nvidia-uvm");
        node.device("dev/nvidiactl");
        let spec = r#"{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",
            "devices": [{"name": "all", "containerEdits": {"deviceNodes": [
                {"path": "/dev/nvidiactl", "major": 1, "minor": 3}, {"path": "/dev/nvidia0"}]}}],
            "containerEdits": {"deviceNodes": [
                {"path": "/dev/nvidia-uvm", "major": 511, "minor": 0}]}}"#;
        node.write("etc/cdi/nvidia.json", spec);
        node.refresh();
    }),
    warning("amd-gpu-tracker", "`amd-ctk gpu-tracker disable`", |node| {
        node.write("var/log/gpu-tracker.json", r#"{"enabled": true, "gpusStatus": {}}"#);
    }),
    fault("no-devices", "gpulease inventory example", true, |node| {
        node.remove(DEVICES);
        node.refresh();
    }),
    warning("no-engine-wired", NOT_WIRED_FIX, |node| {
        node.write(DOCKER, "{}");
        node.remove(PODMAN);
        node.remove(CRIO);
        node.write("etc/containerd/config.toml", "version = 3\n");
    }),
    note("no-engine", "`gpulease install ENGINE`", |node| {
        for engine in ["dockerd", "containerd", "podman", "crio"] {
            node.remove(&format!("usr/bin/{engine}"));
        }
        node.remove(DOCKER);
    }),
    warning("no-engine-wired", "/config-v3.toml.tmpl --reload`", |node| {
        for engine in ["dockerd", "containerd", "podman", "crio"] {
            node.remove(&format!("usr/bin/{engine}"));
        }
        node.remove(DOCKER);
        let file = "var/lib/rancher/k3s/agent/etc/containerd/config.toml";
        node.write(file, "# File generated by k3s. DO NOT EDIT.\nversion = 3\n");
    }),
    fault("engine-config-invalid", "etc/docker/daemon.json", false, |node| {
        node.write(DOCKER, "{\"runtimes\": ");
    }),
    fault("engine-config-invalid", "etc/containerd/config.toml", false, |node| {
        node.write("etc/containerd/config.toml", "version = \n");
    }),
    fault("engine-config-invalid", "gpulease.conf", false, |node| node.write(PODMAN, "[engine")),
    fault("engine-config-invalid", "gpulease.conf", false, |node| node.write(CRIO, "[crio")),
    fault("engine-runtime-missing", "etc/docker/daemon.json", false, |node| {
        node.write(DOCKER, r#"{"runtimes": {"g": {"path": "/opt/gpulease-runtime"}}}"#);
    }),
    fault("engine-runtime-missing", "containers.conf", false, |node| {
        node.write(PODMAN, "[engine.runtimes]\ngpulease = [\"/opt/gpulease-runtime\"]\n");
    }),
    fault("engine-runtime-missing", "crio.conf", false, |node| {
        node.write(CRIO, "[crio.runtime.runtimes.g]\nruntime_path = \"/opt/gpulease-runtime\"\n");
    }),
    fault("engine-default-unknown", "etc/docker/daemon.json", false, |node| {
        node.write(DOCKER, r#"{"default-runtime": "gpulaese"}"#);
    }),
    warning("engine-vendor-default", "etc/docker/daemon.json", |node| {
        let text = r#"{"default-runtime": "nvidia", "runtimes": {
            "gpulease": {"path": "/usr/local/bin/gpulease-runtime"},
            "nvidia": {"path": "nvidia-container-runtime"}}}"#;
        node.write(DOCKER, text);
    }),
    warning("engine-annotations-dropped", "pod_annotations", |node| {
        let text = CONTAINERD.replace("pod_annotations", "container_annotations");
        node.write("etc/containerd/config.toml", text);
    }),
    warning("engine-annotations-dropped", "\"*.gpulease/*\"", |node| {
        node.write("etc/containerd/config.toml", CONTAINERD.replace(", \"*.gpulease/*\"", ""));
    }),
    warning("engine-cgroup-driver", "SystemdCgroup = true", |node| {
        let text = CONTAINERD.trim_end().strip_suffix("SystemdCgroup = true").unwrap();
        node.write("etc/containerd/config.toml", text);
    }),
    warning("engine-cgroup-driver", "SystemdCgroup = false", |node| {
        let plugin = "plugins.'io.containerd.cri.v1.runtime'.containerd";
        let default = format!(
            "[{plugin}]\ndefault_runtime_name = 'other'\n\
             [{plugin}.runtimes.other.Options]\nsystemdcgroup = false\n"
        );
        node.write("etc/containerd/config.toml", format!("{CONTAINERD}{default}"));
    }),
    fault("hooks-precreate", "oci/hooks.d/gpulease.json", false, |node| {
        node.write("usr/share/containers/oci/hooks.d/gpulease.json", OUR_HOOK);
    }),
    fault("hooks-precreate", "install podman --precreate", false, |node| {
        precreate(node, OUR_HOOK);
        let more = "[crio.runtime]\nhooks_dir = [\"/etc/containers/gpulease-hooks.d\"]\n";
        node.write("etc/crio/crio.conf", more);
    }),
    fault("hooks-dir-unread", "install podman --precreate", false, |node| {
        precreate(node, OUR_HOOK);
        node.remove(HOOKS_DROP_IN);
    }),
    fault("hooks-dir-unread", "install podman --precreate", false, |node| {
        precreate(node, OUR_HOOK);
        let text = "[engine]\nhooks_dir = [\"/x\", { append = false }]\n";
        node.write("etc/containers/containers.conf.d/99-other.conf", text);
    }),
    fault("hooks-file-missing", "install podman --precreate", false, |node| {
        precreate(node, OUR_HOOK);
        node.remove(HOOK_FILE);
    }),
    fault("hooks-file-missing", "install podman --precreate", false, |node| {
        precreate(node, &OUR_HOOK.replace("true", "false"));
    }),
    fault("hooks-program-missing", "gpulease-hooks.d/60-gpulease.json", false, |node| {
        precreate(node, &OUR_HOOK.replace("/usr/local", "/nowhere"));
    }),
    fault("hooks-program-not-executable", "chmod 0755", false, |node| {
        precreate(node, &OUR_HOOK.replace("/usr/local", "/opt"));
        node.write("opt/bin/gpulease-hook", "");
    }),
    fault("hooks-program-insecure", "/opt/bin", false, |node| {
        precreate(node, &OUR_HOOK.replace("/usr/local", "/opt"));
        node.program("opt/bin/gpulease-hook", "exit 1");
        node.chmod("opt/bin", 0o777);
    }),
    fault("hooks-program-missing", "oci/hooks.d/gpulease.json", false, |node| {
        let text = OUR_HOOK.replace("precreate", "createRuntime").replace("/local", "");
        node.write("etc/containers/oci/hooks.d/gpulease.json", text);
    }),
    fault("hooks-program-missing", "share/gpulease/hooks.d/gpulease.json", false, |node| {
        let more = "[engine]\nhooks_dir = [\"/usr/share/gpulease/hooks.d\"]\n";
        node.write("etc/containers/containers.conf", more);
        let text = OUR_HOOK.replace("/local", "");
        node.write("usr/share/gpulease/hooks.d/gpulease.json", text);
    }),
    warning("hooks-vendor", "oci-nvidia-hook.json", |node| {
        node.write("usr/share/containers/oci/hooks.d/oci-nvidia-hook.json", VENDOR_HOOK);
    }),
    warning("hooks-invalid", "oci/hooks.d/x.json", |node| {
        node.write("usr/share/containers/oci/hooks.d/x.json", "{");
    }),
    fault("cgroups-no-device-rules", "cgroup2", false, |node| node.remove("sys/fs/cgroup/devices")),
];

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let codes_seen: std::collections::BTreeSet<&str> = ROWS.iter().map(|row| row.code).collect();
    assert!(codes_seen.len() >= 15);
    for row in ROWS {
        let node = Node::healthy();
        (row.plant)(&node);
        let before = node.listing();
        let (status, checks) = node.doctor();
        let shown = format!("{}: {checks:#?}", row.code);
        assert_eq!(status, i32::from(row.level == "fault"), "{shown}");
        let of_row: Vec<_> = checks.iter().filter(|check| check["code"] == row.code).collect();
        let [found] = of_row[..] else { panic!("{shown}") };
        assert_eq!(found["level"], row.level, "{shown}");
        assert!(found["fix"].as_str().unwrap().contains(row.fix), "{shown}");
        let mut codes = codes(&checks);
        // A configuration that cannot be read hides other things, and that is said.
        codes.retain(|code| {
            code != row.code && (code != "unchecked" || !row.code.starts_with("config-"))
        });
        // What hangs on the same file or directory.
        if row.code == "run-dir-missing" {
            codes.retain(|code| code != "inventory-missing");
        }
        // `driver` decides what an inventory holds.
        if row.code == "runtime-vendor" {
            codes.retain(|code| code != "inventory-stale");
        }
        // A scan says in its own words what it did not find of a driver.
        if row.code.starts_with("nvidia-") || row.code == "device-ambiguous" {
            codes.retain(|code| code != "inventory-note");
        }
        assert_eq!(codes, Vec::<String>::new(), "{shown}");
        let (status, health) = node.health();
        assert_eq!(
            (status, &health["healthy"]),
            (i32::from(row.health), &(!row.health).into()),
            "{}: {health:#}",
            row.code
        );
        assert_eq!(node.listing(), before, "{}: looking changes nothing", row.code);
    }
}

#[test]
fn a_lock_that_is_held_is_told_with_its_holder() {
    let node = Node::healthy();
    let lock = File::open(node.path("run/gpulease/lock")).unwrap();
    lock.lock().unwrap();
    let (status, checks) = node.doctor();
    assert_eq!((status, codes(&checks)), (1, vec!["lock-held".to_owned()]), "{checks:#?}");
    assert_eq!(node.health().0, 1);
    lock.unlock().unwrap();
    assert_eq!(node.doctor().0, 0);
}

#[test]
fn the_essentials_survive_a_configuration_mistake() {
    let node = Node::healthy();
    node.write(CONFIG, "nonsense = 1\nruntime = \"/opt/runc\"\n");
    node.chmod("run/gpulease", 0o777);
    let (_, checks) = node.doctor();
    let expected = ["config-invalid", "run-dir-mode", "runtime-missing", "unchecked"];
    assert_eq!(codes(&checks), expected, "{checks:#?}");
}

#[test]
fn a_torn_configuration_keeps_the_last_run_dir() {
    let node = Node::healthy();
    node.write(CONFIG, "runtime = [\n");
    node.write("var/lib/gpulease/run_dir", "/etc/gpulease/config.toml\t/run/gpulease\tboot\n");
    node.write("run/gpulease/runtime", "/usr/bin/crun\n");
    node.program("usr/bin/crun", "exit 1");
    node.chmod("usr/bin/crun", 0o644);
    node.chmod("run/gpulease/leases", 0o777);
    let (_, checks) = node.doctor();
    let expected = ["config-invalid", "run-dir-mode", "runtime-not-executable", "unchecked"];
    assert_eq!(codes(&checks), expected, "{checks:#?}");
    let found = checks.iter().find(|check| check["code"] == "runtime-not-executable").unwrap();
    assert!(found["fix"].as_str().unwrap().ends_with("usr/bin/crun`"), "{found}");
}

#[test]
fn what_is_for_a_group_alone_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let node = Node::healthy();
    real(&node);
    assert_eq!(codes(&node.doctor().1), Vec::<String>::new());
    node.chmod("dev/nvidia0", 0o660);
    std::os::unix::fs::chown(node.path("dev/nvidia0"), None, Some(4242)).unwrap();
    let (status, checks) = node.doctor();
    assert_eq!((status, codes(&checks)), (0, vec!["node-group".to_owned()]), "{checks:#?}");
    let found = checks.iter().find(|check| check["code"] == "node-group").unwrap();
    assert!(found["message"].as_str().unwrap().contains("the group 4242"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("usermod -aG 4242"), "{found}");
}

#[test]
fn a_disabled_tracker_is_no_finding() {
    let node = Node::healthy();
    real(&node);
    nvidia_module(&node);
    node.device("dev/nvidia-uvm");
    node.write("var/log/gpu-tracker.json", r#"{"enabled": false}"#);
    node.refresh();
    let (status, checks) = node.doctor();
    // There is no NVML on this host, which the inventory's note tells.
    assert_eq!((status, codes(&checks)), (0, vec!["inventory-note".to_owned()]), "{checks:#?}");
    assert!(checks.iter().any(|check| check["code"] == "nvidia-nodes"), "{checks:#?}");
}

#[test]
fn a_user_namespace_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let node = Node::healthy();
    node.write("proc/self/uid_map", "0 1000 1\n");
    let (status, checks) = node.doctor();
    assert_eq!((status, codes(&checks)), (0, vec!["user-namespace".to_owned()]));
}
