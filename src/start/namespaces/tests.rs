use super::*;
use crate::injection::{MountEntry, facts};
use serde_json::{Value, json};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// A host whose node is a regular file of this process's user. Owners and modes work alike.
struct Fake {
    dir: tempfile::TempDir,
    uid: u32,
    gid: u32,
}

impl Fake {
    fn new(mode: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("dev")).unwrap();
        let node = dir.path().join("dev/kfd");
        fs::write(&node, "").unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(mode)).unwrap();
        // Root's own node would be another case. A user other than root cannot change it, and need
        // not.
        let _ = chown(&node, Some(1234), Some(44));
        let found = fs::metadata(&node).unwrap();
        Self { uid: found.uid(), gid: found.gid(), dir }
    }

    fn paths(&self) -> Paths {
        Paths::below(self.dir.path())
    }

    /// The node and the groups after the fit. The group is the node's and one that no process has.
    fn fit(&self, spec: &Value) -> Result<(ResolvedNode, Vec<u32>), Failure> {
        let facts = facts(spec.to_string().as_bytes()).unwrap();
        let node = ResolvedNode {
            path: "/dev/kfd".to_owned(),
            major: 510,
            minor: 0,
            file_mode: 0o660,
            uid: Some(self.uid),
            gid: Some(self.gid),
            access: "rw".to_owned(),
        };
        let gids = vec![self.gid, 4_000_000_000];
        let mut injection = Injection { nodes: vec![node], gids, ..Injection::default() };
        fit(&mut injection, &facts, &self.paths())?;
        Ok((injection.nodes.remove(0), injection.gids))
    }
}

/// A container in a user namespace with these maps.
fn spec(uids: Value, gids: Value) -> Value {
    json!({
        "process": { "user": { "uid": 1000, "gid": 1000, "additionalGids": [5007] } },
        "linux": { "namespaces": [{ "type": "user" }], "uidMappings": uids, "gidMappings": gids },
    })
}

fn apart() -> Value {
    json!([{ "containerID": 0, "hostID": 3_000_000_000_u32, "size": 65536 }])
}

fn with(container: u32, host: u32) -> Value {
    json!([{ "containerID": 0, "hostID": 3_000_000_000_u32, "size": 2000 },
        { "containerID": container, "hostID": host, "size": 1 }])
}

#[test]
fn without_a_namespace_ids_are_the_hosts() {
    let host = Fake::new(0o600);
    let (node, gids) = host.fit(&json!({})).unwrap();
    assert_eq!((node.uid, node.gid), (Some(host.uid), Some(host.gid)));
    assert_eq!(gids, [host.gid, 4_000_000_000]);
}

#[test]
fn what_the_namespace_does_not_have_is_left_out() {
    let host = Fake::new(0o666);
    let (node, gids) = host.fit(&spec(apart(), apart())).unwrap();
    assert_eq!((node.uid, node.gid, gids), (None, None, vec![]));
    let small = json!([{ "containerID": 0, "hostID": 3_000_000_000_u32, "size": 1 }]);
    let (node, gids) = host.fit(&spec(small.clone(), small)).unwrap();
    assert_eq!((node.uid, node.gid, gids), (None, None, vec![]));
}

#[test]
fn a_mapped_group_is_the_containers_own() {
    let host = Fake::new(0o060);
    let (node, gids) = host.fit(&spec(apart(), with(5044, host.gid))).unwrap();
    assert_eq!((node.uid, node.gid, gids), (None, Some(5044), vec![5044]));
    let own = spec(apart(), json!([{ "containerID": 0, "hostID": host.gid, "size": 1 }]));
    assert!(host.fit(&own).is_err(), "the container's root group is not given away");
}

#[test]
fn a_group_of_the_containers_user_opens_the_node() {
    let host = Fake::new(0o060);
    let mut spec = spec(apart(), with(5007, host.gid));
    assert!(host.fit(&spec).is_ok());
    spec["process"]["user"]["additionalGids"] = json!([]);
    spec["process"]["user"]["gid"] = json!(5007);
    assert!(host.fit(&spec).is_ok());
}

