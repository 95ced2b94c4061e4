//! One dockerd for one test, with gpulease as its runtime.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::support::{CLI, HOOK, SHIM, is_root, stderr};
use gpulease::model::lease::{Lease, LeaseState};
use gpulease::store::{Entry, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A request for one whole GPU.
pub const ONE: [&str; 2] = ["--annotation", "gpulease/count=1"];
/// A request for every GPU.
pub const ALL: [&str; 2] = ["--annotation", "gpulease/count=all"];
/// The second runtime of every lab: gpulease, with the fail point of `Lab::fail_at`.
pub const FAILING: [&str; 2] = ["--runtime", "failing"];
/// The third: gpulease, which keeps `config.json` as the engine wrote it, in `before.json`.
pub const KEEPING: [&str; 2] = ["--runtime", "keeping"];

/// dockerd's environment is empty, so the point is in a file.
const FAILING_SCRIPT: &str = "#!/bin/sh
GPULEASE_FAILPOINT=$(cat /etc/gpulease/failpoint 2>/dev/null || true)
export GPULEASE_FAILPOINT
exec /opt/gpulease/bin/gpulease-runtime \"$@\"
";
/// containerd's shim calls a runtime with the bundle as its directory.
const KEEPING_SCRIPT: &str = "#!/bin/sh
[ -e before.json ] || [ ! -e config.json ] || cp config.json before.json
exec /opt/gpulease/bin/gpulease-runtime \"$@\"
";

/// The daemon and all that is its own.
pub struct Lab {
    keeper: Child,
    /// Closed, it ends the lab.
    stdin: Option<ChildStdin>,
    /// A process in the lab's mount namespace.
    pid: u32,
    dir: tempfile::TempDir,
    /// A dockerd that replaced the lab's own.
    daemon: Option<Child>,
}

impl Lab {
    /// With a built-in profile of devices and gpulease as default runtime; `None` without root.
    pub fn new(profile: &str) -> Option<Self> {
        let profile = gpulease::inventory::profiles::find(profile).expect("a known profile");
        Self::with(profile.toml, true)
    }

    /// With these devices; where gpulease is not the default runtime it is the one named
    /// `gpulease`.
    pub fn with(devices: &str, default: bool) -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("a test with Docker").to_owned();
        if !is_root(&test) {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("gpulease-docker-").tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for program in [SHIM, HOOK, CLI] {
            let program = program_of_this_build(program);
            fs::copy(&program, bin.join(program.file_name().unwrap())).unwrap();
        }
        for (name, text) in [("failing", FAILING_SCRIPT), ("keeping", KEEPING_SCRIPT)] {
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/devices.toml"), devices).unwrap();
        let runtime = |program: &str| json!({ "path": format!("/opt/gpulease/bin/{program}") });
        let mut daemon = json!({ "runtimes": {
            "gpulease": runtime("gpulease-runtime"),
            "failing": runtime("failing"),
            "keeping": runtime("keeping"),
        } });
        if default {
            daemon["default-runtime"] = "gpulease".into();
        }
        fs::write(dir.path().join("daemon.json"), daemon.to_string()).unwrap();
        configure(dir.path(), "");

        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/docker.sh");
        let mut keeper = Command::new(script)
            .arg("--bin")
            .arg(&bin)
            .arg("--etc")
            .arg(dir.path().join("etc"))
            .arg("--daemon-json")
            .arg(dir.path().join("daemon.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = keeper.stdin.take();
        let mut ready = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let pid = ready.split_whitespace().find_map(|word| word.strip_prefix("pid="));
        // From here on the keeper is ended by Drop, whatever happens.
        let mut lab = Self { keeper, stdin, pid: 0, dir, daemon: None };
        lab.pid = pid.and_then(|pid| pid.parse().ok()).expect("the lab starts (see above)");
        Some(lab)
    }

    /// Rewrites `config.toml`: what every lab has, and `more`.
    pub fn configure(&self, more: &str) {
        configure(self.dir.path(), more);
    }

    /// Where the runtime `failing` crashes, as `GPULEASE_FAILPOINT` has it.
    pub fn fail_at(&self, point: &str) {
        fs::write(self.dir.path().join("etc/failpoint"), point).unwrap();
    }

    /// A file of the lab, from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }

    /// A command inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.pid.to_string(), program]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.stdin(Stdio::null());
        command
    }

    pub fn docker(&self, args: &[&str]) -> Output {
        self.command("docker").args(args).output().unwrap()
    }

    /// Docker must succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        assert!(output.status.success(), "docker {args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// `docker run -d` of a container that only sleeps.
    pub fn run(&self, name: &str, options: &[&str]) -> Output {
        self.run_image(name, options, &["busybox:lab", "sleep", "1000"])
    }

    pub fn run_image(&self, name: &str, options: &[&str], image: &[&str]) -> Output {
        let fixed = ["run", "-d", "--network", "none", "--name", name];
        self.docker(&[&fixed, options, image].concat())
    }

    /// The same, and it must start.
    #[track_caller]
    pub fn start(&self, name: &str, options: &[&str]) {
        let output = self.run(name, options);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
    }

    /// The stderr of a `docker run` that must fail with Docker's own exit status for that.
    #[track_caller]
    pub fn refused(&self, name: &str, options: &[&str]) -> String {
        let output = self.run(name, options);
        assert_eq!(output.status.code(), Some(125), "{name}: {}", stderr(&output));
        assert!(self.lease(name).is_none(), "{name} was refused and has a lease");
        stderr(&output)
    }

    pub fn exec(&self, name: &str, script: &str) -> Output {
        self.docker(&["exec", name, "sh", "-c", script])
    }

    /// The environment of a new process in the container.
    pub fn exec_env(&self, name: &str) -> BTreeMap<String, String> {
        env_of(&self.ok(&["exec", name, "env"]))
    }

    pub fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.ok(&["inspect", name])).unwrap();
        all[0].clone()
    }

    pub fn id(&self, name: &str) -> String {
        self.ok(&["inspect", "-f", "{{.Id}}", name]).trim().to_owned()
    }

    /// The container's init process, which the host sees under the same number.
    pub fn pid(&self, name: &str) -> i32 {
        self.ok(&["inspect", "-f", "{{.State.Pid}}", name]).trim().parse().unwrap()
    }

    pub fn bundle(&self, name: &str) -> PathBuf {
        let bundles = "/run/containerd/io.containerd.runtime.v2.task/moby";
        self.path(bundles).join(self.id(name))
    }

    /// Every record.
    pub fn records(&self) -> Vec<Lease> {
        let entries = Store::at(&self.path("/run/gpulease")).entries().unwrap();
        let leases = entries.into_iter().map(|entry| match entry {
            Entry::Lease(lease) => *lease,
            Entry::Corrupt(corrupt) => panic!("{}: {}", corrupt.path.display(), corrupt.why),
        });
        leases.collect()
    }

    /// Leases that hold something: not those in their grace.
    pub fn leases(&self) -> Vec<Lease> {
        self.records().into_iter().filter(|lease| lease.state != LeaseState::Grace).collect()
    }

    pub fn lease(&self, name: &str) -> Option<Lease> {
        let output = self.docker(&["inspect", "-f", "{{.Id}}", name]);
        let id = stdout(&output);
        self.leases().into_iter().find(|lease| lease.container_id.as_str() == id.trim())
    }

    /// The indices of the devices that a container holds.
    #[track_caller]
    pub fn devices(&self, name: &str) -> Vec<u32> {
        let lease = self.lease(name).unwrap_or_else(|| panic!("{name} has no lease"));
        lease.devices.iter().map(|device| device.index).collect()
    }

    #[track_caller]
    pub fn device(&self, name: &str) -> u32 {
        let devices = self.devices(name);
        assert_eq!(devices.len(), 1, "{name}: {devices:?}");
        devices[0]
    }

    /// Waits for Docker to have noticed.
    #[track_caller]
    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < deadline, "not so after 20 s: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn wait_exited(&self, name: &str) {
        self.wait(&format!("{name} has exited"), |lab| {
            lab.inspect(name)["State"]["Status"] == "exited"
        });
    }

    /// The leases are those of the containers that run and asked for a GPU, each bound to its
    /// container's init, and no device is held beyond what it has.
    #[track_caller]
    pub fn assert_sound(&self) {
        let ids = self.ok(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        let containers: Value = if ids.is_empty() {
            json!([])
        } else {
            serde_json::from_str(&self.ok(&[&["inspect"], &ids[..]].concat())).unwrap()
        };
        let mut expected = BTreeMap::new();
        for container in containers.as_array().unwrap() {
            let annotations = container["HostConfig"]["Annotations"].to_string();
            let asks = annotations.contains("gpulease/") || annotations.contains("kaiwo.ai/");
            if asks && container["State"]["Running"] == true {
                let pid = container["State"]["Pid"].as_i64().unwrap();
                expected.insert(container["Id"].as_str().unwrap().to_owned(), pid);
            }
        }
        let mut found = BTreeMap::new();
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for lease in self.leases() {
            assert_eq!(lease.state, LeaseState::Bound, "{lease:?}");
            found.insert(lease.container_id.to_string(), i64::from(lease.owner.pid));
            for device in &lease.devices {
                *held.entry(device.index).or_default() += device.milli.0;
            }
        }
        assert_eq!(found, expected, "leases and running containers: id and pid");
        assert!(held.values().all(|milli| *milli <= 1000), "{held:?}");
    }

    /// Nothing is held: one container can have all of it.
    #[track_caller]
    pub fn assert_all_free(&self, devices: usize) {
        self.assert_no_lease("before");
        self.start("takes-all", &ALL);
        assert_eq!(self.devices("takes-all").len(), devices);
        self.ok(&["rm", "-f", "takes-all"]);
        self.assert_no_lease("docker rm -f releases");
    }

    #[track_caller]
    pub fn assert_no_lease(&self, when: &str) {
        let left = self.leases().into_iter().map(|l| format!("{} {}", l.state, l.container_id));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{when}");
    }

    /// The processes of the lab's mount namespace whose command line has this word: daemons,
    /// shims, runtimes and hooks, but no containers.
    pub fn processes(&self, word: &str) -> Vec<i32> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let own = namespace(&self.pid.to_string());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<i32>() else { continue };
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if line.contains(word) && namespace(&name) == own {
                found.push(pid);
            }
        }
        found
    }

    /// Ends dockerd the hard way and starts it again as it was.
    pub fn restart_dockerd(&mut self) {
        let pids: Vec<i32> = self
            .processes("dockerd")
            .into_iter()
            .filter(|pid| name_of(*pid) == "dockerd")
            .collect();
        let [pid] = pids[..] else { panic!("one dockerd, not {pids:?}") };
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let args: Vec<&str> = line.trim_end_matches('\0').split('\0').skip(1).collect();
        crate::support::kill(pid);
        let mut command = self.command("dockerd");
        command.args(args).env_remove("HOME").stdout(Stdio::null()).stderr(Stdio::null());
        self.daemon = Some(command.spawn().unwrap());
        self.wait("dockerd answers again", |lab| lab.docker(&["version"]).status.success());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn configure(dir: &Path, more: &str) {
    let text = format!(
        "runtime = \"/usr/bin/runc\"\nrun_dir = \"/run/gpulease\"\n\
         devices_file = \"/etc/gpulease/devices.toml\"\n{more}\n"
    );
    fs::write(dir.join("etc/config.toml"), text).unwrap();
}

/// Of this build, or the same program in `GPULEASE_TEST_BIN`: other builds, say the packaged one,
/// are to pass too (but for the fail points).
fn program_of_this_build(path: &str) -> PathBuf {
    let path = Path::new(path);
    match std::env::var_os("GPULEASE_TEST_BIN") {
        Some(dir) => Path::new(&dir).join(path.file_name().unwrap()),
        None => path.to_owned(),
    }
}

/// A process's name, which for a program is that of its file.
pub fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A field of `/proc/PID/status`.
pub fn status_of(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// Gone, or a zombie that nobody has waited for yet.
pub fn is_dead(pid: i32) -> bool {
    status_of(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn env_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
