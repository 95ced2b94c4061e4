//! Properties over random small nodes, against a brute-force oracle that shares no code with the
//! allocator but the arithmetic of shares.

use super::fixtures::*;
use super::*;
use crate::model::code::Code;
use crate::model::device::{Device, Link, LinkKind, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{Amount, Count, Request, Selector, Strategy as Choice, Topology};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// All that [`allocate`] gets, owned.
#[derive(Debug, Clone)]
struct Case {
    node: Node,
    holds: Vec<Hold>,
    prefer: BTreeSet<DeviceId>,
    cordoned: BTreeSet<DeviceId>,
    request: Request,
}

impl Case {
    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            node: &self.node,
            holds: self.holds.clone(),
            prefer: self.prefer.clone(),
            cordoned: self.cordoned.clone(),
        }
    }

    fn answer(&self) -> Result<Grant, Refusal> {
        allocate(&self.snapshot(), &self.request)
    }
}

fn devices() -> impl Strategy<Value = Vec<Device>> {
    let one =
        (any::<bool>(), prop::sample::select(vec![None, Some(true), Some(true), Some(false)]));
    prop::collection::vec(one, 0..=4).prop_map(|kinds| {
        let numbered = kinds.into_iter().zip(0..);
        numbered
            .map(|((amd, healthy), index)| {
                let device = if amd { mi300x(index) } else { h100(index) };
                Device { healthy, ..device }
            })
            .collect()
    })
}

/// Holds of sane amounts, on devices of the node or of none, that together stay within it.
fn holds(devices: &[Device]) -> impl Strategy<Value = Vec<Hold>> + use<> {
    let mut targets = devices.to_vec();
    targets.push(h100(9));
    let amounts = prop::sample::select(vec![100_u32, 200, 250, 300, 500, 1000]);
    let one = (prop::sample::select(targets), amounts, any::<bool>(), any::<bool>(), 0..100_u64);
    prop::collection::vec(one, 0..8).prop_map(|picks| {
        let mut holds: Vec<Hold> = Vec::new();
        for (number, (device, milli, exclusive, grace, percent)) in picks.into_iter().enumerate() {
            let mut new = hold(&device, milli, &format!("{number}"));
            new.grace = grace;
            if exclusive && milli == 1000 {
                new.sharing = Sharing::Exclusive;
            } else {
                new.memory = Bytes(device.capacity().0 / 100 * percent);
            }
            let (free_milli, free_memory, company) = left(&device, &holds, |_| true);
            let alone = new.sharing == Sharing::Exclusive;
            let fits = new.milli.0 <= free_milli && new.memory.0 <= free_memory;
            if fits && company != Some(Sharing::Exclusive) && !(alone && company.is_some()) {
                holds.push(new);
            }
        }
        holds
    })
}

fn selectors() -> impl Strategy<Value = Vec<Selector>> {
    let one = prop_oneof![
        4 => (0..5_u32).prop_map(Selector::Index),
        1 => (0..4_u32).prop_map(Selector::Card),
        1 => prop::sample::select(vec!["GPU-0", "gpu-1A", "GPU-"])
            .prop_map(|prefix| Selector::Uuid(prefix.into())),
    ];
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..4)]
}