#[test]
fn a_node_that_could_not_be_opened_is_refused() {
    for (mode, words) in [(0o660, "does not map the host's group"), (0o600, "does not map")] {
        let host = Fake::new(mode);
        let failure = host.fit(&spec(apart(), apart())).unwrap_err();
        assert_eq!(failure.code, Code::BadRequest);
        let place = format!("`/dev/kfd`, which is {mode:04o} {}:{} on", host.uid, host.gid);
        assert!(failure.message.contains(&place), "{}", failure.message);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    let host = Fake::new(0o640);
    let reads = host.fit(&spec(apart(), with(5007, host.gid)));
    assert!(reads.unwrap_err().message.contains("neither that user nor in"), "reading is not all");
}

#[test]
fn a_user_or_a_capability_opens_the_node() {
    let host = Fake::new(0o600);
    assert!(host.fit(&spec(with(1000, host.uid), apart())).is_err(), "1000 is mapped already");
    let uids = json!([{ "containerID": 1000, "hostID": host.uid, "size": 1 }]);
    assert!(host.fit(&spec(uids, apart())).is_ok());
    let able = |uids: Value, gids: Value| {
        let mut spec = spec(uids, gids);
        spec["process"]["capabilities"] = json!({ "bounding": ["CAP_DAC_OVERRIDE"] });
        host.fit(&spec)
    };
    assert!(able(with(5000, host.uid), with(5000, host.gid)).is_ok());
    assert!(able(with(5000, host.uid), apart()).is_err(), "it holds over mapped owners alone");
}

#[test]
fn a_namespace_that_is_joined_says_its_maps_itself() {
    let host = Fake::new(0o060);
    let join = |path: &str| {
        // Podman's stand-in, which does not say how ids are mapped.
        let one = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        let mut spec = spec(one.clone(), one);
        spec["linux"]["namespaces"] = json!([{ "type": "user", "path": path }]);
        host.fit(&spec)
    };
    let proc = host.dir.path().join("proc/123");
    fs::create_dir_all(&proc).unwrap();
    let map = |name: &str, text: String| fs::write(Path::join(&proc, name), text).unwrap();
    map("uid_map", "         0 3000000000      65536\n".to_owned());
    map("gid_map", format!("         0 3000000000       2000\n      5044 {} 1\n", host.gid));
    let (node, _) = join("/proc/123/ns/user").unwrap();
    assert_eq!((node.uid, node.gid), (None, Some(5044)));
    for unknown in ["/proc/124/ns/user", "/run/netns/user", "/proc/../proc/123/ns/user"] {
        let failure = join(unknown).unwrap_err();
        assert!(failure.message.contains("mapping of ids is unknown"), "{}", failure.message);
    }
}

#[test]
fn the_hosts_mounts_stay_as_they_are() {
    let fit = |namespaces: Value, mounts: usize, stage: Option<HookStage>| {
        let spec = json!({ "linux": { "namespaces": namespaces } });
        let facts = facts(spec.to_string().as_bytes()).unwrap();
        let mount = MountEntry {
            source: "/usr/lib/libcuda.so.1".to_owned(),
            destination: "/usr/lib/libcuda.so.1".to_owned(),
            kind: "bind".to_owned(),
            options: Vec::new(),
        };
        let hook = |stage| HookEntry {
            stage,
            path: "/usr/bin/nvidia-cdi-hook".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            timeout: None,
        };
        let mut injection = Injection {
            mounts: vec![mount; mounts],
            hooks: stage.map(hook).into_iter().collect(),
            masked: vec!["/proc/driver/nvidia/gpus/0000:02:00.0".to_owned()],
            ..Injection::default()
        };
        fit(&mut injection, &facts, &Paths::default()).map(|()| injection.masked.len())
    };
    let own = json!([{ "type": "mount" }]);
    assert_eq!(fit(own, 1, Some(HookStage::CreateContainer)).unwrap(), 1);
    for none in [json!([{ "type": "pid" }]), json!([{ "type": "mount", "path": "/proc/1/ns/mnt" }])]
    {
        assert_eq!(fit(none.clone(), 0, Some(HookStage::CreateRuntime)).unwrap(), 0);
        let failure = fit(none.clone(), 1, None).unwrap_err();
        assert_eq!(failure.code, Code::BadRequest);
        assert!(
            failure.message.contains("`/usr/lib/libcuda.so.1` is mounted"),
            "{}",
            failure.message
        );
        let failure = fit(none, 0, Some(HookStage::StartContainer)).unwrap_err();
        assert!(failure.message.contains("`/usr/bin/nvidia-cdi-hook` runs"), "{}", failure.message);
    }
}
