//! A node as a directory: healthy, with every engine installed and wired.

use gpulease::door::config::Config;
use gpulease::door::inventory;
use gpulease::door::model::device::{PciAddress, Vendor};
use gpulease::door::model::id::{ContainerId, DeviceId, Nonce};
use gpulease::door::model::isolation::{Enforcement, Isolation, IsolationRecord};
use gpulease::door::model::lease::{
    Lease, LeaseState, LeasedDevice, Owner, RECORD_VERSION, Sharing,
};
use gpulease::door::model::quantity::{Bytes, MilliGpu};
use gpulease::door::paths::Paths;
use gpulease::door::store::Store;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub const CLI: &str = env!("CARGO_BIN_EXE_gpulease");

pub const CONTAINERD: &str = r#"
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gpulease]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["gpulease/*", "*.gpulease/*"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gpulease.options]
BinaryName = "/usr/local/bin/gpulease-runtime"
SystemdCgroup = true
"#;

/// Mode, owner, inode, times of change, content.
type Looks = (u32, u32, u64, i64, i64, Vec<u8>);

pub struct Node {
    dir: tempfile::TempDir,
    /// `/run`, on a tmpfs.
    _run: tempfile::TempDir,
}

impl Node {
    pub fn healthy() -> Self {
        // Not a tmpfs, so that what lies outside of /run is seen to lie outside of it.
        let dir =
            tempfile::Builder::new().prefix("gpulease-doctor-").tempdir_in("/var/tmp").unwrap();
        let run =
            tempfile::Builder::new().prefix("gpulease-doctor-").tempdir_in("/dev/shm").unwrap();
        for dir in [&dir, &run] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(run.path(), dir.path().join("run")).unwrap();
        let node = Self { dir, _run: run };
        node.program("usr/bin/runc", "echo 'runc version 1.2.6'");
        node.program("usr/bin/systemctl", "echo 'systemd 252 (252.39-1~deb12u1)'");
        for name in ["bin/dockerd", "bin/containerd", "bin/podman", "bin/crio"] {
            node.program(&format!("usr/{name}"), "exit 1");
        }
        node.program("usr/local/bin/gpulease-runtime", "exit 1");
        node.program("usr/local/bin/gpulease-hook", "exit 1");
        for dir in ["run/systemd/system", "sys/fs/cgroup/devices", "sys/dev/char", "proc/self/ns"] {
            node.mkdir(dir);
        }
        node.write("proc/sys/kernel/random/boot_id", "5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1\n");
        node.write("proc/self/uid_map", "         0          0 4294967295\n");
        node.write("proc/self/status", "Name:\tgpulease\nCapEff:\t000001ffffffffff\n");
        node.write("proc/devices", "Character devices:\n  1 mem\n195 nvidia\n\nBlock devices:\n");
        let profile = inventory::profiles::find("mixed4").unwrap();
        node.write("etc/gpulease/devices.toml", profile.toml);
        node.write(
            "etc/docker/daemon.json",
            r#"{"runtimes": {"gpulease": {"path": "/usr/local/bin/gpulease-runtime"}}}"#,
        );
        node.write("etc/containerd/config.toml", CONTAINERD);
        node.write(
            "etc/containers/containers.conf.d/gpulease.conf",
            "[engine.runtimes]\ngpulease = [\"/usr/local/bin/gpulease-runtime\"]\n",
        );
        node.write(
            "etc/crio/crio.conf.d/gpulease.conf",
            "[crio.runtime.runtimes.gpulease]\nruntime_path = \"/usr/local/bin/gpulease-runtime\"\n",
        );
        for name in ["leases", "bundles", "corrupt"] {
            node.mkdir(&format!("run/gpulease/{name}"));
            node.chmod(&format!("run/gpulease/{name}"), 0o700);
        }
        node.write("run/gpulease/lock", "");
        node.chmod("run/gpulease/lock", 0o600);
        node.refresh();
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn mkdir(&self, name: &str) {
        self.make_dirs(Path::new(name));
        self.chmod(name, 0o755);
    }

    /// Those that are missing, with a mode that does not depend on the umask.
    fn make_dirs(&self, name: &Path) {
        let mut at = self.dir.path().to_owned();
        for part in name {
            at.push(part);
            if !at.exists() {
                fs::create_dir(&at).unwrap();
                fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        self.make_dirs(Path::new(name).parent().unwrap());
        fs::write(self.path(name), text).unwrap();
        self.chmod(name, 0o644);
    }

    pub fn program(&self, name: &str, script: &str) {
        self.make_dirs(Path::new(name).parent().unwrap());
        // Not written by this process: a child that another thread forks meanwhile would keep the
        // file open for writing until it executes, and the kernel runs no such file (ETXTBSY).
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" >"$1""#;
        let mut child = Command::new("/bin/sh");
        child.args(["-c", write, "sh"]).arg(self.path(name)).arg(script);
        assert!(child.status().unwrap().success());
        self.chmod(name, 0o755);
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A node for everybody that has the number of `/dev/null`.
    pub fn device(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !nix::unistd::geteuid().is_root() {
            return symlink("/dev/null", path).unwrap();
        }
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        match fs::symlink_metadata(&path).unwrap().is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }

    /// Makes the inventory as the host itself would: with the host's paths.
    pub fn refresh(&self) {
        let paths = Paths::below(self.dir.path());
        let text = fs::read_to_string(paths.etc.join("config.toml")).unwrap_or_default();
        let config = Config::of(&paths);
        let config = config.clone().with_text(&text, Path::new("config.toml")).unwrap_or(config);
        let inside = |path: &Path| Path::new("/").join(path.strip_prefix(self.dir.path()).unwrap());
        let inventory = inventory::scan(&paths, &config).unwrap().with_paths(inside);
        self.write("run/gpulease/inventory.json", inventory::encode(&inventory).unwrap());
    }

    /// A lease of another boot, so its holder is dead.
    pub fn dead_lease(&self) {
        self.lease("another", None);
    }

    /// A lease of a live holder, with a limit of its device memory, and its cgroup, which says this
    /// of it.
    pub fn limited_lease(&self, dmem_max: &str) {
        self.pid_namespace(1);
        self.write("proc/1/stat", format!("1 (init) S {}1 0\n", "0 ".repeat(18)));
        self.lease("5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1", Some("drm/0000:01:00.0/vram"));
        self.write("sys/fs/cgroup/docker/web/dmem.max", dmem_max);
    }

    /// That in which the node is looked at: the leases are of the first.
    fn pid_namespace(&self, inode: u64) {
        symlink(format!("pid:[{inode}]"), self.path("proc/self/ns/pid")).unwrap();
    }

    /// A lease that another pid namespace recorded.
    pub fn nested_lease(&self) {
        self.pid_namespace(2);
        self.lease("5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1", None);
    }

    /// A lease that was released, and whose grace is over.
    pub fn lease_that_is_over(&self) {
        self.lease("5f1c09ab-77de-4f4e-a5d7-9d8ba6d3c0b1", None);
        let leases = self.dir.path().join("run/gpulease/leases");
        let file = fs::read_dir(leases).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("\"state\":\"bound\"", "\"state\":\"grace\"");
        fs::write(&file, text).unwrap();
    }

    fn lease(&self, boot_id: &str, region: Option<&str>) {
        let nonce = Nonce::new(&"ab".repeat(16)).unwrap();
        let lease = Lease {
            v: RECORD_VERSION,
            id: nonce.lease_id(),
            nonce,
            state: LeaseState::Bound,
            container_id: ContainerId::new("web").unwrap(),
            runtime_root: "/run/runc".into(),
            engine: "runc".into(),
            runtime: "/usr/bin/runc".into(),
            bundle: "/b".into(),
            pid_file: None,
            created_at: "2026-01-01T00:00:00Z".into(),
            owner: Owner { pid: 1, start_time: 1, boot_id: boot_id.into(), pid_namespace: 1 },
            precreate: None,
            cgroup: region.map(|_| "/sys/fs/cgroup/docker/web".into()),
            devices: vec![LeasedDevice {
                uuid: DeviceId::new("GPU-1").unwrap(),
                index: 0,
                vendor: Vendor::Nvidia,
                model: "X".into(),
                pci: PciAddress::parse("01:00.0").unwrap(),
                nodes: vec!["/dev/nvidia0".into()],
                milli: MilliGpu::WHOLE,
                memory_bytes: Some(Bytes(4096)),
                sharing: Sharing::Exclusive,
                simulated: true,
                mig: None,
                cu_mask: None,
                dmem_region: region.map(str::to_owned),
            }],
            isolation: IsolationRecord {
                requested: Isolation::Auto,
                requested_as: None,
                effective: Isolation::None,
                compute_enforcement: Enforcement::None,
                memory_enforcement: Enforcement::None,
                missing: Vec::new(),
            },
            mps: None,
            env: BTreeMap::new(),
            priority: 5,
            workload: None,
            release_grace_ms: 0,
            grace_until_ms: None,
        };
        let store = Store::at(&self.path("run/gpulease"));
        let ledger = store.lock(Duration::from_secs(1), &Paths::default()).unwrap();
        ledger.put(&lease).unwrap();
    }

    /// The command, where any user can run it.
    pub fn install_cli(&self) {
        // By a child, for the reason told in [`Self::program`].
        let copied = Command::new("cp").arg(CLI).arg(self.path("gpulease")).status();
        assert!(copied.unwrap().success());
        self.chmod("gpulease", 0o755);
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(CLI)
            .args(arguments)
            .arg("--root")
            .arg(self.dir.path())
            .env_remove("GPULEASE_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `doctor` for the host that the test runs on, with a program of this node's as its runtime:
    /// the checks of that one.
    #[track_caller]
    pub fn doctor_of_runtime(&self, name: &str) -> Vec<Value> {
        let (program, config) = (self.path(name), "host.toml");
        self.write(config, format!("runtime = {program:?}\nrun_dir = {:?}\n", self.path("none")));
        let output = Command::new(CLI)
            .args(["doctor", "--json", "--gpulease-config"])
            .arg(self.path(config))
            .env_remove("GPULEASE_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_of_it =
            |check: &&Value| check["message"].as_str().unwrap().contains(program.to_str().unwrap());
        answer["checks"].as_array().unwrap().iter().filter(is_of_it).cloned().collect()
    }

    /// The exit status and the checks.
    #[track_caller]
    pub fn doctor(&self) -> (i32, Vec<Value>) {
        let (status, mut answer) = self.tell("doctor");
        let Value::Array(checks) = answer["checks"].take() else { panic!("{answer}") };
        (status, checks)
    }

    #[track_caller]
    pub fn health(&self) -> (i32, Value) {
        self.tell("health")
    }

    #[track_caller]
    fn tell(&self, command: &str) -> (i32, Value) {
        let output = self.cli(&[command, "--json"]);
        let answer = serde_json::from_slice(&output.stdout);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code().expect("an exit status"), answer)
    }

    /// Every file with all that a change of it would change.
    pub fn listing(&self) -> BTreeMap<PathBuf, Looks> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.dir.path().to_owned(), self.path("run/")];
        while let Some(dir) = open.pop() {
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                let m = fs::symlink_metadata(&path).unwrap();
                let is_small_file = m.is_file() && m.len() < 1 << 20;
                let bytes =
                    if is_small_file { fs::read(&path).unwrap_or_default() } else { Vec::new() };
                if m.is_dir() {
                    open.push(path.clone());
                }
                files.insert(
                    path,
                    (m.mode(), m.uid(), m.ino(), m.mtime_nsec(), m.ctime_nsec(), bytes),
                );
            }
        }
        files
    }
}

/// The codes that are no `ok`, each once. That a test is not run by root is no finding of its, nor
/// that programs below `--root` are not asked for their version.
pub fn codes(checks: &[Value]) -> Vec<String> {
    let is_found = |check: &&Value| {
        check["level"] != "ok" && check["code"] != "not-root" && !is_not_asked(check)
    };
    let found = checks.iter().filter(is_found);
    let mut codes: Vec<String> =
        found.map(|check| check["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// That a program was not run, because it lies below `--root`.
pub fn is_not_asked(check: &Value) -> bool {
    let text = check["message"].as_str().unwrap();
    check["code"] == "unchecked"
        && text.ends_with("was not checked: no program below --root is run")
}
