//! What is ruled out by the container's spec, whatever devices are free: the same for a start and
//! for `gpulease explain`.

use super::nodes;
use crate::failure::Failure;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::device::Node;
use crate::paths::Paths;
use crate::request::{Policy, Request, Source};

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

/// Whether the container's device rules and its want of capabilities hold it to the devices that
/// it is given. A request that is not for what the engine injected has passed [`permit`].
#[must_use]
pub fn confines(facts: &Facts, request: &Request, node: &Node, paths: &Paths) -> bool {
    let admin = facts.privileged || facts.system_admin;
    let by_rules = request.source != Source::Injected || open_major(facts, node, paths).is_none();
    !admin && by_rules
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
