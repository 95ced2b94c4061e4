//! Finds the processes that compute on the node's GPUs now, if a request depends on them.
//!
//! Every start with a request comes through here. It is free on a node with simulated devices only,
//! and nearly free if no process computes.

use super::ask::Asked;
use crate::claim::Ctx;
use crate::claim::busy::BusyProcesses;
use crate::claim::sweep::survey;
use crate::host::Host;
use crate::host::command::ask;
use crate::model::device::{Node, Vendor};
use crate::model::id::DeviceId;
use crate::request::RequestSource;
use crate::request::policy::Busy;
use crate::sys::gpu_users::{self, GpuUser};
use crate::sys::programs;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How long to wait for the driver's own answer. Without it, the kernel's answer stands.
const DEADLINE: Duration = Duration::from_secs(2);

/// Whether processes matter for this request. They do not if the policy ignores them, if the engine
/// has given the devices away, and on simulated devices.
pub(super) fn counts(asked: &Asked) -> bool {
    asked.config.policy.busy != Busy::Ignore
        && asked.request.source != RequestSource::Injected
        && asked.inventory.node.devices.iter().any(|device| !device.simulated)
}

/// The processes that matter for this request.
pub(super) fn users(host: &Host, asked: &Asked) -> Vec<GpuUser> {
    if !counts(asked) {
        return Vec::new();
    }
    let users = gpu_users::look(&asked.inventory.node, &host.paths);
    if !is_busy_on_nvidia(&users, host, asked) {
        return users;
    }
    match programs::command() {
        Some(program) => refined(users, &asked.inventory.node, &program, &host.own_arguments()),
        None => users,
    }
}

/// Whether the driver's answer can change the decision. The leases are read without their lock
/// here. The decision itself is made under the lock, by the same rule.
fn is_busy_on_nvidia(users: &[GpuUser], host: &Host, asked: &Asked) -> bool {
    if users.is_empty() {
        return false;
    }
    let ctx = Ctx::of(host);
    let busy = BusyProcesses { users, policy: asked.config.policy.busy };
    let on = match survey(ctx) {
        Ok(swept) => swept.busy_devices(busy, ctx).on,
        // The claim will report the fault of the leases.
        Err(_) => return false,
    };
    on.keys().any(|uuid| is_nvidia(uuid, &asked.inventory.node))
}

fn is_nvidia(uuid: &DeviceId, node: &Node) -> bool {
    node.device(uuid).is_some_and(|device| device.vendor == Vendor::Nvidia)
}

/// The driver's answer.
struct DriverAnswer {
    /// The pids of the processes, each with the UUID of a device that it computes on.
    on: BTreeSet<(i64, String)>,
    /// The devices for which the answer is complete.
    asked: BTreeSet<String>,
}

/// Parses the answer of `gpulease processes --json`; `None` if it has another form.
fn told(answer: &[u8]) -> Option<DriverAnswer> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let (mut on, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for uuid in answer.get("asked")?.as_array()? {
        asked.insert(uuid.as_str()?.to_owned());
    }
    for process in answer.get("processes")?.as_array()? {
        let pid = process.get("pid")?.as_i64()?;
        for device in process.get("devices")?.as_array()? {
            if device.get("type").and_then(Value::as_str) != Some("graphics") {
                on.insert((pid, device.get("uuid")?.as_str()?.to_owned()));
            }
        }
    }
    Some(DriverAnswer { on, asked })
}

