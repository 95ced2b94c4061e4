//! Decides whether a share can change its size on the device where it is.

use super::demand::Demand;
use super::occupancy::{Fit, occupancies};
use super::refusal::Refusal;
use super::snapshot::Snapshot;
use crate::model::code::Code;
use crate::model::id::DeviceId;
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MilliGpu};
use std::collections::BTreeSet;

/// Checks that a share of `device` can have this size beside the other leases; `snapshot` is
/// without the share itself. Leases in their grace give way, as to any request. Fails if the size
/// does not fit: with [`Code::NoMatch`] if it never can, else with [`Code::NoCapacity`].
pub fn resized(
    snapshot: &Snapshot<'_>,
    device: &DeviceId,
    milli: MilliGpu,
    memory: Bytes,
) -> Result<(), Refusal> {
    let refused = |code, summary: String, hint: &str| {
        Err(Refusal { code, summary, verdicts: Vec::new(), hint: hint.to_owned() })
    };
    let mut devices = snapshot.node.devices.iter().zip(occupancies(snapshot).of);
    let Some((device, occupancy)) = devices.find(|(other, _)| other.uuid == *device) else {
        let summary = format!("the inventory has no device {device}");
        return refused(Code::NoMatch, summary, "`gpulease devices` lists them");
    };
    let demand = Demand { milli, memory, sharing: Sharing::Shared };
    let place = device.place();
    if demand.exceeds(device) {
        let has = format!("{} and {}", MilliGpu::WHOLE, device.leasable());
        let summary = format!("GPU {place} has {has} in all, {milli} and {memory} requested");
        return refused(Code::NoMatch, summary, "ask for less");
    }
    if occupancy.fit(device, &demand) != Fit::Taken {
        return Ok(());
    }
    let (free_milli, free_memory) = occupancy.firm.free(device);
    let holders: BTreeSet<&str> = snapshot
        .holds
        .iter()
        .filter(|hold| hold.device == device.uuid && !hold.grace)
        .map(|hold| hold.holder.as_str())
        .collect();
    let holders: Vec<&str> = holders.into_iter().take(3).collect();
    let summary = format!(
        "other leases leave {free_milli} and {free_memory} of GPU {place}, {milli} and {memory} \
         requested; held by {}",
        holders.join(", ")
    );
    refused(Code::NoCapacity, summary, "ask for less, or wait until another lease ends")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{h100, h100s, hold, id, share, snapshot};
    use super::super::snapshot::{Grant, Hold};
    use super::*;
    use crate::allocator::grant;
    use crate::model::device::Node;
    use proptest::prelude::*;

    #[test]
    fn a_share_grows_into_what_others_leave() {
        let node = h100s(1);
        let device = &node.devices[0].uuid;
        let gib = |gib: u64| Bytes(gib << 30);
        let other = Hold { memory: gib(30), ..hold(&node.devices[0], 400, "a") };
        let snapshot = Snapshot { holds: vec![other.clone()], ..snapshot(&node) };
        let fits = |milli, memory| resized(&snapshot, device, MilliGpu(milli), memory);
        assert_eq!(fits(600, gib(49)), Ok(()));
        let refusal = fits(601, gib(1)).unwrap_err();
        assert_eq!(refusal.code, Code::NoCapacity);
        assert!(refusal.summary.contains("leave 600m"), "{refusal:?}");
        assert!(refusal.summary.contains(&other.holder), "{refusal:?}");
        assert_eq!(fits(100, gib(50)).unwrap_err().code, Code::NoCapacity);
        assert_eq!(fits(100, gib(80)).unwrap_err().code, Code::NoMatch);
        assert_eq!(fits(1001, gib(1)).unwrap_err().code, Code::NoMatch);
        let grace = Snapshot { holds: vec![Hold { grace: true, ..other }], ..snapshot.clone() };
        assert_eq!(resized(&grace, device, MilliGpu(1000), gib(79)), Ok(()));
        let unknown = resized(&snapshot, &id("GPU-none"), MilliGpu(100), gib(1));
        assert_eq!(unknown.unwrap_err().code, Code::NoMatch);
    }

    /// A step that changes a node's leases. Steps run one after the other, as under the ledger's
    /// lock.
    #[derive(Debug, Clone)]
    enum Deed {
        Create { milli: u32, mib: u64 },
        Resize { which: usize, milli: u32, mib: u64 },
        Release { which: usize },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let amount = (100_u32..=1100, 1_u64..90_000);
        prop_oneof![
            amount.clone().prop_map(|(milli, mib)| Deed::Create { milli, mib }),
            (0_usize..8, amount).prop_map(|(which, (milli, mib))| Deed::Resize {
                which,
                milli,
                mib
            }),
            (0_usize..8).prop_map(|which| Deed::Release { which }),
        ]
    }

    fn apply(node: &Node, holds: &mut Vec<Hold>, deed: &Deed) -> bool {
        let snapshot = |holds: Vec<Hold>| Snapshot { holds, ..snapshot(node) };
        match *deed {
            Deed::Create { milli, mib } => {
                let Ok(Grant { devices, .. }) = grant(
                    &snapshot(holds.clone()),
                    &share(Some(milli), Some(Bytes::from_mib(mib))),
                ) else {
                    return false;
                };
                let device = node.device(&devices[0].uuid).unwrap();
                let memory = devices[0].memory.unwrap();
                holds.push(Hold { memory, ..hold(device, devices[0].milli.0, "a") });
                true
            }
            Deed::Resize { which, milli, mib } if which < holds.len() => {
                let mut others = holds.clone();
                let own = others.remove(which);
                let (milli, memory) = (MilliGpu(milli), Bytes::from_mib(mib));
                if resized(&snapshot(others), &own.device, milli, memory).is_err() {
                    return false;
                }
                holds[which] = Hold { milli, memory, ..own };
                true
            }
            Deed::Release { which } if which < holds.len() => {
                holds.remove(which);
                true
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn creates_and_resizes_never_over_commit(
            deeds in prop::collection::vec(deed(), 1..40),
        ) {
            let node = Node { devices: vec![h100(0), h100(1)], ..Node::default() };
            let mut holds = Vec::new();
            for deed in &deeds {
                apply(&node, &mut holds, deed);
                for device in &node.devices {
                    let on = || holds.iter().filter(|hold| hold.device == device.uuid);
                    prop_assert!(on().map(|hold| hold.milli.0).sum::<u32>() <= 1000);
                    let memory: u64 = on().map(|hold| hold.memory.0).sum();
                    prop_assert!(memory <= device.leasable().0);
                }
            }
        }
    }
}
