//! What is ruled out by the container's spec, whatever devices are free: the same for a start
//! and for `gpulease explain`.

use super::{device_nodes, injected};
use crate::failure::Failure;
use crate::injection::{Facts, Numbers, SpecMount};
use crate::model::code::Code;
use crate::model::device::Node;
use crate::paths::Paths;
use crate::request::{Policy, Request, RequestSource};
use std::path::{Component, Path};

/// Whether a container with this spec may have what it asks for. Fails with
/// `policy-denied`, with the reason.
pub fn permit(
    facts: &Facts,
    request: &Request,
    policy: &Policy,
    node: &Node,
    paths: &Paths,
) -> Result<(), Failure> {
    let privileged = policy.fault_of_privileged(request).filter(|_| facts.privileged);
    if let Some(fault) = privileged {
        return Err(denied(fault, "run the container without --privileged"));
    }
    // What the engine injected is all that its rules and mounts open.
    if request.source == RequestSource::Injected {
        return Ok(());
    }
    if let Some(device) = injected::mounted(facts, node, paths).first() {
        return Err(denied(
            format!("a mount of the container opens GPU {}, granted or not", device.place()),
            "leave out the mount: each granted device brings its own nodes",
        ));
    }
    let Some(rule) = wide_rule(facts, node, paths) else { return Ok(()) };
    let which = match rule.major {
        Some(major) => format!("every device of major {major}"),
        None => "devices of every major".to_owned(),
    };
    Err(denied(
        format!(
            "a device rule of the container opens {which}, and with it GPUs that it is not granted"
        ),
        "leave out --device-cgroup-rule: each granted device has a rule of its own",
    ))
}

/// Whether the container's device rules and its want of capabilities and mounts hold it to the
/// devices that it is given and to their limits. A request that is not for what the engine
/// injected has passed [`permit`].
pub fn confines(facts: &Facts, request: &Request, node: &Node, paths: &Paths) -> bool {
    let admin = facts.privileged || facts.system_admin || facts.host_files;
    // Without a rule that closes devices, crun leaves all of them open; runc closes them all the same.
    let by_rules = facts.rules.closed
        && (request.source != RequestSource::Injected || wide_rule(facts, node, paths).is_none());
    !admin
        && by_rules
        && (facts.own_pids || !facts.traces)
        && !facts.mounts.iter().any(|mount| opens(mount, facts, paths))
}

/// Whether a mount lets the container at what limits it: control groups that can be written to,
/// or the leases and the sockets of MPS daemons, to which a socket that is shown read-only
/// connects all the same.
fn opens(mount: &SpecMount, facts: &Facts, paths: &Paths) -> bool {
    if !mount.bind {
        return mount.cgroups && !mount.read_only && !mount.all_read_only;
    }
    // Engines pass on what a user wrote: `/var/run` is a link. A relative path begins in the bundle,
    // where nothing of the host's lies.
    let named = Path::new(&mount.source);
    let source = named.canonicalize().unwrap_or_else(|_| named.to_owned());
    let meets = |place: &Path| source.starts_with(place) || place.starts_with(&source);
    let cgroups = paths.sys.join("fs/cgroup");
    // What is mounted below a directory that is shown read-only can still be written to.
    let is_closed = mount.all_read_only || (mount.read_only && source.starts_with(&cgroups));
    let leads_up = named.components().any(|part| part == Component::ParentDir);
    meets(&paths.run)
        || (meets(&cgroups) && !is_closed)
        || (facts.traces && meets(&paths.proc))
        || (named.is_relative() && leads_up)
}

/// A refusal by policy.
pub(super) fn denied(text: impl Into<String>, hint: &str) -> Failure {
    Failure::new(Code::PolicyDenied, text).hint(hint)
}

/// A rule that opens more than one device, and GPUs among them.
fn wide_rule(facts: &Facts, node: &Node, paths: &Paths) -> Option<Numbers> {
    let rules = &facts.rules.opened;
    if rules.iter().all(Numbers::are_one) {
        return None;
    }
    let own = node.devices.iter().flat_map(|device| &device.nodes);
    let numbers: Vec<_> = own.filter_map(|node| device_nodes::numbers(node, paths)).collect();
    let is_wide = |rule: &&Numbers| !rule.are_one() && numbers.iter().any(|pair| rule.cover(*pair));
    rules.iter().find(is_wide).copied()
}

#[cfg(test)]
mod tests;
