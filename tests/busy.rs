//! Devices on which processes without a lease compute: a host with faked drivers in a mount
//! namespace of its own, and real processes.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use support::{CLI, HOOK, Host, STUB, needs_root, ok, stderr};

const NVIDIA: &str = "
[[device]]
uuid = 'GPU-a'
vendor = 'nvidia'
model = 'M'
memory_mib = 1024
pci = '0000:01:00.0'
nodes = ['/dev/nvidia0']
[[device]]
uuid = 'GPU-b'
vendor = 'nvidia'
model = 'M'
memory_mib = 1024
pci = '0000:02:00.0'
nodes = ['/dev/nvidia1']
";

const AMD: &str = "
[[device]]
uuid = 'GPU-c'
vendor = 'amd'
model = 'M'
memory_mib = 1024
pci = '0000:01:00.0'
kfd_node = 1
nodes = ['/dev/dri/renderD128']
[[device]]
uuid = 'GPU-d'
vendor = 'amd'
model = 'M'
memory_mib = 1024
pci = '0000:02:00.0'
kfd_node = 2
nodes = ['/dev/dri/renderD129']
";

/// Nodes that can be opened, and what the two drivers show of themselves.
const SETUP: &str = r#"
    set -e
    mount -t tmpfs none /dev
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "/dev/${node%:*}" c 1 "${node#*:}"
    done
    mkdir /dev/dri
    mknod /dev/nvidia-uvm c 1 3
    mknod /dev/nvidia0 c 1 5
    mknod /dev/nvidia1 c 1 7
    mknod /dev/dri/renderD128 c 1 8
    mknod /dev/dri/renderD129 c 1 9
    mount -t tmpfs none /sys/module
    mkdir /sys/module/nvidia_uvm
    echo 1 >/sys/module/nvidia_uvm/refcnt
    mount -t tmpfs none /sys/class
    for node in 1 2; do
        mkdir -p "/sys/class/kfd/kfd/topology/nodes/$node" /sys/class/kfd/kfd/proc
        echo "900$node" >"/sys/class/kfd/kfd/topology/nodes/$node/gpu_id"
    done
    echo ready
    exec sleep 600
"#;

/// A host whose drivers are faked.
struct Faked {
    host: Host,
    namespace: Child,
    /// The processes are real, and seen by every test of this file: one at a time.
    _turn: File,
}

impl Faked {
    fn new(devices: &str) -> Self {
        let turn = File::create(std::env::temp_dir().join("gpulease-test-busy.lock")).unwrap();
        turn.lock().unwrap();
        let host = Host::with_devices(devices, Path::new(STUB));
        let mut namespace = Command::new("setpriv");
        namespace.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
        namespace.args(["sh", "-c", SETUP]);
        let mut namespace = namespace.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(namespace.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the namespace was not made");
        Self { host, namespace, _turn: turn }
    }

    /// In the namespace; the process stays the same one.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--mount=/proc/{}/ns/mnt", self.namespace.id()));
        inside.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        inside
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        self.inside(Command::new(program).args(args)).output().unwrap()
    }

    fn sh(&self, script: &str) {
        ok(self.run("sh", &["-c", script]));
    }

    fn cli(&self, args: &[&str]) -> Output {
        let config = self.host.config();
        let config = ["--gpulease-config", config.to_str().unwrap()];
        self.run(CLI, &[&config[..], args].concat())
    }

