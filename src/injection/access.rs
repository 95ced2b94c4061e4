//! What a spec lets a container open of the host's character devices, beyond what every engine
//! lets every container open: by a node, by a device rule, by a mount of a node.

use super::facts::{Facts, SpecDevice, is_gpu_node_path};
use super::rules::Numbers;
use super::types::SpecMount;

/// The ways to devices that a spec has of its own accord. None for the great majority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Nodes that the container has.
    pub nodes: Vec<SpecDevice>,
    /// What the device rules open. A node for it is in the image, or the container makes one.
    pub rules: Vec<Numbers>,
    /// Mounts that bring nodes of the host if there are any in them, and no rule closes those.
    pub mounts: Vec<SpecMount>,
}

impl Access {
    /// What this spec has.
    pub fn of(facts: &Facts) -> Self {
        let nodes = if has_hosts_nodes(facts) { Vec::new() } else { facts.device_paths.clone() };
        let mounts = facts.mounts.iter().filter(|mount| brings_nodes(mount, facts));
        Self { nodes, rules: facts.rules.opened.clone(), mounts: mounts.cloned().collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.rules.is_empty() && self.mounts.is_empty()
    }

    /// Whether a device of the host with this path and these numbers can be opened, as far as
    /// nodes and rules go.
    pub fn opens(&self, path: &str, numbers: Option<(u32, u32)>) -> bool {
        let is = |node: &SpecDevice| {
            node.path == path || (numbers.is_some() && node.numbers() == numbers)
        };
        self.nodes.iter().any(is)
            || numbers.is_some_and(|pair| self.rules.iter().any(|rule| rule.cover(pair)))
    }
}

impl Facts {
    /// Whether the engine may have put GPUs in.
    pub fn may_be_injected(&self) -> bool {
        self.vendor_hooks.give_any() || !self.named.is_empty() || !Access::of(self).is_empty()
    }
}

/// Whether the spec's list of nodes is all that the host has, as for `--privileged`: it says
/// nothing about what was asked for. A list of GPUs and little else was asked for, whatever rule
/// stands beside it; and of one that can be read in more than one way it may be a part.
fn has_hosts_nodes(facts: &Facts) -> bool {
    let others = facts.device_paths.iter().filter(|d| !is_gpu_node_path(&d.path));
    facts.doubt.is_none() && facts.privileged && others.count() >= 8
}

/// Where a rule closes all devices, a mount opens none that no other rule opens, and that rule
/// counts by itself. A privileged container has the host's nodes anyway: of it, only a mount out of
/// the host's `/dev` says what was asked for.
fn brings_nodes(mount: &SpecMount, facts: &Facts) -> bool {
    let is_closed = mount.closes_all_devices || (mount.devices && mount.closes_devices);
    let is_part = mount.bind && mount.source.starts_with("/dev/");
    let is_any = (mount.bind || mount.devices) && !facts.rules.closed;
    !is_closed && if facts.rules.privileged { is_part } else { is_any }
}

#[cfg(test)]
mod tests;
