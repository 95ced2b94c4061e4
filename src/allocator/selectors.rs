//! Resolves selectors to devices.

use crate::model::device::{Device, Node};
use crate::model::mig::DeviceNumber;
use crate::model::order;
use crate::model::text::shown;
use crate::request::Selector;
use std::collections::BTreeSet;

/// A selector that does not name exactly one device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadSelector<'a> {
    pub(super) selector: &'a Selector,
    /// Positions of the devices that it might mean: none, or several.
    pub(super) candidates: BTreeSet<usize>,
}

/// The positions of the devices that the selectors name; `None` if there are no selectors. With
/// `instances`, a GPU in MIG mode stands for its instances. Fails with the first selector that
/// names no device, or several.
pub(super) fn resolve<'a>(
    node: &Node,
    selectors: &'a [Selector],
    instances: bool,
) -> Result<Option<BTreeSet<usize>>, BadSelector<'a>> {
    if selectors.is_empty() {
        return Ok(None);
    }
    let mut named = BTreeSet::new();
    for selector in selectors {
        let candidates = candidates(node, selector);
        if candidates.len() != 1 {
            return Err(BadSelector { selector, candidates });
        }
        let device = candidates.first().and_then(|position| node.devices.get(*position));
        match device.filter(|device| instances && device.is_in_mig_mode()) {
            Some(gpu) => named.extend(positions(node, |device| {
                device.instance().is_some_and(|instance| instance.parent == gpu.uuid)
            })),
            None => named.extend(candidates),
        }
    }
    Ok(Some(named))
}

fn candidates(node: &Node, selector: &Selector) -> BTreeSet<usize> {
    match selector {
        Selector::Index(index) => at(node, DeviceNumber { gpu: *index, instance: None }),
        Selector::Instance(gpu, instance) => {
            at(node, DeviceNumber { gpu: *gpu, instance: Some(*instance) })
        }
        Selector::Uuid(prefix) => {
            // The UUID of a device may be the beginning of its partitions' UUIDs. A complete UUID
            // means the device alone.
            let exact = positions(node, |device| device.uuid.as_str().eq_ignore_ascii_case(prefix));
            if exact.is_empty() {
                positions(node, |device| begins_with(device, prefix))
            } else {
                exact
            }
        }
        // The address belongs to the GPU. Its instances have no address of their own.
        Selector::Pci(address) => {
            positions(node, |device| device.pci == *address && device.instance().is_none())
        }
        Selector::Card(number) => {
            let path = format!("/dev/dri/card{number}");
            positions(node, |device| device.details.card == Some(*number) || has(device, &path))
        }
        Selector::Render(number) => {
            let path = format!("/dev/dri/renderD{number}");
            positions(node, |device| has(device, &path))
        }
    }
}

fn positions(node: &Node, test: impl Fn(&Device) -> bool) -> BTreeSet<usize> {
    let devices = node.devices.iter().enumerate();
    order::set(devices.filter(|(_, device)| test(device)).map(|(position, _)| position))
}

fn at(node: &Node, place: DeviceNumber) -> BTreeSet<usize> {
    positions(node, |device| device.place() == place)
}

fn has(device: &Device, path: &str) -> bool {
    device.nodes.iter().any(|node| node.path == path)
}

fn begins_with(device: &Device, prefix: &str) -> bool {
    let start = device.uuid.as_str().get(..prefix.len());
    !prefix.is_empty() && start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The selector as a user types it, safe to show.
pub(super) fn typed(selector: &Selector) -> String {
    match selector {
        Selector::Index(index) => index.to_string(),
        Selector::Instance(gpu, instance) => format!("{gpu}:{instance}"),
        Selector::Uuid(prefix) => shown(prefix),
        Selector::Pci(address) => address.to_string(),
        Selector::Card(number) => format!("card{number}"),
        Selector::Render(number) => format!("renderD{number}"),
    }
}