    #[track_caller]
    fn tells(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn start(&self, name: &str, annotations: &[(&str, &str)]) -> Output {
        self.host.bundle(name, annotations);
        self.inside(&self.host.create_command(name)).output().unwrap()
    }

    /// A process that has these files open.
    fn process(&self, files: &[&str]) -> Process {
        self.process_of(0, files)
    }

    /// The same, of a user.
    fn process_of(&self, uid: u32, files: &[&str]) -> Process {
        let open: Vec<String> =
            files.iter().enumerate().map(|(at, file)| format!("{}<{file}", at + 3)).collect();
        let script = format!("exec {}; echo ready; exec sleep 600", open.join(" "));
        let uid = format!("--reuid={uid}");
        let mut command = Command::new("setpriv");
        command.args([&uid, "--clear-groups", "sh", "-c", &script]);
        let mut command = self.inside(&command);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let comm = format!("/proc/{}/comm", child.id());
        support::eventually(|| fs::read_to_string(&comm).unwrap() == "sleep\n");
        Process(child)
    }

    /// As KFD would show it.
    fn has_vram(&self, pid: &str, gpu: u32, bytes: u64) {
        let dir = format!("/sys/class/kfd/kfd/proc/{pid}");
        self.sh(&format!("mkdir -p {dir} && echo {bytes} >{dir}/vram_900{gpu}"));
    }
}

impl Drop for Faked {
    fn drop(&mut self) {
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

struct Process(Child);

impl Process {
    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ONE: &[(&str, &str)] = &[("gpulease/count", "1")];
const FIRST: &[(&str, &str)] = &[("gpulease/devices", "0")];

#[test]
fn a_busy_gpu_is_granted_only_by_name() {
    needs_root!();
    let faked = Faked::new(NVIDIA);
    let cuda = faked.process(&["/dev/nvidia-uvm", "/dev/nvidia0"]);
    // It only looks.
    let _smi = faked.process(&["/dev/nvidia0", "/dev/nvidia1"]);
    let busy = format!("busy: process {} (sleep) computes on it without a lease", cuda.pid());

    let devices = faked.tells(&["devices"])["devices"].take();
    assert_eq!(devices[0]["busy"][0]["pid"].to_string(), cuda.pid());
    assert_eq!(devices[1]["busy"], Value::Array(Vec::new()));
    let text = String::from_utf8(ok(faked.cli(&["devices"])).stdout).unwrap();
    assert!(text.contains(&format!("unknown, busy: {} (sleep)", cuda.pid())), "{text}");

    let refused = faked.cli(&["explain", "count=2"]);
    let text = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{text}");
    assert!(text.contains(&busy) && text.contains("fits"), "{text}");

    ok(faked.start("idle", ONE));
    assert_eq!(faked.host.devices("idle"), ["GPU-b"]);
    let refused = stderr(&faked.start("none", ONE));
    assert!(refused.contains("no-capacity") && refused.contains(&busy), "{refused}");
    assert!(refused.contains("gpulease processes"), "{refused}");
    assert!(!faked.start("all", &[("gpulease/count", "all")]).status.success());
    ok(faked.start("named", FIRST));
    assert_eq!(faked.host.devices("named"), ["GPU-a"]);
}

#[test]
fn the_administrator_says_what_busy_means() {
    needs_root!();
    let faked = Faked::new(NVIDIA);
    let _cuda = faked.process(&["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]);
    faked.host.configure(Path::new(STUB), "policy = { busy = \"refuse\" }");
    let refused = stderr(&faked.start("named", FIRST));
    assert!(refused.contains("`policy.busy` is `refuse`"), "{refused}");
    assert_eq!(faked.host.leases().len(), 0);
    faked.host.configure(Path::new(STUB), "policy = { busy = \"ignore\" }");
    ok(faked.start("any", ONE));
    assert_eq!(faked.tells(&["devices"])["devices"][0]["busy"], Value::Null, "not looked at");
    faked.host.configure(Path::new(STUB), "");
    assert!(!faked.start("none", ONE).status.success());
    // The module says that nobody has it open, so that nobody is looked for.
    faked.sh("echo 0 >/sys/module/nvidia_uvm/refcnt");
    ok(faked.start("other", ONE));
}

#[test]
fn podmans_hook_sees_the_processes_of_all_users() {
    needs_root!();
    let faked = Faked::new(NVIDIA);
    faked.sh("chmod 666 /dev/nvidia*");
    let cuda = faked.process_of(65534, &["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]);
    // Podman calls it in such a directory.
    let bundle = faked.host.bundle(&format!("{}/userdata", "0a".repeat(32)), ONE);
    let (config, bundle) = (faked.host.config(), bundle.display());
    let hook = format!(
        "cd {bundle} && {HOOK} precreate --gpulease-config {} <config.json",
        config.display()
    );
    let refused = faked.run("sh", &["-c", &hook]);
    let text = stderr(&refused);
    assert!(!refused.status.success() && text.contains("no-capacity"), "{text}");
    assert!(text.contains(&format!("process {} (sleep)", cuda.pid())), "{text}");
    assert_eq!(faked.host.leases().len(), 0);
}

#[test]
fn who_belongs_to_a_lease_is_not_in_its_way() {
    needs_root!();
    let faked = Faked::new(AMD);
    ok(faked.start("web", FIRST));
    let inside = faked.host.pid("web").unwrap().to_string();
    faked.has_vram(&inside, 1, 1 << 30);
    let sleeper = faked.process(&[]);
    faked.has_vram(&sleeper.pid(), 1, 0);
    faked.has_vram(&sleeper.pid(), 2, 4 << 20);

    let told = faked.tells(&["processes"]);
    let of = |pid: &str| {
        let all = told["processes"].as_array().unwrap();
        all.iter()
            .find(|process| process["pid"].as_u64() == pid.parse().ok())
            .unwrap_or_else(|| panic!("{told}"))
    };
    let lease = faked.host.lease("web").unwrap();
    let (member, outsider) = (of(&inside), of(&sleeper.pid()));
    assert_eq!((&member["outside"], &member["lease"]), (&false.into(), &lease.id.as_str().into()));
    assert_eq!(member["container_id"], "web");
    assert_eq!(member["devices"][0]["memory_bytes"], 1_u64 << 30);
    assert_eq!((&outsider["outside"], &outsider["lease"]), (&true.into(), &Value::Null));
    assert_eq!(outsider["command"], "sleep 600");
    assert_eq!(outsider["devices"].as_array().unwrap().len(), 1);
    let text = String::from_utf8(ok(faked.cli(&["processes"])).stdout).unwrap();
    let line = text.lines().find(|line| line.contains("outside")).unwrap();
    assert!(line.contains(&sleeper.pid()) && line.contains("4Mi") && line.ends_with("sleep 600"));

    let devices = faked.tells(&["devices"])["devices"].take();
    assert_eq!(devices[0]["busy"], Value::Array(Vec::new()));
    assert_eq!(devices[1]["busy"].as_array().unwrap().len(), 1);
    let refused = stderr(&faked.start("other", ONE));
    assert!(refused.contains("GPU 0 (M): held exclusively by"), "{refused}");
    assert!(refused.contains("GPU 1 (M): busy: process"), "{refused}");
    drop(sleeper);
    ok(faked.start("other", ONE));
    assert_eq!(faked.host.devices("other"), ["GPU-d"]);
}

#[test]
fn the_driver_says_on_which_gpu_a_process_is() {
    needs_root!();
    let faked = Faked::new(NVIDIA);
    let library = Path::new(CLI).with_file_name("examples/libfake_nvml.so");
    assert!(library.exists(), "build it: cargo build --features failpoints --example fake_nvml");
    let dir = faked.host.path("driver/usr/lib64");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(library, dir.join("libnvidia-ml.so.1")).unwrap();
    let root = faked.host.path("driver");
    let more = format!("driver_root = {root:?}\nsources = [\"static\"]");
    faked.host.configure(Path::new(STUB), &more);
    faked.sh("mount -t tmpfs none /proc/driver && mkdir /proc/driver/nvidia");
    // It has both GPUs open, as CUDA does, and computes on the second.
    let cuda = faked.process(&["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]);
    let gpu = |uuid: &str, minor: u32, processes: Value| {
        serde_json::json!({
            "uuid": uuid, "name": "M", "pci": format!("0000:0{}:00.0", minor + 1), "minor": minor,
            "processes": { "compute": processes },
        })
    };
    let here = serde_json::json!([[cuda.0.id(), 512_u64 << 20]]);
    let gpus = [gpu("GPU-a", 0, Value::Array(Vec::new())), gpu("GPU-b", 1, here)];
    let node = serde_json::json!({ "driver": "550.163.01", "gpus": gpus });
    fs::write(dir.join("node.json"), node.to_string()).unwrap();

    let told = faked.tells(&["processes"]);
    assert_eq!(told["notes"], Value::Array(Vec::new()), "{told}");
    let devices = &told["processes"][0]["devices"];
    assert_eq!(devices.as_array().unwrap().len(), 1, "{told}");
    assert_eq!((&devices[0]["uuid"], &devices[0]["type"]), (&"GPU-b".into(), &"compute".into()));
    assert_eq!(devices[0]["memory_bytes"], 512_u64 << 20);
    // One of them does not tell who computes on it.
    let mut partial = node.clone();
    partial["gpus"][0]["errors"] =
        serde_json::json!({ "nvmlDeviceGetComputeRunningProcesses_v3": 999 });
    fs::write(dir.join("node.json"), partial.to_string()).unwrap();
    let told = faked.tells(&["processes"]);
    assert_eq!(told["asked"], serde_json::json!(["GPU-b"]), "{told}");
    let on = told["processes"][0]["devices"].as_array().unwrap().len();
    assert_eq!((on, told["notes"].as_array().unwrap().len()), (2, 1), "{told}");
    let refused = stderr(&faked.start("partial", ONE));
    assert!(refused.contains("GPU 0-1 (M): busy: process"), "{refused}");
    fs::write(dir.join("node.json"), node.to_string()).unwrap();

    ok(faked.start("first", ONE));
    assert_eq!(faked.host.devices("first"), ["GPU-a"]);
    let refused = stderr(&faked.start("second", ONE));
    assert!(refused.contains("GPU 1 (M): busy: process"), "{refused}");

    // Without its word the process counts on both.
    ok(faked
        .inside(&{
            let mut delete = faked.host.shim();
            delete.args(["delete", "--force", "first"]);
            delete
        })
        .output()
        .unwrap());
    fs::remove_file(dir.join("libnvidia-ml.so.1")).unwrap();
    let refused = stderr(&faked.start("third", ONE));
    assert!(refused.contains("GPU 0-1 (M): busy: process"), "{refused}");
    let told = faked.tells(&["processes"]);
    assert!(told["notes"][0].as_str().unwrap().contains("no libnvidia-ml.so.1"), "{told}");
}

#[test]
fn the_next_start_reads_what_a_refresh_could_not() {
    needs_root!();
    let faked = Faked::new(NVIDIA);
    faked.host.configure(Path::new(STUB), "sources = [\"static\", \"nvidia\"]");
    faked.sh("mkdir /sys/module/nvidia && printf '\\377' >/sys/module/nvidia/version");
    let made_at = || {
        let path = faked.host.run_dir().join("inventory.json");
        fs::metadata(path).unwrap().modified().unwrap()
    };
    ok(faked.start("first", ONE));
    let made = made_at();
    ok(faked.start("second", ONE));
    assert_ne!(made_at(), made, "it was not looked at anew");
    faked.sh("rm /sys/module/nvidia/version");
    faked.cli(&["inventory", "refresh"]);
    let made = made_at();
    assert!(!faked.start("third", ONE).status.success(), "there are two");
    assert_eq!(made_at(), made);
}