fn amounts() -> impl Strategy<Value = (Amount, Sharing)> {
    let compute = prop::sample::select(vec![100_u32, 200, 250, 500, 700, 1000, 1001]);
    let memory = prop::sample::select(vec![1_u64, 4000, 40_504, 81_008, 81_009, 196_000, 200_000]);
    let share = (prop::option::of(compute), prop::option::of(memory)).prop_map(|(c, m)| {
        let c = if c.is_none() && m.is_none() { Some(500) } else { c };
        Amount::Share { compute: c.map(MilliGpu), memory: m.map(Bytes::from_mib) }
    });
    prop_oneof![
        1 => Just((Amount::Whole, Sharing::Exclusive)),
        3 => share.clone().prop_map(|amount| (amount, Sharing::Shared)),
        1 => share.prop_map(|amount| (amount, Sharing::Exclusive)),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    (
        prop_oneof![4 => (1..4_u32).prop_map(Count::Exactly), 1 => Just(Count::All)],
        selectors(),
        prop_oneof![3 => Just(None), 1 => Just(Some(Vendor::Nvidia)), 1 => Just(Some(Vendor::Amd))],
        prop::sample::select(vec![None, None, None, Some("h100"), Some("*mi300?")]),
        amounts(),
        prop::sample::select(vec![None, None, Some(81_008_u64), Some(90_000), Some(900_000)]),
        prop::sample::select(vec![Choice::FirstFit, Choice::BestFit, Choice::WorstFit]),
        any::<bool>(),
    )
        .prop_map(
            |(count, devices, vendor, model, (amount, sharing), least, strategy, linked)| Request {
                count,
                devices,
                vendor,
                model: model.map(str::to_owned),
                amount,
                sharing,
                min_memory: least.map(Bytes::from_mib),
                strategy,
                topology: if linked { Topology::Preferred } else { Topology::None },
                ..whole()
            },
        )
}

fn cases() -> impl Strategy<Value = Case> {
    devices().prop_flat_map(|devices| {
        let uuids: Vec<DeviceId> = devices.iter().map(|device| device.uuid.clone()).collect();
        let none_or_some = |uuids: &[DeviceId], least: usize| {
            prop::sample::subsequence(uuids.to_vec(), 0..=uuids.len().min(least))
                .prop_map(|chosen| chosen.into_iter().collect::<BTreeSet<_>>())
        };
        let pairs: Vec<(usize, usize)> =
            (0..devices.len()).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        let most = pairs.len();
        (
            holds(&devices),
            none_or_some(&uuids, 2),
            none_or_some(&uuids, 1),
            requests(),
            prop::sample::subsequence(pairs, 0..=most),
        )
            .prop_map(move |(holds, prefer, cordoned, request, pairs)| {
                let link = |(a, b): (usize, usize)| Link {
                    a: uuids[a].clone(),
                    b: uuids[b].clone(),
                    kind: LinkKind::NvLink,
                    lanes: 1,
                };
                let links = pairs.into_iter().map(link).collect();
                let node = Node { devices: devices.clone(), links, ..Node::default() };
                Case { node, holds, prefer, cordoned, request }
            })
    })
}

/// Compute and memory left on a device by the holds that count, and in whose company one is.
fn left(
    device: &Device,
    holds: &[Hold],
    counts: impl Fn(&Hold) -> bool,
) -> (u32, u64, Option<Sharing>) {
    let here: Vec<&Hold> =
        holds.iter().filter(|hold| hold.device == device.uuid && counts(hold)).collect();
    let milli: u32 = here.iter().map(|hold| hold.milli.0).sum();
    let memory: u64 = here.iter().map(|hold| hold.memory.0).sum();
    let company = here.iter().map(|hold| hold.sharing).min();
    (1000 - milli, device.capacity().0 - memory, company)
}

fn demanded(request: &Request, device: &Device) -> (u32, u64) {
    let all = device.capacity();
    match request.amount {
        Amount::Whole => (1000, all.0),
        Amount::Share { compute: Some(c), memory } => (c.0, memory.unwrap_or(c.of(all)).0),
        Amount::Share { compute: None, memory: Some(m) } => (m.proportion_of(all).0, m.0),
        Amount::Share { compute: None, memory: None } => unreachable!(),
    }
}

/// Which devices a selector names; more or fewer than one make the request impossible.
fn meaning(node: &Node, selector: &Selector) -> Vec<u32> {
    let test = |device: &&Device| match selector {
        Selector::Index(index) => device.index == *index,
        Selector::Uuid(p) => device.uuid.as_str().to_lowercase().starts_with(&p.to_lowercase()),
        Selector::Card(n) => device.nodes.iter().any(|x| x.path == format!("/dev/dri/card{n}")),
        Selector::Pci(_) | Selector::Render(_) => unreachable!(),
    };
    node.devices.iter().filter(test).map(|device| device.index).collect()
}

fn wanted(case: &Case, device: &Device) -> bool {
    let request = &case.request;
    let named = request.devices.is_empty()
        || request.devices.iter().any(|s| meaning(&case.node, s) == [device.index]);
    let model = match request.model.as_deref() {
        None => true,
        Some("h100") => device.model.contains("H100"),
        Some(_) => device.model.ends_with("MI300X"),
    };
    named
        && model
        && request.vendor.is_none_or(|vendor| vendor == device.vendor)
        && request.min_memory.is_none_or(|least| device.memory_total_bytes >= least)
}

fn serves(case: &Case, device: &Device, holds: &[Hold]) -> bool {
    let (milli, memory, company) = left(device, holds, |hold| !hold.grace);
    let (need_milli, need_memory) = demanded(&case.request, device);
    let good_company = match case.request.sharing {
        Sharing::Exclusive => company.is_none(),
        Sharing::Shared => company != Some(Sharing::Exclusive),
    };
    wanted(case, device)
        && device.healthy != Some(false)
        && !case.cordoned.contains(&device.uuid)
        && good_company
        && need_milli <= milli
        && need_memory <= memory
}

/// Whether any set of devices satisfies the request, by trying every one.
fn feasible(case: &Case, holds: &[Hold]) -> bool {
    let named = !case.request.devices.is_empty();
    if case.request.devices.iter().any(|s| meaning(&case.node, s).len() != 1) {
        return false;
    }
    let devices = &case.node.devices;
    (1..1_u32 << devices.len()).any(|bits| {
        let is_in = |device: &&Device| bits >> device.index & 1 == 1;
        let set: Vec<&Device> = devices.iter().filter(is_in).collect();
        let right_size = match case.request.count {
            Count::Exactly(count) => {
                let one_vendor = set.iter().all(|device| device.vendor == set[0].vendor);
                set.len() == count as usize && (named || one_vendor)
            }
            Count::All => devices
                .iter()
                .filter(|d| wanted(case, d) && (named || !case.cordoned.contains(&d.uuid)))
                .eq(set.iter().copied()),
        };
        right_size && set.iter().all(|device| serves(case, device, holds))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_answer_is_right(case in cases()) {
        let firm: Vec<Hold> = case.holds.iter().filter(|hold| !hold.grace).cloned().collect();
        match case.answer() {
            Ok(grant) => {
                prop_assert!(!grant.devices.is_empty());
                prop_assert!(grant.devices.windows(2).all(|two| two[0].index < two[1].index));
                if let Count::Exactly(count) = case.request.count {
                    prop_assert_eq!(grant.devices.len(), count as usize);
                }
                for granted in &grant.devices {
                    let device = case.node.device(&granted.uuid).unwrap();
                    prop_assert!(serves(&case, device, &case.holds), "{:?}", granted);
                    let amounts = (granted.milli.0, granted.memory.0);
                    prop_assert_eq!(amounts, demanded(&case.request, device));
                    prop_assert_eq!(granted.sharing, case.request.sharing);
                }
                prop_assert!(feasible(&case, &case.holds));
            }
            Err(refusal) => {
                prop_assert!(!feasible(&case, &case.holds), "{}", refusal.one_line());
                let ever = feasible(&case, &[]);
                let code = if ever { Code::NoCapacity } else { Code::NoMatch };
                prop_assert_eq!(refusal.code, code);
                prop_assert_eq!(refusal.verdicts.len(), case.node.devices.len());
                prop_assert!(refusal.verdicts.iter().all(|verdict| !verdict.reason.is_empty()));
                let line = refusal.one_line();
                prop_assert!(line.len() <= 1800 && !line.contains('\n'));
                // Grace never causes a refusal: without those leases it is the very same.
                let without = Case { holds: firm, ..case.clone() };
                prop_assert_eq!(without.answer().unwrap_err(), refusal);
            }
        }
    }

    #[test]
    fn the_answer_hangs_on_nothing_else(case in cases(), seed in any::<prop::sample::Index>()) {
        let answer = case.answer();
        prop_assert_eq!(&case.answer(), &answer);
        let mut shuffled = case.clone();
        shuffled.holds.reverse();
        let turn = seed.index(shuffled.holds.len().max(1));
        shuffled.holds.rotate_left(turn.min(case.holds.len()));
        shuffled.node.links.reverse();
        prop_assert_eq!(shuffled.answer(), answer);
    }

    #[test]
    fn former_devices_come_first_and_grace_last(case in cases()) {
        let Ok(grant) = case.answer() else { return Ok(()) };
        let Count::Exactly(_) = case.request.count else { return Ok(()) };
        let got = |device: &Device| grant.devices.iter().any(|g| g.uuid == device.uuid);
        let class = |device: &Device| {
            let firm: Vec<Hold> =
                case.holds.iter().map(|h| Hold { grace: false, ..h.clone() }).collect();
            (!case.prefer.contains(&device.uuid), !serves(&case, device, &firm))
        };
        let vendor = grant.devices[0].vendor;
        let one_vendor = case.request.devices.is_empty();
        for left_out in case.node.devices.iter().filter(|d| !got(d)) {
            if (one_vendor && left_out.vendor != vendor) || !serves(&case, left_out, &case.holds) {
                continue;
            }
            let taken = case.node.devices.iter().filter(|d| got(d));
            prop_assert!(taken.map(class).max() <= Some(class(left_out)));
        }
    }

    /// Containers come and go; the ledger never holds more than there is, an exclusive holder is
    /// alone, and a release undoes its grant.
    #[test]
    fn a_life_of_grants_and_releases_never_over_commits(
        case in cases(),
        steps in prop::collection::vec((requests(), any::<prop::sample::Index>()), 1..12),
    ) {
        let mut case = case;
        case.holds.retain(|hold| !hold.grace);
        let mut leases: Vec<Vec<Hold>> = Vec::new();
        for (number, (request, index)) in steps.into_iter().enumerate() {
            case.request = request;
            let before = case.holds.clone();
            let answer = case.answer();
            if let Ok(grant) = &answer {
                let holds = holds_of(grant, &format!("step-{number}"));
                case.holds.extend(holds.clone());
                let ghost = h100(9).uuid;
                for device in &case.node.devices {
                    let here: Vec<&Hold> =
                        case.holds.iter().filter(|hold| hold.device == device.uuid).collect();
                    prop_assert!(here.iter().map(|hold| hold.milli.0).sum::<u32>() <= 1000);
                    let memory: u64 = here.iter().map(|hold| hold.memory.0).sum();
                    prop_assert!(memory <= device.capacity().0);
                    let alone = here.iter().any(|hold| hold.sharing == Sharing::Exclusive);
                    prop_assert!(device.uuid != ghost && (!alone || here.len() == 1));
                }
                let mut released = case.clone();
                released.holds.retain(|hold| !holds.contains(hold));
                prop_assert_eq!(&released.holds, &before);
                prop_assert_eq!(released.answer(), answer);
                leases.push(holds);
            } else if !leases.is_empty() {
                let gone = leases.swap_remove(index.index(leases.len()));
                case.holds.retain(|hold| !gone.contains(hold));
            }
        }
    }

    #[test]
    fn shares_that_add_up_fit(parts in prop::collection::vec(100..=900_u32, 1..10), amd: bool) {
        let device = if amd { mi300x(0) } else { h100(0) };
        let capacity = device.capacity();
        let node = node(vec![device]);
        let mut snapshot = snapshot(&node);
        let mut sum = 0;
        for (number, milli) in parts.into_iter().enumerate() {
            let memory = MilliGpu(milli).of(capacity);
            let request =
                if number % 2 == 0 { share(Some(milli), None) } else { share(None, Some(memory)) };
            let answer = allocate(&snapshot, &request);
            prop_assert_eq!(answer.is_ok(), sum + milli <= 1000);
            if let Ok(grant) = answer {
                sum += milli;
                snapshot.holds.extend(holds_of(&grant, &number.to_string()));
            }
        }
    }
}
