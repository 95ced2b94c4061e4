//! What calls the hook: a process that lives on, as a Podman service does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::support::{HOOK, Host, STUB, eventually, kill};
use gpulease::door::model::lease::{Lease, LeaseState};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

pub const ONE: &[(&str, &str)] = &[("gpulease/count", "1")];
pub const ALL: &[(&str, &str)] = &[("gpulease/count", "all")];

/// The runtime root of these containers: the one that the hook takes Podman's to be. It is the
/// host's own, so no two tests may give a container the same id.
pub const ROOT: &str = "/run/runc";

/// A container of Podman's, not made yet.
pub struct Container {
    pub id: String,
    pub dir: PathBuf,
}

impl Container {
    /// With an id like Podman's.
    pub fn new(host: &Host, annotations: &[(&str, &str)]) -> Self {
        let random = fs::read("/proc/sys/kernel/random/uuid").unwrap();
        let half: String = String::from_utf8(random).unwrap().replace('-', "").trim().to_owned();
        let id = format!("{half}{half}");
        let name = format!("../overlay-containers/{id}/userdata");
        let made = host.bundle(&name, annotations);
        let container = Self { id, dir: made.canonicalize().unwrap() };
        container.edit(|spec| {
            spec["linux"]["cgroupsPath"] = format!("/gpulease-test/libpod-{}", container.id).into();
        });
        container
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Podman's spec, as the hook is to see it.
    pub fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut spec = self.spec("config.json");
        edit(&mut spec);
        fs::write(self.path("config.json"), serde_json::to_vec_pretty(&spec).unwrap()).unwrap();
    }

    pub fn spec(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Takes what the hook said for the container's spec.
    pub fn accept(&self) {
        fs::copy(self.path("out.json"), self.path("config.json")).unwrap();
    }

    pub fn lease(&self, host: &Host) -> Option<Lease> {
        host.lease(&self.id)
    }

    pub fn stub(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(STUB);
        command.args(["--root", ROOT]).args(verb).arg(&self.id);
        command.stdin(Stdio::null()).current_dir(&self.dir);
        command
    }

    pub fn create(&self) -> Output {
        self.stub(&["create", "--bundle", ".", "--pid-file", "pid"]).output().unwrap()
    }

    pub fn delete(&self) -> Output {
        self.stub(&["delete", "--force"]).output().unwrap()
    }

    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.path("pid")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.path("pid").exists() {
            kill(self.pid());
        }
        let _ = fs::remove_dir_all(Path::new(ROOT).join(&self.id));
    }
}

/// A podman.
pub struct Podman {
    shell: Child,
    stdin: ChildStdin,
}

/// What a call came to.
pub struct Said {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Podman {
    pub fn new() -> Self {
        let mut shell = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = shell.stdin.take().unwrap();
        Self { shell, stdin }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.shell.id()).unwrap()
    }

    /// Calls the hook and waits for it.
    pub fn call(&mut self, host: &Host, container: &Container) -> Said {
        self.call_with(host, container, "", ">out.json")
    }

    /// With a fail point.
    pub fn call_at(&mut self, host: &Host, container: &Container, point: &str) -> Said {
        self.call_with(host, container, &format!("GPULEASE_FAILPOINT={point}"), ">out.json")
    }

    /// With words before it, and behind it; these say where stdout goes, if anywhere at all.
    pub fn call_with(
        &mut self,
        host: &Host,
        container: &Container,
        before: &str,
        after: &str,
    ) -> Said {
        self.begin(host, container, before, after);
        self.end(container)
    }

    /// Calls it and does not wait.
    pub fn begin(&mut self, host: &Host, container: &Container, before: &str, after: &str) {
        for old in ["status", "out.json"] {
            let _ = fs::remove_file(container.path(old));
        }
        let line = format!(
            "(cd {dir}; exec env -i {before} {HOOK} precreate --gpulease-config {config} \
             <config.json 2>err {after}) & wait $!; \
             echo $? >{dir}/status.new; mv {dir}/status.new {dir}/status",
            dir = container.dir.display(),
            config = host.config().display(),
        );
        writeln!(self.stdin, "{line}").unwrap();
    }

    pub fn end(&mut self, container: &Container) -> Said {
        eventually(|| container.path("status").exists());
        let status = fs::read_to_string(container.path("status")).unwrap();
        Said {
            status: status.trim().parse().unwrap(),
            stdout: fs::read(container.path("out.json")).unwrap_or_default(),
            stderr: fs::read_to_string(container.path("err")).unwrap(),
        }
    }

    /// The hook must grant; its spec becomes the container's.
    #[track_caller]
    pub fn grant(&mut self, host: &Host, container: &Container) -> Lease {
        let said = self.call(host, container);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        container.accept();
        container.lease(host).expect("a lease")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

/// One container holds all, and the spec has the edits of that grant alone, once.
#[track_caller]
pub fn assert_one_grant(host: &Host, container: &Container, state: LeaseState) -> Lease {
    let leases = host.leases();
    assert_eq!(leases.len(), 1, "{leases:#?}");
    let lease = leases.into_iter().next().unwrap();
    assert_eq!((lease.container_id.as_str(), lease.state), (container.id.as_str(), state));
    let spec = container.spec("config.json");
    for stage in ["createRuntime", "poststop"] {
        let hooks = spec["hooks"][stage].as_array().unwrap();
        assert_eq!(hooks.len(), 1, "{stage}: {hooks:?}");
        let text = hooks[0].to_string();
        assert!(text.contains(lease.nonce.as_str()), "{text}");
        assert!(text.contains(&lease.key().unwrap().file_stem()), "{text}");
    }
    let nodes = spec["linux"]["devices"].as_array().unwrap();
    let mut paths: Vec<_> = nodes.iter().map(|node| node["path"].as_str().unwrap()).collect();
    let all = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), all, "no node twice");
    for device in &lease.devices {
        assert!(device.nodes.iter().all(|node| paths.contains(&node.as_str())), "{paths:?}");
    }
    let env = spec["process"]["env"].as_array().unwrap();
    let visible = |v: &&Value| v.as_str().unwrap().starts_with("CUDA_VISIBLE_DEVICES=");
    assert_eq!(env.iter().filter(visible).count(), 1, "{env:?}");
    lease
}
