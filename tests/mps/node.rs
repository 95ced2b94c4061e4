//! A node with a simulated GPU that has a UUID of its own. The test writes its leases. Its directory has
//! a short path, for the daemon's sockets lie in it.

use crate::support::images::fetched;
use crate::support::{CLI, eventually, golden, ok, stderr};
use gpulease::door::model::device::{PciAddress, Vendor};
use gpulease::door::model::id::{ContainerId, DeviceId, Nonce};
use gpulease::door::model::isolation::{Enforcement, Isolation, IsolationRecord};
use gpulease::door::model::lease::{
    Lease, LeaseState, LeasedDevice, MpsSeat, RECORD_VERSION, Sharing,
};
use gpulease::door::model::quantity::{Bytes, MilliGpu};
use gpulease::door::paths::Paths;
use gpulease::door::store::Store;
use gpulease::door::sys::proc::describe;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub fn control() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| fetched("nvidia.sh").join("usr/bin/nvidia-cuda-mps-control"))
}

pub struct Node {
    dir: tempfile::TempDir,
    pub uuid: String,
}

/// Hex digits that no other test has.
fn random() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    text.trim().to_owned()
}

impl Node {
    pub fn new() -> Self {
        Self::with("start_timeout = \"5s\"\nstop_grace = \"0s\"")
    }

