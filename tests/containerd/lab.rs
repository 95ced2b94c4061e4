//! One containerd for one test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

pub use crate::support::engine::{ALL, ONE};

use crate::support::engine::{Engine, RUNTIME, assert_sees, env_of, name_of, said, stdout};
use crate::support::ok;
use gpulease::door::model::lease::Lease;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};

/// containerd and all that is its own.
pub struct Lab {
    engine: Engine,
}

impl Deref for Lab {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Lab {
    /// With a built-in profile of devices; `None` without root.
    pub fn new(profile: &str) -> Option<Self> {
        let profile = gpulease::door::inventory::profiles::find(profile).expect("a known profile");
        let engine = Engine::new("containerd", "/usr/bin/runc", profile.toml, "")?;
        Some(Self { engine })
    }

    /// ctr, in the lab's own namespace.
    pub fn command(&self) -> Command {
        let mut command = self.engine.command("ctr");
        command.args(["--namespace", &self.engine.name]);
        command
    }

    pub fn ctr(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// ctr must succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        said(self.command().args(args))
    }

    /// `ctr run -d` with this binary as runc.
    pub fn run_by(&self, binary: &str, id: &str, options: &[&str], args: &[&str]) -> Output {
        // Without an image nobody sets it.
        let run = ["run", "-d", "--env", "PATH=/bin", "--runc-binary", binary];
        self.ctr(&[&run[..], options, &["--rootfs", "/srv/busybox", id], args].concat())
    }

    /// A container that only sleeps.
    pub fn run(&self, id: &str, options: &[&str]) -> Output {
        self.run_by(RUNTIME, id, options, &["sleep", "1000"])
    }

    /// The same, and it must start.
    #[track_caller]
    pub fn start(&self, id: &str, options: &[&str]) {
        ok(self.run(id, options));
    }

    pub fn exec(&self, id: &str, script: &str) -> Output {
        self.ctr(&["tasks", "exec", "--exec-id", "more", id, "sh", "-c", script])
    }

    /// The pid and the state of a container's task, if there is one.
    pub fn task(&self, id: &str) -> Option<(i32, String)> {
        let tasks = self.ok(&["tasks", "ls"]);
        let mut lines = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.first() == Some(&id))?;
        Some((line[1].parse().unwrap(), line[2].to_owned()))
    }

    /// The container's init process, which the host sees under the same number.
    pub fn pid(&self, id: &str) -> i32 {
        self.task(id).unwrap_or_else(|| panic!("{id} has no task")).0
    }

    /// Its containerd-shim.
    pub fn shim(&self, id: &str) -> i32 {
        let shims = self.processes(&format!("-id\0{id}\0"));
        let shims: Vec<i32> =
            shims.into_iter().filter(|pid| name_of(*pid).starts_with("containerd-shim")).collect();
        assert_eq!(shims.len(), 1, "one containerd-shim for {id}");
        shims[0]
    }

    /// With its task, if it has one.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        if self.task(id).is_some() {
            self.ok(&["tasks", "rm", "-f", id]);
        }
        self.ok(&["containers", "rm", id]);
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        let bundles = self.path("/run/containerd/io.containerd.runtime.v2.task");
        bundles.join(&self.engine.name).join(id)
    }

    #[track_caller]
    pub fn device(&self, id: &str) -> u32 {
        let lease = self.lease_of(id).unwrap_or_else(|| panic!("{id} has no lease"));
        assert_eq!(lease.devices.len(), 1, "{id}: {lease:?}");
        lease.devices[0].index
    }

    /// What a user sees of a container that was granted a GPU, by `run` and by `exec`.
    #[track_caller]
    pub fn assert_granted(&self, id: &str) {
        let lease: Lease = self.lease_of(id).unwrap_or_else(|| panic!("{id} has no lease"));
        assert_eq!(lease.engine, "containerd");
        let listing = stdout(&ok(self.exec(id, "ls -ln /dev")));
        let env = env_of(&stdout(&ok(self.exec(id, "env"))));
        assert_sees(&lease, self.pid(id), &listing, &env);
    }

    /// These and no others hold leases.
    #[track_caller]
    pub fn assert_held(&self, ids: &[&str]) {
        let expected = ids.iter().map(|id| ((*id).to_owned(), self.pid(id))).collect();
        self.assert_held_by(&expected);
    }

    /// Nothing is held: one container can have all of it.
    #[track_caller]
    pub fn assert_all_free(&self, devices: usize) {
        self.assert_no_lease("before");
        self.start("takes-all", &ALL);
        let lease = self.lease_of("takes-all").expect("a lease");
        assert_eq!(lease.devices.len(), devices);
        self.remove("takes-all");
        self.assert_no_lease("ctr tasks rm -f releases");
    }
}
