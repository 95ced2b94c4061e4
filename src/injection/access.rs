//! Finds the host's character devices that a spec opens to its container: by a node, by a device
//! rule, or by a mount of a node. Devices that every engine opens to every container do not count.

use super::facts::{Facts, SpecDevice, is_gpu_node_path};
use super::rules::Numbers;
use super::types::SpecMount;

/// The devices that a spec opens by itself. Most specs open none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Nodes that the container has.
    pub nodes: Vec<SpecDevice>,
    /// Devices that the rules open. The image has a node for such a device, or the container makes
    /// one.
    pub rules: Vec<Numbers>,
    /// Mounts through which nodes of the host can be opened, if the mounted directory has any.
    pub mounts: Vec<SpecMount>,
}

impl Access {
    /// The devices that this spec opens.
    pub fn of(facts: &Facts) -> Self {
        let nodes = if has_hosts_nodes(facts) { Vec::new() } else { facts.device_paths.clone() };
        let mounts = facts.mounts.iter().filter(|mount| brings_nodes(mount, facts));
        Self { nodes, rules: facts.rules.opened.clone(), mounts: mounts.cloned().collect() }
    }

    /// Whether the spec opens none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.rules.is_empty() && self.mounts.is_empty()
    }

    /// Whether nodes and rules open the host's device that has this path and these numbers.
    pub fn opens(&self, path: &str, numbers: Option<(u32, u32)>) -> bool {
        let is = |node: &SpecDevice| {
            node.path == path || (numbers.is_some() && node.numbers() == numbers)
        };
        self.nodes.iter().any(is)
            || numbers.is_some_and(|pair| self.rules.iter().any(|rule| rule.cover(pair)))
    }
}

impl Facts {
    /// Whether the engine may have put GPUs into the spec.
    pub fn may_be_injected(&self) -> bool {
        self.vendor_hooks.give_any() || !self.named.is_empty() || !Access::of(self).is_empty()
    }
}

/// Whether the spec lists all nodes of the host, as for `--privileged`. Such a list does not say
/// which devices are requested. A list of GPUs and few other nodes does, even if a rule opens all
/// devices. If the spec can be read in several ways, the long list may be only one of them, so it
/// counts as a request.
fn has_hosts_nodes(facts: &Facts) -> bool {
    let others = facts.device_paths.iter().filter(|d| !is_gpu_node_path(&d.path));
    facts.doubt.is_none() && facts.privileged && others.count() >= 8
}

/// Whether a mount brings nodes that count. If a rule closes all devices, a mount opens only
/// devices that another rule opens, and that rule counts by itself. A privileged container has the
/// host's nodes anyway, so there only a mount of a part of the host's `/dev` says which devices are
/// requested.
fn brings_nodes(mount: &SpecMount, facts: &Facts) -> bool {
    let is_closed = mount.closes_all_devices || (mount.devices && mount.closes_devices);
    let is_part = mount.bind && mount.source.starts_with("/dev/");
    let is_any = (mount.bind || mount.devices) && !facts.rules.closed;
    !is_closed && if facts.rules.privileged { is_part } else { is_any }
}

#[cfg(test)]
mod tests;
