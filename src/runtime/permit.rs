//! What is ruled out by the container's spec, whatever devices are free: the same for a start and
//! for `gpulease explain`.

use super::nodes;
use crate::failure::Failure;
use crate::injection::{Facts, SpecMount};
use crate::model::code::Code;
use crate::model::device::Node;
use crate::paths::Paths;
use crate::request::{Policy, Request, Source};
use std::path::{Component, Path};

/// Whether a container with this spec may have what it asks for.
///
/// # Errors
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
    match open_major(facts, node, paths) {
        Some(major) => Err(denied(
            format!(
                "a device rule of the container opens every device of major {major}, and with it GPUs that it is not granted"
            ),
            "leave out --device-cgroup-rule: each granted device has a rule of its own",
        )),
        None => Ok(()),
    }
}

/// Whether the container's device rules and its want of capabilities and mounts hold it to the
/// devices that it is given and to their limits. A request that is not for what the engine injected
/// has passed [`permit`].
#[must_use]
pub fn confines(facts: &Facts, request: &Request, node: &Node, paths: &Paths) -> bool {
    let admin = facts.privileged || facts.system_admin || facts.host_files;
    let by_rules = request.source != Source::Injected || open_major(facts, node, paths).is_none();
    !admin
        && by_rules
        && (facts.own_pids || !facts.traces)
        && !facts.mounts.iter().any(|mount| opens(mount, facts, paths))
}

/// Whether a mount lets the container at what limits it: control groups that can be written to, or
/// the leases and the sockets of MPS daemons, to which a socket that is shown read-only connects
/// all the same.
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

/// A major of GPUs of which a rule opens every minor.
fn open_major(facts: &Facts, node: &Node, paths: &Paths) -> Option<u32> {
    if facts.open_majors.is_empty() {
        return None;
    }
    let own = node.devices.iter().flat_map(|device| &device.nodes);
    let mut majors = own.filter_map(|node| Some(nodes::numbers(node, paths)?.0));
    majors.find(|major| facts.open_majors.contains(&i64::from(*major)))
}

#[cfg(test)]
mod tests;
