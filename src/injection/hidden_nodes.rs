//! Finds the entries of a spec that give GPUs which are not granted.

use super::facts::is_character;
use super::types::{HostNode, ResolvedNode};
use serde_json::Value;

/// The nodes to remove, without the granted ones.
pub(super) struct HiddenNodes<'a> {
    paths: Vec<&'a str>,
    numbers: Vec<(u32, u32)>,
}

impl<'a> HiddenNodes<'a> {
    /// `nodes` are granted, so they are not withheld even if `hosts` has them.
    pub(super) fn new(hosts: &'a [HostNode], nodes: &[&ResolvedNode]) -> Self {
        let granted_path = |path: &str| nodes.iter().any(|node| node.path == path);
        let granted = |pair: (u32, u32)| nodes.iter().any(|node| (node.major, node.minor) == pair);
        let paths = hosts.iter().map(|host| host.path.as_str());
        let numbers = hosts.iter().filter_map(|host| host.numbers);
        Self {
            paths: paths.filter(|path| !granted_path(path)).collect(),
            numbers: numbers.filter(|pair| !granted(*pair)).collect(),
        }
    }

    /// Whether nothing has to be removed.
    pub(super) const fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.numbers.is_empty()
    }

    /// Whether an entry of `linux.devices` is removed. The path decides, whatever the node is, or
    /// the numbers decide, whatever its path is: `--device /dev/nvidia1:/dev/x` gives a GPU too.
    pub(super) fn has_device(&self, entry: &Value) -> bool {
        entry.get("path").and_then(Value::as_str).is_some_and(|path| self.paths.contains(&path))
            || (is_character(kind(entry)) && self.has_numbers(entry, Some(0)))
    }

    /// Whether an entry of `linux.resources.devices` is removed. Only a rule that allows exactly
    /// one character device is: a wildcard is not for GPUs alone, and a rule that denies gives no
    /// device.
    pub(super) fn has_rule(&self, rule: &Value) -> bool {
        rule.get("allow") == Some(&Value::Bool(true))
            && !kind(rule).is_empty()
            && !kind(rule).starts_with('a')
            && is_character(kind(rule))
            && self.has_numbers(rule, None)
    }

    /// `missing` is the value that the runtimes use for an absent number.
    fn has_numbers(&self, entry: &Value, missing: Option<u64>) -> bool {
        let number = |key| {
            let value = entry.get(key).filter(|value| !value.is_null());
            u32::try_from(value.map_or(missing, Value::as_u64)?).ok()
        };
        number("major").zip(number("minor")).is_some_and(|pair| self.numbers.contains(&pair))
    }
}

fn kind(entry: &Value) -> &str {
    entry.get("type").and_then(Value::as_str).unwrap_or_default()
}