    /// With these keys in the table `[mps]`.
    pub fn with(keys: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("gl-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("host")).unwrap();
        let node = Self { dir, uuid: format!("GPU-{}", random()) };
        let devices = format!(
            "simulated = true\n[[device]]\nuuid = {:?}\nvendor = \"nvidia\"\nmodel = \"H100\"\n\
             memory_mib = 81559\nreserved_mib = 551\npci = \"0000:01:00.0\"\nhealthy = true\n\
             nodes = [{{ path = \"/dev/nvidia0\", major = 1219, minor = 0 }}]\n",
            node.uuid
        );
        fs::write(node.path("devices.toml"), devices).unwrap();
        node.configure(keys);
        node.store().prepare(&node.paths()).unwrap();
        node
    }

    pub fn configure(&self, keys: &str) {
        let control = if keys.contains("control = ") {
            String::new()
        } else {
            format!("control = {:?}\n", control())
        };
        let text = format!(
            "run_dir = {:?}\ndevices_file = {:?}\ndriver_root = {:?}\nsources = [\"static\"]\n\
             [mps]\n{control}{keys}\n",
            self.run(),
            self.path("devices.toml"),
            self.path("host"),
        );
        fs::write(self.path("c.toml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn run(&self) -> PathBuf {
        self.path("r")
    }

    pub fn paths(&self) -> Paths {
        Paths { run: self.run(), ..Paths::default() }
    }

    pub fn store(&self) -> Store {
        Store::at(&self.run())
    }

    /// The directory of the device's daemon.
    pub fn place(&self) -> PathBuf {
        self.run().join("mps").join(&self.uuid)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CLI);
        command.arg("--gpulease-config").arg(self.path("c.toml")).args(args);
        command.stdin(Stdio::null());
        command
    }

    pub fn cli(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A lease that lives as long as this process.
    pub fn lease(&self, name: &str, milli: u32, mib: u64) -> Lease {
        let nonce = Nonce::new(&random().replace('-', "")).unwrap();
        let lease = Lease {
            v: RECORD_VERSION,
            id: nonce.lease_id(),
            nonce,
            state: LeaseState::Pending,
            container_id: ContainerId::new(name).unwrap(),
            runtime_root: self.path("root").display().to_string(),
            engine: "runc".into(),
            runtime: "/usr/bin/runc".into(),
            bundle: "/b".into(),
            pid_file: None,
            created_at: "2026-01-01T00:00:00Z".into(),
            owner: describe(i32::try_from(std::process::id()).unwrap(), &self.paths()).unwrap(),
            precreate: None,
            cgroup: None,
            devices: vec![LeasedDevice {
                uuid: DeviceId::new(&self.uuid).unwrap(),
                index: 0,
                vendor: Vendor::Nvidia,
                model: "H100".into(),
                pci: PciAddress::parse("01:00.0").unwrap(),
                nodes: vec![],
                milli: MilliGpu(milli),
                memory_bytes: Some(Bytes::from_mib(mib)),
                sharing: Sharing::Shared,
                simulated: true,
                mig: None,
                cu_mask: None,
                dmem_region: None,
            }],
            isolation: IsolationRecord {
                requested: Isolation::Mps,
                requested_as: None,
                effective: Isolation::Mps,
                compute_enforcement: Enforcement::Advisory,
                memory_enforcement: Enforcement::Advisory,
                missing: Vec::new(),
            },
            mps: Some(MpsSeat {
                daemon: self.uuid.clone(),
                uid: 0,
                pinned: false,
                pipe: None,
                shm: None,
                adopted: false,
                process: None,
            }),
            env: std::collections::BTreeMap::new(),
            priority: 5,
            workload: None,
            release_grace_ms: 0,
            grace_until_ms: None,
        };
        self.put(&lease);
        lease
    }

    pub fn put(&self, lease: &Lease) {
        let paths = self.paths();
        let store = self.store();
        store.lock(Duration::from_secs(10), &paths).unwrap().put(lease).unwrap();
    }

    pub fn release(&self, lease: &Lease) {
        let (paths, store) = (self.paths(), self.store());
        let ledger = store.lock(Duration::from_secs(10), &paths).unwrap();
        ledger.remove(&lease.key().unwrap()).unwrap();
    }

    pub fn attach_command(&self, lease: &Lease) -> Command {
        let key = lease.key().unwrap().file_stem();
        self.command(&["mps", "attach", "--key", &key, "--nonce", lease.nonce.as_str()])
    }

    pub fn attach(&self, lease: &Lease) -> Output {
        self.attach_command(lease).output().unwrap()
    }

    /// The answer of `attach`, which is one line.
    #[track_caller]
    pub fn attached(&self, lease: &Lease) -> Value {
        let output = ok(self.attach(lease));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// `attach` fails with isolation-failed, and with this text.
    #[track_caller]
    pub fn refused(&self, lease: &Lease) -> String {
        let output = self.attach(lease);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{text}");
        assert!(text.contains("isolation-failed"), "{text}");
        text
    }

    /// `attach` kills itself at this point.
    pub fn attach_killed_at(&self, lease: &Lease, point: &str) {
        use std::os::unix::process::ExitStatusExt;
        let mut command = self.attach_command(lease);
        let output = command.env("GPULEASE_FAILPOINT", format!("{point}=kill")).output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{point}: {}", stderr(&output));
    }

    #[track_caller]
    pub fn reap(&self) {
        ok(self.cli(&["mps", "reap", "--now"]));
    }

    /// The daemon's answer, by NVIDIA's own client.
    #[track_caller]
    pub fn says(&self, pipe: &Path, command: &str) -> String {
        say(pipe, command)
    }

    /// Percent and memory that the device's daemon limits its clients to.
    #[track_caller]
    pub fn limits(&self) -> (String, String) {
        let pipe = self.place().join("pipe");
        (
            say(&pipe, "get_default_active_thread_percentage"),
            say(&pipe, "get_default_device_pinned_mem_limit 0"),
        )
    }

    pub fn journal(&self) -> Value {
        serde_json::from_slice(&fs::read(self.place().join("journal.json")).unwrap()).unwrap()
    }

    pub fn daemon_pid(&self) -> i32 {
        i32::try_from(self.journal()["process"]["pid"].as_i64().unwrap()).unwrap()
    }

    pub fn status(&self) -> Value {
        let output = ok(self.cli(&["mps", "status", "--json"]));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The daemons of `status` that are of this node.
    pub fn rows(&self) -> Vec<Value> {
        let here = self.dir.path().to_str().unwrap().to_owned();
        let rows = self.status()["daemons"].as_array().unwrap().clone();
        rows.into_iter().filter(|row| row["pipe"].as_str().unwrap().starts_with(&here)).collect()
    }

    /// Holds an answer against its golden file.
    #[track_caller]
    pub fn check_golden(&self, name: &str, answer: &Value) {
        let text = answer.to_string().replace(&self.uuid, "GPU-uuid");
        let text = text.replace(control().to_str().unwrap(), "CONTROL");
        golden::check(name, serde_json::from_str(&text).unwrap(), self.dir.path());
    }

    /// Processes that have a directory of this node in their environment.
    pub fn processes(&self) -> Vec<i32> {
        let here = format!("CUDA_MPS_PIPE_DIRECTORY={}/", self.dir.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| is_of(*pid, &here)).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.dir.path().to_str().unwrap();
        let points = text.lines().filter_map(|line| line.split(' ').nth(4));
        points.filter(|point| point.starts_with(here)).map(str::to_owned).collect()
    }

    /// Cgroups of the daemons of this node: by the device's UUID, which no other test has, and by all
    /// leases that were recorded.
    fn cgroups(&self) -> Vec<PathBuf> {
        cgroup_roots()
            .into_iter()
            .map(|root| root.join(&self.uuid))
            .filter(|d| d.exists())
            .collect()
    }

    /// All that is left of daemons: nothing, in the end.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.processes().iter().map(|pid| format!("process {pid}")).collect();
        left.extend(self.mounts());
        left.extend(self.cgroups().iter().map(|dir| dir.display().to_string()));
        let daemons = fs::read_dir(self.run().join("mps")).into_iter().flatten().flatten();
        let daemons = daemons.filter(|entry| entry.file_name() != "locks");
        left.extend(daemons.map(|entry| entry.path().display().to_string()));
        left
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<String>::new());
    }
}

pub fn cgroup_roots() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    [root.to_owned(), root.join("unified"), root.join("systemd")]
        .into_iter()
        .map(|dir| dir.join("gpulease-mps"))
        .collect()
}

#[track_caller]
pub fn say(pipe: &Path, command: &str) -> String {
    use std::io::Write;
    let mut child = Command::new(control())
        .env("CUDA_MPS_PIPE_DIRECTORY", pipe)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{command}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_of(pid: i32, here: &str) -> bool {
    // A zombie's environment is empty.
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let dead = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
    !dead && environ.split(|b| *b == 0).any(|pair| pair.starts_with(here.as_bytes()))
}

pub fn kill(pid: i32) {
    crate::support::kill(pid);
}

impl Drop for Node {
    fn drop(&mut self) {
        let left = self.left();
        for pid in self.processes() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        if !std::thread::panicking() {
            eventually(|| self.processes().is_empty());
        }
        for point in self.mounts().iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(point).status();
        }
        for dir in self.cgroups() {
            let _ = fs::remove_dir(dir);
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "the test leaves {left:?}");
        }
    }
}
