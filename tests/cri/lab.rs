//! One containerd with its CRI plugin for one test, and pods in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must say so"
)]

use crate::client::{Client, Status};
use crate::messages::*;
use crate::support::engine::{Engine, assert_sees, env_of, name_of, wait_for};
use crate::support::suite;
use gpulease::door::model::lease::Lease;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Child;

/// The handler that `gpulease install` makes, as a RuntimeClass names it.
pub const HANDLER: &str = "gpulease";

/// A node's file before gpulease came, for containerd 1.7 and as 2.x still reads it. It has what
/// works on every host: some let not even root lower an OOM score, or have no overlay below.
pub const V2: &str = r#"version = 2

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:lab"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"#;

/// The same for containerd 2.
pub const V3: &str = r#"version = 3

[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:lab"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
"#;

/// containerd and all that is its own.
pub struct Lab {
    engine: Engine,
    client: Client,
    /// A containerd that replaced the lab's own.
    daemon: Option<Child>,
}

impl Deref for Lab {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

/// A pod that runs.
pub struct Pod {
    pub id: String,
    config: PodSandboxConfig,
}

impl Lab {
    /// With a built-in profile of devices; `None` without root.
    pub fn new(profile: &str) -> Option<Self> {
        let profile = gpulease::door::inventory::profiles::find(profile).expect("a known profile");
        Self::with_devices(profile.toml)
    }

    /// With these devices.
    pub fn with_devices(devices: &str) -> Option<Self> {
        Self::with(devices, if suite() == "sid" { V3 } else { V2 })
    }

    /// With these devices, and this as containerd's file before `gpulease install`.
    pub fn with(devices: &str, config: &str) -> Option<Self> {
        let engine = Engine::new("cri", "/usr/bin/runc", devices, config)?;
        let client = Client::new(&engine.path("/run/containerd/containerd.sock"));
        let lab = Self { engine, client, daemon: None };
        wait_for("containerd answers", || lab.is_ready());
        Some(lab)
    }

    pub fn call<Q: Call>(&self, request: &Q) -> Result<Q::Answer, Status> {
        self.client.call(request)
    }

    /// The call must succeed.
    #[track_caller]
    pub fn ok<Q: Call>(&self, request: &Q) -> Q::Answer {
        let procedure = Q::PROCEDURE;
        self.call(request).unwrap_or_else(|status| panic!("{procedure}: {}", status.message))
    }

    /// A pod with this handler, "" being the default one. Nothing is leased for it.
    #[track_caller]
    pub fn pod(&self, name: &str, handler: &str, annotations: &[(&str, &str)]) -> Pod {
        self.pod_with(name, handler, map(annotations), namespace::CONTAINER)
    }

    /// The same, with a mode of process namespaces.
    #[track_caller]
    pub fn pod_with(
        &self,
        name: &str,
        handler: &str,
        annotations: HashMap<String, String>,
        pid: i32,
    ) -> Pod {
        let metadata = PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
        };
        let namespaces = NamespaceOption { network: namespace::NODE, pid };
        let linux = LinuxPodSandboxConfig {
            // As a kubelet has it, a cgroup for each pod.
            cgroup_parent: format!("/{}/pod-{name}", self.name),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
            }),
        };
        let config = PodSandboxConfig { metadata: Some(metadata), annotations, linux: Some(linux) };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let id = self.ok(&request).pod_sandbox_id;
        assert!(self.lease_of(&id).is_none(), "a sandbox gets nothing");
        Pod { id, config }
    }

    /// A container's configuration: one that only sleeps.
    pub fn container(&self, name: &str) -> ContainerConfig {
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: "busybox:1.36".to_owned() }),
            command: vec!["sleep".to_owned(), "1000".to_owned()],
            ..ContainerConfig::default()
        }
    }

    /// Makes a container, which holds nothing yet.
    #[track_caller]
    pub fn create(&self, pod: &Pod, mut config: ContainerConfig) -> String {
        let of_pod = pod.config.linux.clone().and_then(|linux| linux.security_context);
        let namespace_options = of_pod.and_then(|context| context.namespace_options);
        let security_context = Some(LinuxContainerSecurityContext { namespace_options });
        config.linux = Some(LinuxContainerConfig { security_context });
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let id = self.ok(&request).container_id;
        assert!(self.lease_of(&id).is_none(), "a container that is not started holds nothing");
        id
    }

    pub fn try_start(&self, id: &str) -> Result<(), Status> {
        self.call(&StartContainerRequest { container_id: id.to_owned() }).map(|_| ())
    }

    /// A container that sleeps and must start.
    #[track_caller]
    pub fn start(&self, pod: &Pod, name: &str) -> String {
        self.start_as(pod, self.container(name))
    }

    #[track_caller]
    pub fn start_as(&self, pod: &Pod, config: ContainerConfig) -> String {
        let id = self.create(pod, config);
        self.ok(&StartContainerRequest { container_id: id.clone() });
        id
    }

    /// What the kubelet's event would say of a container that must not start.
    #[track_caller]
    pub fn refused(&self, id: &str) -> String {
        let status = self.try_start(id).expect_err("it does not start");
        assert_eq!(status.code, 2, "{}", status.message);
        assert!(self.lease_of(id).is_none(), "it was refused and has a lease");
        status.message
    }

    #[track_caller]
    pub fn stop(&self, id: &str) {
        self.ok(&StopContainerRequest { container_id: id.to_owned(), timeout: 0 });
    }

    #[track_caller]
    pub fn remove(&self, id: &str) {
        self.ok(&RemoveContainerRequest { container_id: id.to_owned() });
    }

    #[track_caller]
    pub fn stop_pod(&self, pod: &Pod) {
        self.ok(&StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() });
    }

    /// With its containers, whether they run or not.
    #[track_caller]
    pub fn remove_pod(&self, pod: &Pod) {
        self.stop_pod(pod);
        self.ok(&RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() });
    }

    #[track_caller]
    pub fn status(&self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.ok(&request).status.expect("a status")
    }

    /// The container's init process, which the host sees under the same number.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        pid_in(&self.ok(&request).info)
    }

    /// That of a pod's pause container.
    #[track_caller]
    pub fn sandbox_pid(&self, pod: &Pod) -> i32 {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
        pid_in(&self.ok(&request).info)
    }

    /// The one containerd-shim of a pod and its containers.
    pub fn shim(&self, pod: &Pod) -> i32 {
        let shims = self.processes(&format!("-id\0{}\0", pod.id));
        let shims: Vec<i32> =
            shims.into_iter().filter(|pid| name_of(*pid).starts_with("containerd-shim")).collect();
        assert_eq!(shims.len(), 1, "one containerd-shim for {}", pod.id);
        shims[0]
    }

    /// A script in a container, which must succeed; its output.
    #[track_caller]
    pub fn exec(&self, id: &str, script: &str) -> String {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: 20,
        };
        let done = self.ok(&request);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.exit_code, 0, "{script}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    pub fn exec_env(&self, id: &str) -> BTreeMap<String, String> {
        env_of(&self.exec(id, "env"))
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.path("/run/containerd/io.containerd.runtime.v2.task/k8s.io").join(id)
    }

    /// The processes of a container's cgroup.
    pub fn cgroup_processes(&self, id: &str) -> Vec<i32> {
        let cgroup = self.lease(id).cgroup.expect("a cgroup of its own");
        let text = std::fs::read_to_string(PathBuf::from(cgroup).join("cgroup.procs")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[track_caller]
    pub fn lease(&self, id: &str) -> Lease {
        self.lease_of(id).unwrap_or_else(|| panic!("{id} has no lease"))
    }

    #[track_caller]
    pub fn device(&self, id: &str) -> u32 {
        let lease = self.lease(id);
        assert_eq!(lease.devices.len(), 1, "{id}: {lease:?}");
        lease.devices[0].index
    }

    /// What a container that was granted one NVIDIA GPU has of it, at first and in `ExecSync`.
    #[track_caller]
    pub fn assert_granted(&self, id: &str) {
        let lease = self.lease(id);
        assert_eq!((lease.engine.as_str(), lease.container_id.as_str()), ("containerd", id));
        assert!(lease.runtime_root.ends_with("/k8s.io"), "{}", lease.runtime_root);
        let listing = self.exec(id, "ls -ln /dev");
        assert_sees(&lease, self.pid(id), &listing, &self.exec_env(id));
    }

    /// What a container or a sandbox without a grant has of GPUs: nothing at all.
    #[track_caller]
    pub fn assert_without(&self, pid: i32) {
        let root = format!("/proc/{pid}/root/dev");
        let nodes = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
        let gpus = nodes.filter(|node| node.to_string_lossy().starts_with("nvidia"));
        assert_eq!(gpus.count(), 0);
        let env = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert!(!env.contains("VISIBLE_DEVICES") && !env.contains("GPULEASE"), "{env}");
    }

    /// These containers and no others hold leases.
    #[track_caller]
    pub fn assert_held(&self, ids: &[&str]) {
        let expected = ids.iter().map(|id| ((*id).to_owned(), self.pid(id))).collect();
        self.assert_held_by(&expected);
    }

    /// Nothing is held: one container can have all of it.
    #[track_caller]
    pub fn assert_all_free(&self, devices: usize) {
        self.assert_no_lease("before");
        let pod = self.pod("takes-all", HANDLER, &[("gpulease/count", "all")]);
        let id = self.start(&pod, "main");
        assert_eq!(self.lease(&id).devices.len(), devices);
        self.remove_pod(&pod);
        self.assert_no_lease("the removal of its pod releases");
    }

    /// Ends containerd the hard way and starts it again as it was.
    pub fn restart_containerd(&mut self) {
        let daemon = self.engine.restart("containerd");
        if let Some(mut earlier) = self.daemon.replace(daemon) {
            let _ = earlier.wait();
        }
        wait_for("containerd answers again", || self.is_ready());
    }

    /// Whether containerd takes calls and knows the images, of which it hears after their import.
    fn is_ready(&self) -> bool {
        ["localhost/pause:lab", "busybox:1.36"].into_iter().all(|image| {
            let image = Some(ImageSpec { image: image.to_owned() });
            let status = self.client.try_call(&ImageStatusRequest { image });
            matches!(status, Ok(Ok(ImageStatusResponse { image: Some(_) })))
        })
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

fn map(annotations: &[(&str, &str)]) -> HashMap<String, String> {
    annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn pid_in(info: &HashMap<String, String>) -> i32 {
    let info: Value = serde_json::from_str(&info["info"]).unwrap();
    i32::try_from(info["pid"].as_i64().expect("a pid")).unwrap()
}
