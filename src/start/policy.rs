//! Decides which requests a container's spec rules out, whatever devices are free. A start and
//! `gpulease explain` share these rules.

use super::{device_nodes, injected};
use crate::failure::Failure;
use crate::injection::{Facts, Numbers, SpecMount};
use crate::model::code::Code;
use crate::model::device::Node;
use crate::paths::Paths;
use crate::request::{Policy, Request, RequestSource};
use std::path::{Component, Path};

/// Checks that a container with this spec may have the devices that it requests. Fails with
/// `policy-denied` and the reason.
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
    // Rules and mounts open exactly the devices that the engine injected.
    if request.source == RequestSource::Injected {
        return Ok(());
    }
    if let Some(device) = injected::mounted(facts, node, paths).first() {
        return Err(denied(
            format!(
                "a mount of the container opens GPU {}, whether it is granted or \
                     not",
                device.place()
            ),
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
            "a device rule of the container opens {which}, and thereby GPUs that are not granted"
        ),
        "leave out --device-cgroup-rule: each granted device has a rule of its own",
    ))
}

/// Whether the container can use only its devices and cannot undo their limits. This depends on its
/// device rules, capabilities and mounts. A request that is not for injected devices has passed
/// [`permit`].
pub fn confines(facts: &Facts, request: &Request, node: &Node, paths: &Paths) -> bool {
    let admin = facts.privileged || facts.system_admin || facts.host_files;
    // Without a rule that closes devices, crun leaves all devices open; runc closes them anyway.
    let by_rules = facts.rules.closed
        && (request.source != RequestSource::Injected || wide_rule(facts, node, paths).is_none());
    !admin
        && by_rules
        && (facts.own_pids || !facts.traces)
        && !facts.mounts.iter().any(|mount| opens(mount, facts, paths))
}

/// Whether a mount lets the container change its limits: writable cgroups, or the leases and the
/// sockets of MPS daemons. A socket on a read-only mount accepts connections too.
fn opens(mount: &SpecMount, facts: &Facts, paths: &Paths) -> bool {
    if !mount.bind {
        return mount.cgroups && !mount.read_only && !mount.all_read_only;
    }
    // Engines pass on the path that a user wrote: `/var/run` is a link. A relative path begins in
    // the bundle, which has no files of the host.
    let named = Path::new(&mount.source);
    let source = named.canonicalize().unwrap_or_else(|_| named.to_owned());
    let meets = |place: &Path| source.starts_with(place) || place.starts_with(&source);
    let cgroups = paths.sys.join("fs/cgroup");
    // Mounts below a read-only directory may still be writable.
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

/// A rule that opens several devices, GPUs among them.
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
