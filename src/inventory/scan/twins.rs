//! Checks that each device can be told from every other, once all sources are merged. No identity
//! may belong to two devices, or one of them would be leased twice.

use crate::model::device::{Device, DeviceNode, Node, NodeNumbers, PciAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An identity, which names a device or leads to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// Selectors compare without regard to case.
    Uuid(String),
    /// An address, and the number of the partition there.
    Place(PciAddress, Option<u32>),
    KfdNode(u32),
    Path(String),
    Number(NodeNumbers),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(_) => f.write_str("UUID"),
            Self::Place(_, None) => f.write_str("PCI address"),
            Self::Place(_, Some(index)) => write!(f, "PCI address and partition number {index}"),
            Self::KfdNode(number) => write!(f, "KFD node {number}"),
            Self::Path(path) => write!(f, "node `{path}`"),
            Self::Number(NodeNumbers { major, minor }) => {
                write!(f, "device number {major}:{minor}")
            }
        }
    }
}

/// How many of the other devices are named in a message.
const NAMED_MAX: usize = 3;

/// Notes the reason at each device that shares an identity with another, which keeps it from being
/// leased, and at the MIG instances of such a GPU. The node has to be numbered.
pub(super) fn mark(node: &mut Node) {
    let whole: BTreeSet<PciAddress> =
        node.devices.iter().filter(|d| d.details.partition.is_none()).map(|d| d.pci).collect();
    let mut owners: BTreeMap<Identity, Vec<usize>> = BTreeMap::new();
    for (position, device) in node.devices.iter().enumerate() {
        for identity in identities(device, &whole) {
            let owners = owners.entry(identity).or_default();
            if owners.last() != Some(&position) {
                owners.push(position);
            }
        }
    }
    let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
    for (identity, owners) in owners.iter().filter(|(_, owners)| owners.len() > 1) {
        for own in owners {
            let others = owners.iter().filter(|other| *other != own);
            let others: Vec<&Device> = others.filter_map(|at| node.devices.get(*at)).collect();
            let have = if others.len() == 1 { "has" } else { "have" };
            let reason = || format!("{} {have} the same {identity}", listed(&others));
            reasons.entry(*own).or_insert_with(reason);
        }
    }
    for (position, device) in node.devices.iter().enumerate() {
        let shared = node.control.iter().flat_map(|control| &control.nodes);
        let mut shared = shared.filter(|common| device.nodes.iter().any(|own| is(own, common)));
        if let Some(common) = shared.next() {
            reasons.entry(position).or_insert_with(|| {
                format!("every device of its vendor comes with the node `{}`", common.path)
            });
        }
    }
    // An instance is used through its GPU's node, and its GPU is found by the UUID.
    let gpus: BTreeMap<_, _> = reasons
        .iter()
        .filter_map(|(position, reason)| Some((&node.devices.get(*position)?.uuid, reason)))
        .collect();
    let of_gpu =
        |device: &Device| Some(format!("its GPU: {}", gpus.get(&device.instance()?.parent)?));
    let marks: Vec<Option<String>> = node
        .devices
        .iter()
        .enumerate()
        .map(|(position, device)| reasons.get(&position).cloned().or_else(|| of_gpu(device)))
        .collect();
    for (device, mark) in node.devices.iter_mut().zip(marks) {
        device.details.ambiguous = mark;
    }
}

fn identities(device: &Device, whole: &BTreeSet<PciAddress>) -> Vec<Identity> {
    let mut all = vec![Identity::Uuid(device.uuid.as_str().to_ascii_lowercase())];
    // Instances have their GPU's address. A partition is identified by its number, unless a whole
    // GPU has the same address.
    if device.instance().is_none() {
        let partition = device.details.partition.as_ref().map(|partition| partition.index);
        let partition = partition.filter(|_| !whole.contains(&device.pci));
        all.push(Identity::Place(device.pci, partition));
        all.extend(device.kfd_node.map(Identity::KfdNode));
    }
    for node in &device.nodes {
        all.push(Identity::Path(node.path.clone()));
        all.extend(node.simulated.map(Identity::Number));
    }
    all
}

fn is(own: &DeviceNode, common: &DeviceNode) -> bool {
    own.path == common.path || (own.simulated.is_some() && own.simulated == common.simulated)
}