/// A CUDA process keeps the nodes of all GPUs open that it saw at its start. Only the driver knows
/// on which of them it computes, and the command asks the driver. If that fails, or a device gives
/// no answer, the processes stay in the list.
fn refined(
    users: Vec<GpuUser>,
    node: &Node,
    program: &Path,
    arguments: &[OsString],
) -> Vec<GpuUser> {
    let answer = ask(program, arguments, &["processes".as_ref()], DEADLINE).ok();
    let Some(DriverAnswer { on, asked }) = answer.and_then(|json| told(&json)) else {
        return users;
    };
    let told = |mut user: GpuUser| {
        let pid = i64::from(user.pid);
        user.devices.retain(|uuid, _| {
            !is_nvidia(uuid, node)
                || !asked.contains(uuid.as_str())
                || on.contains(&(pid, uuid.to_string()))
        });
        user
    };
    users.into_iter().map(told).filter(|user| !user.devices.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::device;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn id(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    fn user(pid: i32, devices: &[&str]) -> GpuUser {
        GpuUser {
            pid,
            name: None,
            devices: devices.iter().map(|uuid| (id(uuid), None)).collect(),
            cgroup: None,
            ancestors: vec![pid],
        }
    }

    /// The processes and their devices, after a program has given this answer.
    fn told(script: &str) -> Vec<(i32, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("gpulease");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let devices =
            [("GPU-a", Vendor::Nvidia), ("GPU-b", Vendor::Nvidia), ("GPU-c", Vendor::Amd)];
        let devices = devices.map(|(uuid, vendor)| device(uuid, vendor)).to_vec();
        let node = Node { devices, ..Node::default() };
        let users = vec![user(7, &["GPU-a", "GPU-b", "GPU-c"]), user(8, &["GPU-a"])];
        let arguments = ["--gpulease-config", "/x"].map(OsString::from);
        let refined = refined(users, &node, &program, &arguments);
        let ids =
            |user: GpuUser| (user.pid, user.devices.keys().map(ToString::to_string).collect());
        refined.into_iter().map(ids).collect()
    }

    fn all() -> Vec<(i32, Vec<String>)> {
        let names = ["GPU-a", "GPU-b", "GPU-c"].map(str::to_owned).to_vec();
        vec![(7, names), (8, vec!["GPU-a".to_owned()])]
    }

    #[test]
    fn the_drivers_answer_narrows_down_the_gpus() {
        let answer = r#"{"processes": [{"pid": 7, "devices": [{"uuid": "GPU-b", "type": "compute"},
            {"uuid": "GPU-a", "type": "graphics"}]}, {"pid": 9, "devices": [{"uuid": "GPU-a"}]}],
            "asked": ["GPU-a", "GPU-b"], "notes": []}"#;
        let script = format!(
            "test \"$*\" = '--gpulease-config /x processes --json' || exit 1\n\
                              echo '{answer}'"
        );
        // For AMD's GPUs the kernel's answer is exact.
        assert_eq!(told(&script), [(7, vec!["GPU-b".to_owned(), "GPU-c".to_owned()])]);
    }

    #[test]
    fn on_a_gpu_that_does_not_tell_the_open_nodes_count() {
        let answer = |asked: &str| {
            let process = r#"{"pid": 7, "devices": [{"uuid": "GPU-b", "type": "compute"}]}"#;
            format!("echo '{{\"processes\": [{process}], \"asked\": {asked}}}'")
        };
        let on = |pid, uuids: &[&str]| (pid, uuids.iter().map(|u| (*u).to_owned()).collect());
        assert_eq!(told(&answer(r#"["GPU-a", "GPU-b"]"#)), [on(7, &["GPU-b", "GPU-c"])]);
        assert_eq!(told(&answer(r#"["GPU-b"]"#)), all());
        assert_eq!(told(&answer(r#"["GPU-a"]"#)), [on(7, &["GPU-b", "GPU-c"])]);
        for asked in ["[]", "null", "[1]"] {
            assert_eq!(told(&answer(asked)), all(), "{asked}");
        }
    }

    #[test]
    fn without_an_answer_the_open_nodes_count() {
        for script in ["exit 3", "echo '{\"processes\": 1}'", "true", "echo '{}'; exit 1"] {
            assert_eq!(told(script), all(), "{script}");
        }
        let begun = Instant::now();
        assert_eq!(told("exec sleep 60"), all());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
