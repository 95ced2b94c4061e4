//! One dockerd for one test, with gpulease as its runtime.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

pub use crate::support::engine::{ALL, ONE, env_of, is_dead, name_of, status_of, stdout};

use crate::support::engine::{self, Engine, said};
use crate::support::stderr;
use gpulease::door::model::lease::Lease;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Output};

/// The second runtime of every lab: gpulease, with the fail point of `Lab::fail_at`.
pub const FAILING: [&str; 2] = ["--runtime", "failing"];
/// The third: gpulease, which keeps `config.json` as the engine wrote it, in `before.json`.
pub const KEEPING: [&str; 2] = ["--runtime", "keeping"];

/// The daemon and all that is its own.
pub struct Lab {
    engine: Engine,
    /// A dockerd that replaced the lab's own.
    daemon: Option<Child>,
}

impl Deref for Lab {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Lab {
    /// With a built-in profile of devices and gpulease as default runtime; `None` without root.
    pub fn new(profile: &str) -> Option<Self> {
        let profile = gpulease::door::inventory::profiles::find(profile).expect("a known profile");
        Self::with(profile.toml, true)
    }

    /// With these devices; where gpulease is not the default runtime it is the one named
    /// `gpulease`.
    pub fn with(devices: &str, default: bool) -> Option<Self> {
        let runtime = |program: &str| json!({ "path": format!("/opt/gpulease/bin/{program}") });
        let mut daemon = json!({ "runtimes": {
            "gpulease": runtime("gpulease-runtime"),
            "failing": runtime("failing"),
            "keeping": runtime("keeping"),
        } });
        if default {
            daemon["default-runtime"] = "gpulease".into();
        }
        let engine = Engine::new("docker", "/usr/bin/runc", devices, &daemon.to_string())?;
        Some(Self { engine, daemon: None })
    }

    pub fn docker(&self, args: &[&str]) -> Output {
        self.command("docker").args(args).output().unwrap()
    }

    /// Docker must succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        said(self.command("docker").args(args))
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
        // Which Docker 28 says of every failure.
        let text = stderr(&output);
        text.replace("\n\nRun 'docker run --help' for more information\n", "\n")
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

    pub fn lease(&self, name: &str) -> Option<Lease> {
        let output = self.docker(&["inspect", "-f", "{{.Id}}", name]);
        self.lease_of(stdout(&output).trim())
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
        engine::wait_for(what, || done(self));
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
                let pid = i32::try_from(pid).unwrap();
                expected.insert(container["Id"].as_str().unwrap().to_owned(), pid);
            }
        }
        self.assert_held_by(&expected);
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

    /// Ends dockerd the hard way and starts it again as it was.
    pub fn restart_dockerd(&mut self) {
        self.daemon = Some(self.engine.restart("dockerd"));
        self.wait("dockerd answers again", |lab| lab.docker(&["version"]).status.success());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.engine.end();
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
