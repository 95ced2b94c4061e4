use super::*;
use crate::injection;
use crate::request::Strategy;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// As dockerd writes it.
const DOCKER: &str = include_str!("../../../tests/fixtures/docker-config.json");

/// Podman mounts `/sys/fs/cgroup` with these options (containers/common).
const OF_PODMAN: [&str; 7] = ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro", "private"];

fn confined(spec: &Value, paths: &Paths) -> bool {
    let facts = injection::facts(spec.to_string().as_bytes()).unwrap();
    let request = Request::one(Strategy::BestFit, RequestSource::Annotations);
    confines(&facts, &request, &Node::default(), paths)
}

fn docker() -> Value {
    serde_json::from_str(DOCKER).unwrap()
}

/// Docker's spec with one more mount.
fn with(kind: &str, source: &str, options: &[&str]) -> Value {
    let mut spec = docker();
    let mount = json!({ "destination": "/x", "type": kind, "source": source, "options": options });
    spec["mounts"].as_array_mut().unwrap().push(mount);
    spec
}

/// The spec with one more capability.
fn able(mut spec: Value, capability: &str) -> Value {
    for set in ["bounding", "permitted", "effective"] {
        let names = spec["process"]["capabilities"][set].as_array_mut().unwrap();
        names.push(capability.into());
    }
    spec
}

#[test]
fn what_engines_write_by_themselves_confines() {
    let paths = Paths::default();
    assert!(confined(&docker(), &paths));
    assert!(confined(&with("cgroup", "cgroup", &OF_PODMAN), &paths));
    assert!(confined(&with("cgroup2", "cgroup", &["rw", "ro"]), &paths));
    for data in ["/srv/data", "/etc/hosts", "/run/user/0/x", "/nonexistent/x", "rootfs/x"] {
        assert!(confined(&with("bind", data, &["rbind", "rw"]), &paths), "{data}");
    }
    assert!(confined(&with("tmpfs", "tmpfs", &["rw"]), &paths));
    let mut host_pids = docker();
    let namespaces = host_pids["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    assert!(confined(&host_pids, &paths), "seeing processes is not reaching into them");
    assert!(confined(&able(docker(), "CAP_SYS_PTRACE"), &paths), "its own processes");
}

#[test]
fn writable_cgroups_confine_no_container() {
    let paths = Paths::default();
    for (kind, options) in
        [("cgroup", &["nosuid"][..]), ("cgroup2", &["ro", "rw"]), ("cgroup2", &[])]
    {
        assert!(!confined(&with(kind, "cgroup", options), &paths), "{kind} {options:?}");
    }
    for source in ["/sys/fs/cgroup", "/sys/fs/cgroup/gpulease", "/sys/fs", "/sys", "/"] {
        assert!(!confined(&with("bind", source, &["rbind"]), &paths), "{source}");
        assert!(!confined(&with("none", source, &["rw", "bind"]), &paths), "{source}");
        // The cgroups below it are another mount, which only `rro` closes.
        let is_own = source.starts_with("/sys/fs/cgroup");
        assert_eq!(confined(&with("bind", source, &["rbind", "ro"]), &paths), is_own, "{source}");
    }
    assert!(confined(&with("bind", "/sys", &["rbind", "rro"]), &paths));
}

#[test]
fn leases_and_daemon_sockets_are_off_limits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let run = dir.join("run/gpulease");
    fs::create_dir_all(&run).unwrap();
    symlink("run", dir.join("link")).unwrap();
    let paths = Paths { run, ..Paths::default() };
    let bind = |path: PathBuf, option| {
        confined(&with("bind", path.to_str().unwrap(), &["rbind", option]), &paths)
    };
    for name in ["run/gpulease", "run/gpulease/mps", "run", "link", "link/gpulease", "."] {
        for option in ["rw", "ro", "rro"] {
            assert!(!bind(dir.join(name), option), "{name} {option}");
        }
    }
    for name in ["run/gpulease2", "other"] {
        assert!(bind(dir.join(name), "rw"), "{name}");
    }
    assert!(!confined(&with("bind", "../../run", &["bind"]), &paths));
}

#[test]
fn capabilities_that_reach_the_host_confine_nobody() {
    let paths = Paths::default();
    for capability in ["CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"] {
        assert!(!confined(&able(docker(), capability), &paths), "{capability}");
    }
    let tracing = able(docker(), "CAP_SYS_PTRACE");
    for change in [
        |namespaces: &mut Vec<Value>| namespaces.retain(|n| n["type"] != "pid"),
        |namespaces: &mut Vec<Value>| {
            let pid = namespaces.iter_mut().find(|n| n["type"] == "pid").unwrap();
            pid["path"] = "/proc/1/ns/pid".into();
        },
    ] {
        let mut spec = tracing.clone();
        change(spec["linux"]["namespaces"].as_array_mut().unwrap());
        assert!(!confined(&spec, &paths));
    }
    let of_host = with("bind", "/proc", &["rbind", "ro"]);
    assert!(confined(&of_host, &paths) && !confined(&able(of_host, "CAP_SYS_PTRACE"), &paths));
}

/// crun closes no device then, and a container that may make nodes can open any.
#[test]
fn without_a_rule_that_closes_devices_none_is_held() {
    let mut spec = docker();
    spec["linux"]["resources"]["devices"] = json!([]);
    assert!(!confined(&spec, &Paths::default()));
    spec["linux"]["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    assert!(confined(&spec, &Paths::default()));
}
