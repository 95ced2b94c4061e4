//! A host for tests: configuration, devices and lease directory in a temporary folder, with the
//! binaries of this build.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "shared by tests that each use a part"
)]

pub mod amd_machines;
pub mod engine;
pub mod fake_sys;
pub mod golden;
pub mod images;

pub use engine::kill;

use gpulease::door::model::lease::{Lease, LeaseState};
use gpulease::door::store::{Entry, Store};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binaries of this build.
pub const SHIM: &str = env!("CARGO_BIN_EXE_gpulease-runtime");
pub const HOOK: &str = env!("CARGO_BIN_EXE_gpulease-hook");
pub const CLI: &str = env!("CARGO_BIN_EXE_gpulease");
pub const STUB: &str = env!("CARGO_BIN_EXE_stub-runtime");

/// The Debian release whose engines are tested: `GPULEASE_LAB_SUITE`, as tests/lab/setup.sh has it.
pub fn suite() -> String {
    std::env::var("GPULEASE_LAB_SUITE").unwrap_or_else(|_| "trixie".to_owned())
}

/// The root directory with these engines, which tests/lab/setup.sh makes.
pub fn lab_root() -> PathBuf {
    let cache = std::env::var_os("GPULEASE_LAB_CACHE");
    cache.map_or_else(|| PathBuf::from("/var/cache/gpulease-lab"), PathBuf::from).join(suite())
}

/// Whether the test may go on; says loudly why not. In CI nothing may be skipped.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none(), "{test} needs root and CI skips no test");
        eprintln!("SKIPPED: {test} needs root");
    }
    // What others can write is refused, so no file of a test may depend on who runs it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    root
}

/// Ends the test at once where it is not run by root.
macro_rules! needs_root {
    () => {
        if !crate::support::is_root(std::thread::current().name().unwrap_or("a test")) {
            return;
        }
    };
}
pub(crate) use needs_root;

/// One simulated host.
pub struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    /// With a built-in profile of devices and the stub as low-level runtime.
    pub fn new(profile: &str) -> Self {
        let found =
            gpulease::door::inventory::profiles::PROFILES.iter().find(|p| p.name == profile);
        Self::with_devices(found.expect("a profile of that name").toml, Path::new(STUB))
    }

    /// With these devices and this low-level runtime.
    pub fn with_devices(devices_toml: &str, runtime: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("gpulease-test-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "run", "root", "bundles", "tokens"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let host = Self { dir };
        fs::write(host.path("etc/devices.toml"), devices_toml).unwrap();
        host.configure(runtime, "");
        host
    }

    /// Writes the configuration; `more` is appended to it. GPUs of the host that the test runs on are
    /// looked for only where it says so.
    pub fn configure(&self, runtime: &Path, more: &str) {
        let sources = if more.contains("sources") { "" } else { "sources = [\"static\"]\n" };
        let text = format!(
            "runtime = {:?}\nrun_dir = {:?}\ndevices_file = {:?}\nhook = {HOOK:?}\n{sources}{more}\n",
            runtime,
            self.run_dir(),
            self.path("etc/devices.toml"),
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("etc/config.toml")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.path("run/gpulease")
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A bundle for the stub: no rootfs, these annotations.
    pub fn bundle(&self, name: &str, annotations: &[(&str, &str)]) -> PathBuf {
        let dir = self.path("bundles").join(name);
        fs::create_dir_all(&dir).unwrap();
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let config = json!({
            "ociVersion": "1.0.2",
            "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sleep"], "env": ["PATH=/bin"], "cwd": "/" },
            "root": { "path": "rootfs" },
            "annotations": annotations,
            "linux": { "namespaces": [{ "type": "mount" }], "resources": { "devices": [{ "allow": false, "access": "rwm" }] } },
        });
        fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config).unwrap()).unwrap();
        dir
    }

    /// The shim, ready to take a verb.
    pub fn shim(&self) -> Command {
        self.shim_at(Path::new(SHIM))
    }

    fn shim_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("--gpulease-config").arg(self.config()).arg("--root").arg(self.root());
        command.stdin(Stdio::null());
        command
    }

    /// `create` of a container whose bundle has its name.
    pub fn create_command(&self, name: &str) -> Command {
        self.create_command_of(Path::new(SHIM), name)
    }

    /// The same by a shim that lies elsewhere.
    pub fn create_command_of(&self, shim: &Path, name: &str) -> Command {
        let bundle = self.path("bundles").join(name);
        let mut command = self.shim_at(shim);
        command.args(["--log"]).arg(bundle.join("log.json")).args([
            "--log-format",
            "json",
            "create",
        ]);
        command.arg("--bundle").arg(&bundle).arg("--pid-file").arg(bundle.join("pid")).arg(name);
        command
    }

    pub fn create(&self, name: &str) -> Output {
        self.create_command(name).output().unwrap()
    }

    /// A bundle and its container.
    pub fn start(&self, name: &str, annotations: &[(&str, &str)]) -> Output {
        self.bundle(name, annotations);
        self.create(name)
    }

    pub fn delete(&self, name: &str) -> Output {
        self.shim().args(["delete", "--force", name]).output().unwrap()
    }

    /// The container's process, from its pid file.
    pub fn pid(&self, name: &str) -> Option<i32> {
        let path = self.path("bundles").join(name).join("pid");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    pub fn kill(&self, name: &str) {
        kill(self.pid(name).expect("the container has a pid file"));
    }

    /// `config.json` of a bundle.
    pub fn spec(&self, name: &str) -> Value {
        let path = self.path("bundles").join(name).join("config.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub fn store(&self) -> Store {
        Store::at(&self.run_dir())
    }

    /// Every record, the unreadable ones as `Err`.
    pub fn records(&self) -> Vec<Result<Lease, String>> {
        let entries = self.store().entries().unwrap().into_iter();
        entries
            .map(|entry| match entry {
                Entry::Lease(lease) => Ok(*lease),
                Entry::Corrupt(corrupt) => Err(corrupt.why),
            })
            .collect()
    }

    /// Leases that hold something: not those in their grace.
    pub fn leases(&self) -> Vec<Lease> {
        self.records().into_iter().flatten().filter(|l| l.state != LeaseState::Grace).collect()
    }

    pub fn lease(&self, container: &str) -> Option<Lease> {
        self.leases().into_iter().find(|lease| lease.container_id.as_str() == container)
    }

    /// The UUIDs that a container holds.
    pub fn devices(&self, container: &str) -> Vec<String> {
        let lease = self.lease(container).expect("the container has a lease");
        lease.devices.iter().map(|device| device.uuid.to_string()).collect()
    }

    /// The command line.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(CLI).arg("--gpulease-config").arg(self.config()).args(args).output().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Containers outlive the processes that made them; a test must leave none.
        let Ok(bundles) = fs::read_dir(self.path("bundles")) else { return };
        for bundle in bundles.flatten() {
            if let Some(pid) = self.pid(&bundle.file_name().to_string_lossy()) {
                kill(pid);
            }
        }
    }
}

/// What a command said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts success and shows why not.
#[track_caller]
pub fn ok(output: Output) -> Output {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(&output));
    output
}

/// Tries until it is so, for ten seconds at most.
#[track_caller]
pub fn eventually(mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it does not come to pass");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
