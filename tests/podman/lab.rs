//! One Podman for one test, with gpulease as its default runtime.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

pub use crate::support::engine::{ALL, ONE};

use crate::support::engine::{
    Engine, RUNTIME, assert_sees, env_of, is_dead, said, stdout, wait_for,
};
use crate::support::{ok, stderr};
use gpulease::door::model::lease::Lease;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The drop-in that users are given.
const DROP_IN: &str = include_str!("../../hooks/podman/60-gpulease.conf");

/// More runtimes, that only tests have, and gpulease as the default one. Podman takes the errors
/// of those in `runtime_supports_json` from their log, and of the others from their stderr.
const MORE: &str = r#"
failing = ["/opt/gpulease/bin/failing"]
keeping = ["/opt/gpulease/bin/keeping"]

[engine]
runtime = "gpulease"
runtime_supports_json = ["crun", "runc", "gpulease", "failing"]
"#;

/// A way in which a container may end.
pub type End = fn(&Lab);

/// Podman and all that is its own.
pub struct Lab {
    engine: Engine,
    /// `/NAME`: where all containers belong.
    pub cgroup: String,
}

impl Deref for Lab {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Lab {
    /// With a built-in profile of devices, over crun; `None` without root.
    pub fn new(profile: &str) -> Option<Self> {
        Self::over("/usr/bin/crun", profile)
    }

    /// Over another low-level runtime.
    pub fn over(runtime: &'static str, profile: &str) -> Option<Self> {
        let profile = gpulease::door::inventory::profiles::find(profile).expect("a known profile");
        Self::with(runtime, profile.toml)
    }

    /// With these devices.
    pub fn with(runtime: &'static str, devices: &str) -> Option<Self> {
        let config = DROP_IN.replace("/usr/local/bin/gpulease-runtime", RUNTIME) + MORE;
        let engine = Engine::new("podman", runtime, devices, &config)?;
        let cgroup = format!("/{}", engine.name);
        Some(Self { engine, cgroup })
    }

    /// Without the shim, unless it is named: with `install podman --precreate`, run inside, and this
    /// low-level runtime of Podman's own. gpulease is told of crun, whatever it is.
    pub fn by_precreate(runtime: &str, profile: &str) -> Option<Self> {
        let profile = gpulease::door::inventory::profiles::find(profile).expect("a known profile");
        Self::by_precreate_with(runtime, profile.toml)
    }

    /// The same with these devices.
    pub fn by_precreate_with(runtime: &str, devices: &str) -> Option<Self> {
        let config = DROP_IN.replace("/usr/local/bin/gpulease-runtime", RUNTIME)
            + &format!("\n[engine]\nruntime = \"{runtime}\"\n");
        let engine = Engine::new("podman", "/usr/bin/crun", devices, &config)?;
        let cgroup = format!("/{}", engine.name);
        let lab = Self { engine, cgroup };
        lab.gpulease(&["install", "podman", "--precreate"]);
        Some(lab)
    }

    /// The command line, inside; it must succeed.
    #[track_caller]
    pub fn gpulease(&self, args: &[&str]) -> String {
        let mut command = self.tool("/opt/gpulease/bin/gpulease");
        stdout(&ok(command.args(args).output().unwrap()))
    }

    /// Another program than Podman.
    pub fn tool(&self, program: &str) -> Command {
        self.engine.command(program)
    }

    pub fn command(&self) -> Command {
        let mut command = self.engine.command("podman");
        command.env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1");
        command
    }

    pub fn podman(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Podman must succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        said(self.command().args(args))
    }

    /// `podman run -d` of a container that only sleeps, by the default runtime.
    pub fn run(&self, name: &str, options: &[&str]) -> Output {
        self.run_by(&[], name, options, &["busybox:lab", "sleep", "1000"])
    }

    /// With Podman's own `global` options first.
    pub fn run_by(&self, global: &[&str], name: &str, options: &[&str], image: &[&str]) -> Output {
        let run = ["run", "-d", "--network", "none", "--cgroup-parent", &self.cgroup];
        self.podman(&[global, &run[..], &["--name", name], options, image].concat())
    }

    /// The same, and it must start.
    #[track_caller]
    pub fn start(&self, name: &str, options: &[&str]) {
        ok(self.run(name, options));
    }

    /// Whatever its state: a container whose conmon was killed is removed at the second try.
    #[track_caller]
    pub fn remove(&self, names: &[&str]) {
        let args = [&["rm", "-f", "-t", "0"], names].concat();
        let first = self.podman(&args);
        if !first.status.success() {
            self.ok(&args);
        }
    }

    pub fn exec(&self, name: &str, script: &str) -> Output {
        self.podman(&["exec", name, "sh", "-c", script])
    }

