//! Finds the right answer to a request by trying every set of devices. It is slow, and shares no
//! code with the allocator except the arithmetic of shares.

use super::fixtures::{python, well_equipped};
use super::{BusyDevices, Hold, Snapshot};
use crate::model::device::{Device, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::request::{Amount, Count, MigChoice, Request, RequestSource, Selector};
use std::collections::BTreeSet;

/// Owned copies of everything that [`super::grant()`] gets.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) node: Node,
    pub(super) holds: Vec<Hold>,
    pub(super) prefer: BTreeSet<DeviceId>,
    pub(super) cordoned: BTreeSet<DeviceId>,
    /// The devices on which processes without a lease compute.
    pub(super) busy: BTreeSet<DeviceId>,
    pub(super) refuse_busy: bool,
    pub(super) request: Request,
}

impl Case {
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            node: &self.node,
            holds: self.holds.clone(),
            prefer: self.prefer.clone(),
            cordoned: self.cordoned.clone(),
            busy: BusyDevices {
                on: self.busy.iter().map(|uuid| (uuid.clone(), vec![python()])).collect(),
                refuse: self.refuse_busy,
            },
            facilities: well_equipped(&[]),
            ..Snapshot::idle(&self.node)
        }
    }

    /// Whether processes without a lease compute on the device, on the whole GPU or on this part.
    pub(super) fn is_busy(&self, device: &Device) -> bool {
        let gpu = device.instance().map(|instance| &instance.parent);
        let is_real = !device.simulated && self.request.source != RequestSource::Injected;
        is_real && [Some(&device.uuid), gpu].into_iter().flatten().any(|u| self.busy.contains(u))
    }

    fn is_cordoned(&self, device: &Device) -> bool {
        let gpu = device.instance().map(|instance| &instance.parent);
        [Some(&device.uuid), gpu].into_iter().flatten().any(|uuid| self.cordoned.contains(uuid))
    }
}

/// Whether one of the two is a MIG instance of the other.
pub(super) fn are_kin(devices: &[Device], one: &DeviceId, other: &DeviceId) -> bool {
    let gpu_of = |uuid: &DeviceId| {
        let device = devices.iter().find(|device| device.uuid == *uuid)?;
        device.instance().map(|instance| instance.parent.clone())
    };
    gpu_of(one).as_ref() == Some(other) || gpu_of(other).as_ref() == Some(one)
}

/// Compute and memory that the given holds leave on a device, and whether others are on it.
pub(super) fn left(
    devices: &[Device],
    device: &Device,
    holds: &[Hold],
    counts: impl Fn(&Hold) -> bool,
) -> (u32, u64, Option<Sharing>) {
    if holds.iter().any(|hold| counts(hold) && are_kin(devices, &hold.device, &device.uuid)) {
        return (0, 0, Some(Sharing::Exclusive));
    }
    let here: Vec<&Hold> =
        holds.iter().filter(|hold| hold.device == device.uuid && counts(hold)).collect();
    let milli: u32 = here.iter().map(|hold| hold.milli.0).sum();
    let memory: u64 = here.iter().map(|hold| hold.memory.0).sum();
    let sharing = here.iter().map(|hold| hold.sharing).min();
    (1000 - milli, device.leasable().0 - memory, sharing)
}

pub(super) fn demanded(request: &Request, device: &Device) -> (u32, u64) {
    let all = device.leasable();
    match request.amount {
        Amount::Whole => (1000, all.0),
        Amount::Share { compute: Some(c), memory } => (c.0, memory.unwrap_or(c.of(all)).0),
        Amount::Share { compute: None, memory: Some(m) } => (m.proportion_of(all).0, m.0),
        Amount::Share { compute: None, memory: None } => unreachable!(),
    }
}

/// The devices that a selector can mean. Any number but one makes the request impossible.
fn meaning<'n>(node: &'n Node, selector: &Selector) -> Vec<&'n Device> {
    let test = |device: &&Device| match selector {
        Selector::Index(index) => device.instance().is_none() && device.index == *index,
        Selector::Instance(gpu, number) => {
            device.index == *gpu && device.instance().is_some_and(|mig| mig.index == *number)
        }
        Selector::Uuid(p) => device.uuid.as_str().to_lowercase().starts_with(&p.to_lowercase()),
        Selector::Card(n) => {
            let of_file = device.nodes.iter().any(|x| x.path == format!("/dev/dri/card{n}"));
            of_file || device.details.card == Some(*n)
        }
        Selector::Pci(_) | Selector::Render(_) => unreachable!(),
    };
    node.devices.iter().filter(test).collect()
}

/// Whether the request names the device. In a request for instances, a GPU's name means its
/// instances.
fn is_named(case: &Case, device: &Device) -> bool {
    let request = &case.request;
    let instances = matches!(request.mig, MigChoice::Instances(_));
    let names = |selector: &Selector| match meaning(&case.node, selector).as_slice() {
        [gpu] if instances && gpu.is_in_mig_mode() => {
            device.instance().is_some_and(|instance| instance.parent == gpu.uuid)
        }
        [one] => one.uuid == device.uuid,
        _ => false,
    };
    request.devices.is_empty() || request.devices.iter().any(names)
}

/// Whether the engine gave the node of this GPU, which is in MIG mode, but no node of an instance.
fn is_injected(case: &Case, gpu: &Device) -> bool {
    let of_gpu = |device: &&Device| are_kin(&case.node.devices, &device.uuid, &gpu.uuid);
    case.request.source == RequestSource::Injected
        && !case.request.devices.is_empty()
        && !case.node.devices.iter().filter(of_gpu).any(|device| is_named(case, device))
}