/// `GPU 1 at 0000:09:00.0, GPU 2 at 0000:0a:00.0`.
fn listed(devices: &[&Device]) -> String {
    let one = |device: &&Device| format!("GPU {} at {}", device.place(), device.pci);
    let mut text = devices.iter().take(NAMED_MAX).map(one).collect::<Vec<_>>().join(", ");
    if let Some(rest) = devices.len().checked_sub(NAMED_MAX).filter(|rest| *rest > 0) {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{profiles, static_file};
    use crate::model::device::{ControlNodes, Partition, Vendor};
    use crate::model::id::DeviceId;

    fn profile(name: &str) -> Node {
        static_file::parse(profiles::find(name).unwrap().toml).unwrap()
    }

    /// The reasons after a change, by position.
    fn marked(mut node: Node, change: impl Fn(&mut Node)) -> Vec<(usize, String)> {
        change(&mut node);
        node.number();
        mark(&mut node);
        let reasons = node.devices.into_iter().map(|device| device.details.ambiguous);
        reasons.enumerate().filter_map(|(at, why)| Some((at, why?))).collect()
    }

    #[test]
    fn distinct_devices_are_not_marked() {
        for profile in profiles::PROFILES {
            let node = static_file::parse(profile.toml).unwrap();
            assert_eq!(marked(node, |_| ()), [], "{}", profile.name);
        }
    }

    #[test]
    fn a_shared_identity_is_told_of_both_devices() {
        type Change = fn(&mut Node);
        let changes: [(&str, &str, Change); 5] = [
            ("h100x8", "UUID", |node| {
                let upper = node.devices[2].uuid.as_str().to_ascii_uppercase();
                node.devices[5].uuid = DeviceId::new(&upper.replacen("GPU", "gpu", 1)).unwrap();
            }),
            ("h100x8", "node `/dev/nvidia2`", |node| {
                node.devices[5].nodes[0].path = node.devices[2].nodes[0].path.clone();
            }),
            ("h100x8", "device number ", |node| {
                node.devices[5].nodes[0].simulated = node.devices[2].nodes[0].simulated;
            }),
            ("mi300x8", "KFD node ", |node| {
                node.devices[5].kfd_node = node.devices[2].kfd_node;
            }),
            ("mi300x8", "UUID", |node| {
                node.devices[5].uuid = node.devices[2].uuid.clone();
            }),
        ];
        for (name, what, change) in changes {
            let node = profile(name);
            let (one, other) = (node.devices[2].pci, node.devices[5].pci);
            let found = marked(node, change);
            let [(2, of_one), (5, of_other)] = &found[..] else { panic!("{what}: {found:?}") };
            let begin = format!("GPU 5 at {other} has the same {what}");
            assert!(of_one.starts_with(&begin), "{of_one}");
            assert!(
                of_other.starts_with(&format!("GPU 2 at {one} has the same {what}")),
                "{of_other}"
            );
        }
    }

    #[test]
    fn partitions_share_an_address_and_not_a_number() {
        let cut = |indices: [Option<u32>; 3]| {
            move |node: &mut Node| {
                node.devices.truncate(3);
                let (pci, gpu) = (node.devices[0].pci, node.devices[0].uuid.clone());
                for (device, index) in node.devices.iter_mut().zip(indices) {
                    device.pci = pci;
                    device.details.partition = index.map(|index| Partition {
                        gpu: gpu.clone(),
                        index,
                        mode: "CPX".into(),
                    });
                }
            }
        };
        let of = |indices| {
            let found = marked(profile("mi300x8"), cut(indices));
            found.into_iter().map(|(position, _)| position).collect::<Vec<_>>()
        };
        assert!(of([Some(0), Some(1), Some(2)]).is_empty());
        assert_eq!(of([Some(0), Some(1), Some(1)]), [1, 2]);
        assert_eq!(of([None, Some(1), Some(2)]), [0, 1, 2], "a whole GPU and parts of it");
        assert_eq!(of([None, None, None]), [0, 1, 2]);
    }

    #[test]
    fn instances_of_a_gpu_with_a_twin_are_marked() {
        let node = profile("a100x4");
        let is_gpu = |device: &&Device| device.instance().is_none();
        let whole = node.devices.iter().filter(is_gpu).find(|gpu| !gpu.is_in_mig_mode());
        let twin = whole.unwrap().uuid.clone();
        let found = marked(node.clone(), |node| {
            let gpu = node.devices.iter_mut().find(|device| device.is_in_mig_mode()).unwrap();
            let old = std::mem::replace(&mut gpu.uuid, twin.clone());
            for device in &mut node.devices {
                if let Some(crate::model::mig::Mig::Instance(instance)) = &mut device.mig
                    && instance.parent == old
                {
                    instance.parent = twin.clone();
                }
            }
        });
        let instances = found.iter().filter(|(_, why)| why.starts_with("its GPU: GPU "));
        let gpu = node.devices.iter().find(|device| device.is_in_mig_mode()).unwrap();
        let parts = node.devices.iter().filter_map(Device::instance);
        let parts = parts.filter(|part| part.parent == gpu.uuid).count();
        assert!(parts > 0);
        assert_eq!((instances.count(), found.len()), (parts, parts + 2), "{found:?}");
    }

    #[test]
    fn a_node_that_all_containers_get_belongs_to_none() {
        let found = marked(profile("h100x8"), |node| {
            let path = node.devices[3].nodes[0].path.clone();
            let nodes = vec![DeviceNode { path, simulated: None }];
            node.control.push(ControlNodes { vendor: Vendor::Nvidia, nodes });
        });
        let why = "every device of its vendor comes with the node `/dev/nvidia3`";
        assert_eq!(found, [(3, why.to_owned())]);
    }

    #[test]
    fn many_twins_are_not_all_named() {
        let found = marked(profile("h100x8"), |node| {
            let uuid = node.devices[0].uuid.clone();
            node.devices.iter_mut().for_each(|device| device.uuid = uuid.clone());
        });
        assert_eq!(found.len(), 8);
        assert!(found[0].1.contains(" and 4 more have the same UUID"), "{}", found[0].1);
    }
}