    /// The environment of a new process in the container.
    pub fn exec_env(&self, name: &str) -> BTreeMap<String, String> {
        env_of(&self.ok(&["exec", name, "env"]))
    }

    pub fn inspect(&self, name: &str, field: &str) -> String {
        let format = format!("{{{{.{field}}}}}");
        self.ok(&["container", "inspect", "-f", &format, name]).trim().to_owned()
    }

    pub fn id(&self, name: &str) -> String {
        self.inspect(name, "Id")
    }

    /// The container's init process, which the host sees under the same number.
    pub fn pid(&self, name: &str) -> i32 {
        self.inspect(name, "State.Pid").parse().unwrap()
    }

    pub fn conmon(&self, name: &str) -> i32 {
        self.inspect(name, "State.ConmonPid").parse().unwrap()
    }

    /// Waits for conmon, and the clean-up that it calls, to have ended.
    #[track_caller]
    pub fn wait_until_alone(&self, name: &str) {
        let id = self.id(name);
        wait_for(&format!("nothing is left of {name}"), || self.processes(&id).is_empty());
    }

    pub fn bundle(&self, name: &str) -> PathBuf {
        let containers = self.path("/var/lib/containers/storage/overlay-containers");
        containers.join(self.id(name)).join("userdata")
    }

    pub fn lease(&self, name: &str) -> Option<Lease> {
        self.lease_of(&self.id(name))
    }

    #[track_caller]
    pub fn device(&self, name: &str) -> u32 {
        let lease = self.lease(name).unwrap_or_else(|| panic!("{name} has no lease"));
        assert_eq!(lease.devices.len(), 1, "{name}: {lease:?}");
        lease.devices[0].index
    }

    /// What a user sees of a container that was granted a GPU, by `run` and by `exec`.
    #[track_caller]
    pub fn assert_granted(&self, name: &str) {
        let lease = self.lease(name).unwrap_or_else(|| panic!("{name} has no lease"));
        assert_eq!(lease.engine, "podman");
        let listing = stdout(&ok(self.exec(name, "ls -ln /dev")));
        assert_sees(&lease, self.pid(name), &listing, &self.exec_env(name));
    }

    /// A pod of `infra` and of two containers that ask: each has a GPU of its own, and `infra`
    /// none.
    #[track_caller]
    pub fn start_pod(&self) {
        // The lab has no catatonit, of which Podman would make its own infra image.
        let pod = ["pod", "create", "--name", "pod", "--network", "none"];
        let infra = ["--infra-image", "busybox:lab", "--infra-command", "sleep 1000"];
        let own = ["--infra-name", "infra", "--cgroup-parent", &self.cgroup];
        self.ok(&[&pod[..], &infra, &own].concat());
        for name in ["one", "two"] {
            let run = ["run", "-d", "--pod", "pod", "--name", name];
            self.ok(&[&run[..], &ONE, &["busybox:lab", "sleep", "1000"]].concat());
        }
        assert!(self.pid("infra") > 0, "the infra container runs");
        self.assert_held(&["one", "two"]);
        assert_ne!(self.device("one"), self.device("two"));
        assert!(!stdout(&ok(self.exec("infra", "ls /dev; env"))).contains("nvidia"));
    }

    /// A container `web` that holds every GPU, and `touch /end` ends: when `end` has ended it, the
    /// next has them, whether Podman has noticed or not.
    #[track_caller]
    pub fn assert_freed_by(&self, how: &str, end: End) {
        let script = "while [ ! -e /end ]; do sleep 0.05; done";
        ok(self.run_by(&[], "web", &ALL, &["busybox:lab", "sh", "-c", script]));
        let init = self.pid("web");
        self.assert_held(&["web"]);
        end(self);
        wait_for("its init is dead", || is_dead(init));
        let next = self.run("next", &ALL);
        assert!(next.status.success(), "{how}: {}", stderr(&next));
        self.assert_held(&["next"]);
        self.remove(&["--ignore", "web", "next"]);
        self.assert_no_lease(how);
    }

    /// These and no others hold leases.
    #[track_caller]
    pub fn assert_held(&self, names: &[&str]) {
        let expected = names.iter().map(|name| (self.id(name), self.pid(name))).collect();
        self.assert_held_by(&expected);
    }

    /// Nothing is held: one container can have all of it.
    #[track_caller]
    pub fn assert_all_free(&self, devices: usize) {
        self.assert_no_lease("before");
        self.start("takes-all", &ALL);
        let lease = self.lease("takes-all").expect("a lease");
        assert_eq!(lease.devices.len(), devices);
        self.remove(&["takes-all"]);
        self.assert_no_lease("podman rm -f releases");
    }
}
