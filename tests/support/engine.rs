//! One real engine for one test: the labs of `tests/lab/{docker,podman,containerd,cri}.sh`, seen
//! from outside, and what is the same whatever the engine.

use super::{CLI, HOOK, SHIM, is_root};
use gpulease::door::model::lease::{Lease, LeaseState};
use gpulease::door::store::{Entry, Store};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the programs of this build are in every lab.
pub const RUNTIME: &str = "/opt/gpulease/bin/gpulease-runtime";

/// A request for one whole GPU, as every engine spells it.
pub const ONE: [&str; 2] = ["--annotation", "gpulease/count=1"];
/// A request for every GPU.
pub const ALL: [&str; 2] = ["--annotation", "gpulease/count=all"];

/// An engine's environment is empty or its own, so the point is in a file.
const FAILING_SCRIPT: &str = "#!/bin/sh
GPULEASE_FAILPOINT=$(cat /etc/gpulease/failpoint 2>/dev/null || true)
export GPULEASE_FAILPOINT
exec /opt/gpulease/bin/gpulease-runtime \"$@\"
";
const KEEPING_SCRIPT: &str = "#!/bin/sh
bundle=. before=
for word; do [ \"$before\" != --bundle ] || bundle=$word; before=$word; done
[ -e \"$bundle/before.json\" ] || [ ! -e \"$bundle/config.json\" ] ||
    cp \"$bundle/config.json\" \"$bundle/before.json\"
exec /opt/gpulease/bin/gpulease-runtime \"$@\"
";

/// Two harmless nodes that every Linux has and engines give to nobody, taken for GPUs: /dev/fuse
/// is 10:229, /dev/kmsg is 1:11. (/dev/net/tun will not do: runc lets every container open it.)
pub const REAL: &str = r#"
[[device]]
uuid = "GPU-00000000-0000-0000-0000-00000000f05e"
vendor = "nvidia"
model = "FUSE"
memory_mib = 1000
pci = "0000:01:00.0"
healthy = true
nodes = ["/dev/fuse"]

[[device]]
uuid = "GPU-00000000-0000-0000-0000-00000000c356"
vendor = "nvidia"
model = "KMSG"
memory_mib = 1000
pci = "0000:02:00.0"
healthy = true
nodes = ["/dev/kmsg"]
"#;

/// The engine and all that is its own.
pub struct Engine {
    keeper: Child,
    /// Closed, it ends the lab.
    stdin: Option<ChildStdin>,
    pid: u32,
    /// The lab's name, and that of its cgroup.
    pub name: String,
    /// The low-level runtime.
    runtime: &'static str,
    dir: tempfile::TempDir,
}

impl Engine {
    /// The lab of `tests/lab/SCRIPT.sh` with these devices and the engine's own configuration;
    /// `None` without root.
    ///
    /// Beside `gpulease-runtime` there are, as runtimes, `failing`, with the fail point of
    /// [`Self::fail_at`], and `keeping`, which keeps `config.json` as the engine wrote it, in
    /// `before.json`.
    pub fn new(script: &str, runtime: &'static str, devices: &str, config: &str) -> Option<Self> {
        let test = std::thread::current().name().unwrap_or("a test with an engine").to_owned();
        if !is_root(&test) {
            return None;
        }
        let dir = tempfile::Builder::new().prefix("gpulease-engine-").tempdir().unwrap();
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
        fs::write(dir.path().join("config"), config).unwrap();
        configure(dir.path(), runtime, "");
        let script = format!("{}/tests/lab/{script}.sh", env!("CARGO_MANIFEST_DIR"));
        let mut keeper = Command::new(script)
            .arg("--bin")
            .arg(&bin)
            .arg("--etc")
            .arg(dir.path().join("etc"))
            .arg("--config")
            .arg(dir.path().join("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = keeper.stdin.take();
        let mut ready = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let word = |key: &str| {
            ready.split_whitespace().find_map(|word| word.strip_prefix(key)).unwrap_or_default()
        };
        // From here on the keeper is ended by Drop, whatever happens.
        let name = word("name=").to_owned();
        let mut engine = Self { keeper, stdin, pid: 0, name, runtime, dir };
        engine.pid = word("pid=").parse().expect("the lab starts (see above)");
        Some(engine)
    }

    /// Rewrites `config.toml`: what every lab has, and `more`.
    pub fn configure(&self, more: &str) {
        configure(self.dir.path(), self.runtime, more);
    }

    /// Where the runtime `failing` crashes, as `GPULEASE_FAILPOINT` has it.
    pub fn fail_at(&self, point: &str) {
        fs::write(self.dir.path().join("etc/failpoint"), point).unwrap();
    }

    /// A process in the lab's mount and network namespaces.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// A file of the lab, from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }

    /// A command inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--net", "--target", &self.pid.to_string(), program]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        command.stdin(Stdio::null());
        command
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

    /// The lease that the container of this id holds.
    pub fn lease_of(&self, id: &str) -> Option<Lease> {
        self.leases().into_iter().find(|lease| lease.container_id.as_str() == id)
    }

    /// The leases are those of these containers and no others, each bound to its container's init,
    /// and no device is held beyond what it has.
    #[track_caller]
    pub fn assert_held_by(&self, expected: &BTreeMap<String, i32>) {
        let mut found = BTreeMap::new();
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for lease in self.leases() {
            assert_eq!(lease.state, LeaseState::Bound, "{lease:?}");
            found.insert(lease.container_id.to_string(), lease.owner.pid);
            for device in &lease.devices {
                *held.entry(device.index).or_default() += device.milli.0;
            }
        }
        assert_eq!(&found, expected, "leases and running containers: id and pid");
        assert!(held.values().all(|milli| *milli <= 1000), "{held:?}");
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

    /// Ends a daemon of the lab the hard way and starts it again as it was. It is the caller's to
    /// end, after the lab.
    pub fn restart(&self, program: &str) -> Child {
        let pids: Vec<i32> =
            self.processes(program).into_iter().filter(|pid| name_of(*pid) == program).collect();
        let [pid] = pids[..] else { panic!("one {program}, not {pids:?}") };
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        let args: Vec<&str> = line.trim_end_matches('\0').split('\0').skip(1).collect();
        kill(pid);
        let mut command = self.command(program);
        command.args(args).env_remove("HOME").stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Ends the lab, and waits for that.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn configure(dir: &Path, runtime: &str, more: &str) {
    let text = format!(
        "runtime = {runtime:?}\nrun_dir = \"/run/gpulease\"\n\
         devices_file = \"/etc/gpulease/devices.toml\"\n{more}\n"
    );
    fs::write(dir.join("etc/config.toml"), text).unwrap();
}

/// Waits for something that an engine does in its own time.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "not so after 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a user sees of a container that was granted one simulated NVIDIA GPU: `listing` is that of
/// `ls -ln /dev` in it, `exec` the environment of another process in it.
#[track_caller]
pub fn assert_sees(lease: &Lease, pid: i32, listing: &str, exec: &BTreeMap<String, String>) {
    assert_eq!((lease.state, lease.owner.pid), (LeaseState::Bound, pid));
    assert_eq!(lease.devices.len(), 1);
    let device = &lease.devices[0];
    // `crw-rw-rw- 1 0 0 1219, 3 Nov 21 04:16 nvidia3`
    let nodes: Vec<(String, String)> = listing
        .lines()
        .filter(|line| line.contains("nvidia"))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(words[0].starts_with("crw-rw-rw-"), "{line}");
            (format!("{}{}", words[4], words[5]), words[9].to_owned())
        })
        .collect();
    let gpus: Vec<_> = nodes.iter().filter(|(_, node)| is_numbered(node)).collect();
    let expected = (format!("1219,{}", device.index), format!("nvidia{}", device.index));
    assert_eq!(gpus, [&expected], "{listing}");
    assert!(nodes.contains(&("1219,255".into(), "nvidiactl".into())), "{listing}");

    let first = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    for env in [&env_of(&first.replace('\0', "\n")), exec] {
        assert_eq!(env["NVIDIA_VISIBLE_DEVICES"], device.uuid.as_str());
        assert_eq!(env["CUDA_VISIBLE_DEVICES"], device.uuid.as_str());
        assert_eq!(env["GPULEASE_SIMULATED"], "true");
    }
}

fn is_numbered(node: &str) -> bool {
    let number = node.strip_prefix("nvidia").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
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

/// SIGKILL, and wait until the process is gone.
pub fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    for _ in 0..1000 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("process {pid} does not die");
}

/// Gone, or a zombie that nobody has waited for yet.
pub fn is_dead(pid: i32) -> bool {
    status_of(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

/// What a command said, which must succeed.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    stdout(&output)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn env_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
