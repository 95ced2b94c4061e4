//! The device nodes of the devices file: plain paths below `/dev`, each of which occurs once.

use super::check::Located;
use super::limits::{MAJOR_MAX, MINOR_MAX, NODE_PATH_MAX};
use super::raw::RawNode;
use crate::model::device::{DeviceNode, NodeNumbers};
use crate::model::text::shown;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// Remembers the nodes so far. If a path or a number occurred twice, a container with one device
/// would get the other as well.
pub(super) struct NodeChecker {
    simulated: bool,
    owners: BTreeMap<String, String>,
    numbers: BTreeMap<NodeNumbers, String>,
}

impl NodeChecker {
    pub(super) const fn new(simulated: bool) -> Self {
        Self { simulated, owners: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    /// Checks and converts the nodes of one device or one vendor; `owner` is for messages.
    pub(super) fn convert(
        &mut self,
        nodes: Vec<Spanned<RawNode>>,
        owner: &str,
    ) -> Result<Vec<DeviceNode>, Located> {
        nodes
            .into_iter()
            .map(|node| self.convert_one(node.span(), node.into_inner(), owner))
            .collect()
    }

    fn convert_one(
        &mut self,
        span: Range<usize>,
        node: RawNode,
        owner: &str,
    ) -> Result<DeviceNode, Located> {
        if let Some(fault) = fault_of(&node.path) {
            return Err((span, format!("the node path `{}` {fault}", shown(&node.path))));
        }
        let numbers = self.numbers_of(&node).map_err(|problem| (span.clone(), problem))?;
        let path = node.path;
        if let Some(other) = self.owners.insert(path.clone(), owner.to_owned()) {
            let problem = format!("the node `{path}` is given twice: for {other} and for {owner}");
            return Err((span, problem));
        }
        if let Some(numbers) = numbers
            && let Some(other) = self.numbers.insert(numbers, path.clone())
        {
            let NodeNumbers { major, minor } = numbers;
            let problem =
                format!("the nodes `{other}` and `{path}` have the same number {major}:{minor}");
            return Err((span, problem));
        }
        Ok(DeviceNode { path, simulated: numbers })
    }

    fn numbers_of(&self, node: &RawNode) -> Result<Option<NodeNumbers>, String> {
        let path = &node.path;
        if !self.simulated {
            return if node.major.is_none() && node.minor.is_none() {
                Ok(None)
            } else {
                Err(format!(
                    "the node `{path}` has numbers, but the file is not `simulated = true`: the \
                     numbers of real nodes are read from the host when the container is created"
                ))
            };
        }
        let (Some(major), Some(minor)) = (node.major, node.minor) else {
            return Err(format!(
                "the simulated node `{path}` has no numbers; write {{ path = \"{path}\", major = …, \
                 minor = … }}"
            ));
        };
        if (1..=MAJOR_MAX).contains(&major) && minor <= MINOR_MAX {
            Ok(Some(NodeNumbers { major, minor }))
        } else {
            Err(format!(
                "the node `{path}` has the number {major}:{minor}; allowed are majors 1 to \
                 {MAJOR_MAX} and minors 0 to {MINOR_MAX}"
            ))
        }
    }
}

/// Why a text is not a plain path below `/dev`. Two different plain paths never name the same node,
/// except by links.
fn fault_of(path: &str) -> Option<&'static str> {
    let Some(below) = path.strip_prefix("/dev/") else { return Some("is not below `/dev/`") };
    if path.len() > NODE_PATH_MAX {
        Some("is longer than 128 characters")
    } else if !path.chars().all(|c| c.is_ascii_graphic()) {
        Some("has a character other than printable ASCII")
    } else if below.split('/').any(|part| part == "..") {
        Some("has `..`")
    } else if below.split('/').any(|part| part.is_empty() || part == ".") {
        Some("has an empty part or `.`")
    } else {
        None
    }
}