fn is_of_kind(case: &Case, device: &Device) -> bool {
    match (&case.request.mig, device.instance()) {
        (_, None) if device.is_in_mig_mode() => is_injected(case, device),
        (MigChoice::Gpus, Some(_)) | (MigChoice::Instances(_), None) => false,
        (MigChoice::Instances(Some(profile)), Some(instance)) => instance.profile == *profile,
        _ => true,
    }
}

fn is_of_make(case: &Case, device: &Device) -> bool {
    let request = &case.request;
    let model = match request.model.as_deref() {
        None => true,
        Some("h100") => device.model.contains("H100"),
        Some(_) => device.model.ends_with("MI300X"),
    };
    model && request.vendor.is_none_or(|vendor| vendor == device.vendor)
}

fn wanted(case: &Case, device: &Device) -> bool {
    is_named(case, device)
        && is_of_make(case, device)
        && is_of_kind(case, device)
        && case.request.min_memory.is_none_or(|least| device.memory_total_bytes.unwrap() >= least)
}

/// Whether `all` means the device. A named device that cannot serve is not left out in silence.
fn is_meant(case: &Case, device: &Device) -> bool {
    let named = !case.request.devices.is_empty();
    let in_vain = named
        && device.is_in_mig_mode()
        && is_named(case, device)
        && is_of_make(case, device)
        && !is_of_kind(case, device);
    in_vain || (wanted(case, device) && (named || !case.is_cordoned(device)))
}

/// Whether the device has more than time-slicing: MPS, or masks.
fn has_best(case: &Case, device: &Device) -> bool {
    match device.vendor {
        Vendor::Nvidia => {
            let able = device.details.arch.is_some() || case.request.isolation == Isolation::Mps;
            able && case.request.count == Count::Exactly(1)
        }
        _ => device.details.compute_units.is_some(),
    }
}

/// Whether a share of the device would get another isolation than the request names.
pub(super) fn is_replaced(case: &Case, device: &Device) -> bool {
    let maker = match case.request.isolation {
        Isolation::Mps => Vendor::Nvidia,
        Isolation::CuMask => Vendor::Amd,
        _ => return false,
    };
    let has_it = device.vendor == maker && has_best(case, device);
    case.request.sharing == Sharing::Shared && !has_it
}

/// Whether the request may share the device in a way that fits the shares on it, on a host with
/// MPS, for uid 0.
fn shares_alike(case: &Case, device: &Device, holds: &[Hold]) -> bool {
    let apart = |isolation: Isolation| match isolation {
        Isolation::Mps => 1,
        Isolation::CuMask => 2,
        _ => 0,
    };
    let has_best = has_best(case, device);
    let best = if device.vendor == Vendor::Nvidia { 1 } else { 2 };
    let ways: &[u8] = match case.request.isolation {
        Isolation::TimeSlicing | Isolation::None => &[0],
        _ if !has_best => &[0],
        Isolation::Mps => &[best],
        Isolation::CuMask if device.vendor == Vendor::Amd => &[best],
        _ => &[best, 0],
    };
    let here = holds.iter().filter(|h| h.device == device.uuid && !h.grace);
    let firm: Vec<&Hold> = here.filter(|hold| hold.sharing == Sharing::Shared).collect();
    let kinds: Vec<u8> = firm.iter().filter_map(|h| h.kind.isolation.map(apart)).collect();
    let goes = |way: &u8| {
        let strangers = firm.iter().any(|hold| hold.kind.uid.is_some_and(|uid| uid != 0));
        let unknown = firm.iter().any(|hold| hold.kind.isolation.is_none());
        kinds.iter().all(|kind| kind == way) && (*way != 1 || !strangers) && (*way == 0 || !unknown)
    };
    ways.iter().any(goes)
}

pub(super) fn serves(case: &Case, device: &Device, holds: &[Hold]) -> bool {
    let devices = &case.node.devices;
    let (milli, memory, sharing) = left(devices, device, holds, |hold| !hold.grace);
    let (need_milli, need_memory) = demanded(&case.request, device);
    if case.request.sharing == Sharing::Shared && !shares_alike(case, device, holds) {
        return false;
    }
    let good_company = match case.request.sharing {
        Sharing::Exclusive => sharing.is_none(),
        Sharing::Shared => sharing != Some(Sharing::Exclusive),
    };
    let whole = device.instance().is_none() || case.request.amount == Amount::Whole;
    let may_have_busy =
        !case.refuse_busy && !case.request.devices.is_empty() && is_named(case, device);
    wanted(case, device)
        && device.healthy != Some(false)
        && !case.is_cordoned(device)
        && whole
        && (!case.is_busy(device) || may_have_busy)
        && good_company
        && need_milli <= milli
        && need_memory <= memory
}

/// Whether any set of devices satisfies the request. Tries every set.
pub(super) fn feasible(case: &Case, holds: &[Hold]) -> bool {
    let named = !case.request.devices.is_empty();
    if case.request.devices.iter().any(|s| meaning(&case.node, s).len() != 1) {
        return false;
    }
    let devices = &case.node.devices;
    let serving: Vec<bool> = devices.iter().map(|device| serves(case, device, holds)).collect();
    let meant: Vec<bool> = devices.iter().map(|device| is_meant(case, device)).collect();
    (1..1_u32 << devices.len()).any(|bits| {
        let is_in = |position: &usize| bits >> position & 1 == 1;
        let set: Vec<usize> = (0..devices.len()).filter(is_in).collect();
        let right_size = match case.request.count {
            Count::Exactly(count) => {
                let vendor = devices[set[0]].vendor;
                let one_vendor = set.iter().all(|position| devices[*position].vendor == vendor);
                set.len() == count as usize && (named || one_vendor)
            }
            Count::All => (0..devices.len()).all(|position| is_in(&position) == meant[position]),
        };
        right_size && set.iter().all(|position| serving[*position])
    })
}
