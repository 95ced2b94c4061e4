//! The commands that are asked, each on a simulated node.
//!
//! A test that makes a node of its own, as of an MPS daemon or a damaged host, calls
//! `support::golden::check` for its command.

use crate::support::{Host, ok};

/// A command and the name of its golden file: its words, and behind them what is special.
pub struct Case {
    pub golden: &'static str,
    /// The profile that is simulated.
    pub node: &'static str,
    /// What is done on the host first.
    pub prepare: fn(&Host),
    /// What a shell does just before, in the same mount namespace and the same process.
    pub script: &'static str,
    /// `DIR` is the folder of the host.
    pub args: &'static [&'static str],
    pub status: i32,
}

const fn on(golden: &'static str, node: &'static str, args: &'static [&'static str]) -> Case {
    Case { golden, node, prepare: |_| {}, script: "", args, status: 0 }
}

impl Case {
    const fn after(self, prepare: fn(&Host)) -> Self {
        Self { prepare, ..self }
    }

    const fn script(self, script: &'static str) -> Self {
        Self { script, ..self }
    }

    const fn with_status(self, status: i32) -> Self {
        Self { status, ..self }
    }
}

/// A device that is not simulated.
fn is_real(host: &Host) {
    let toml = "[[device]]\nuuid = 'GPU-c'\nvendor = 'amd'\nmodel = 'M'\nmemory_mib = 1024\n\
                pci = '0000:01:00.0'\nkfd_node = 1\nnodes = ['/dev/dri/renderD128']\n";
    std::fs::write(host.path("etc/devices.toml"), toml).unwrap();
}

/// Of `a100x4`, the first GPU in MIG mode with its first instance.
fn has_one_instance(host: &Host) {
    let file = host.path("etc/devices.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let parts: Vec<&str> = text.split("[[device]]").collect();
    let gpu: Vec<&str> = parts[3].split("[[device.mig]]").take(2).collect();
    std::fs::write(file, [parts[0], &gpu.join("[[device.mig]]")].join("[[device]]")).unwrap();
}

/// The shell, and so the command that it becomes, computes on the device.
const COMPUTES: &str = "
    mount -t tmpfs none /sys/class
    mkdir -p /sys/class/kfd/kfd/topology/nodes/1 /sys/class/kfd/kfd/proc/$$
    echo 9001 >/sys/class/kfd/kfd/topology/nodes/1/gpu_id
    echo 1073741824 >/sys/class/kfd/kfd/proc/$$/vram_9001
";

fn has_leases(host: &Host) {
    ok(host.start("whole", &[("gpulease/devices", "0")]));
    let isolation = ("gpulease/isolation", "time-slicing");
    let part = [("gpulease/devices", "1"), ("gpulease/compute", "0.25"), isolation];
    ok(host.start("part", &part));
}

/// A lease of a dead holder, one in its grace, and a record that cannot be read.
fn has_ended_leases(host: &Host) {
    ok(host.start("torn", &[("gpulease/devices", "1")]));
    let torn = host.lease("torn").unwrap().key().unwrap();
    let record = host.run_dir().join("leases").join(format!("{}.json", torn.file_stem()));
    std::fs::write(record, "{").unwrap();
    ok(host.start("ended", &[("gpulease/devices", "2")]));
    ok(host.delete("ended"));
    ok(host.start("dead", &[("gpulease/devices", "0")]));
    host.kill("dead");
}

fn has_inventory(host: &Host) {
    ok(host.cli(&["inventory", "refresh"]));
}

/// The inventory is of another devices file.
fn has_stale_inventory(host: &Host) {
    has_inventory(host);
    let file = host.path("etc/devices.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{text}\n# later\n")).unwrap();
}

pub const CASES: &[Case] = &[
    on("cdi-generate", "mixed4", &["cdi", "generate", "--simulated", "--vendor", "nvidia"]),
    on("cdi-generate-files", "mixed4", &["cdi", "generate", "--simulated", "--output", "DIR"]),
    on("cdi-list", "mixed4", &["cdi", "list"]).script(
        "mkdir -p /etc/cdi
        echo '{\"cdiVersion\":\"0.5.0\",\"kind\":\"nvidia.com/gpu\",\"devices\":[{\"name\":\"0\",
        \"containerEdits\":{\"env\":[\"A=b\"]}}]}' >/etc/cdi/nvidia.json",
    ),
    on("completions", "mixed4", &["completions", "fish"]),
    on("devices", "mixed4", &["devices"]).after(has_leases),
    on("devices-busy", "mixed4", &["devices"]).after(is_real).script(COMPUTES),
    on("devices-mig", "a100x4", &["devices"]).after(has_one_instance),
    on("devices-none", "mixed4", &["devices"])
        .after(|host| std::fs::remove_file(host.path("etc/devices.toml")).unwrap()),
    on("driver", "mixed4", &["driver"]),
    on("explain", "mixed4", &["explain"]),
    on("explain-bundle", "mixed4", &["explain", "--bundle", "DIR/bundles/plain"])
        .after(|host| drop(host.bundle("plain", &[]))),
    on("explain-error", "mixed4", &["explain", "count=many"]).with_status(2),
    on("explain-granted", "mixed4", &["explain", "devices=2", "compute=0.25"]),
    on("explain-refused", "mixed4", &["explain", "vendor=nvidia", "memory=40Gi"])
        .after(has_leases)
        .with_status(3),
    on("inventory-example", "mixed4", &["inventory", "example", "mixed4"]),
    on("inventory-example-list", "mixed4", &["inventory", "example"]),
    on("inventory-refresh", "mixed4", &["inventory", "refresh"]),
    on("inventory-show", "mixed4", &["inventory", "show"]).after(has_inventory),
    on("inventory-show-missing", "mixed4", &["inventory", "show"]).with_status(4),
    on("inventory-show-stale", "mixed4", &["inventory", "show"]).after(has_stale_inventory),
    on("leases", "mixed4", &["leases"]).after(has_leases),
    on("leases-all", "mixed4", &["leases", "--all"]).after(has_ended_leases),
    on("memory", "mixed4", &["memory"]).after(has_leases),
    on("mig-plan", "a100x4", &["mig", "plan", "--gpu", "0,2", "--replace", "1g.5gb*2"]),
    on("mig-plan-model", "mixed4", &["mig", "plan", "--model", "A30", "2g.12gb"]),
    on("processes", "mixed4", &["processes"]).after(is_real).script(COMPUTES),
    on("processes-none", "mixed4", &["processes"]),
    on("release", "mixed4", &["release", "dead"]).after(has_ended_leases),
    on("release-corrupt", "mixed4", &["release", "torn", "--force"]).after(has_ended_leases),
    on("release-error", "mixed4", &["release", "whole"]).after(has_leases).with_status(7),
    on("release-force", "mixed4", &["release", "whole", "--force"]).after(has_leases),
    on("topology", "mixed4", &["topology"]),
];
