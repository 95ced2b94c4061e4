//! Properties over random small nodes, against a brute-force oracle.

use super::fixtures::*;
use super::oracle::{Case, are_kin, demanded, feasible, is_replaced, left, serves};
use super::*;
use crate::allocator;
use crate::model::code::Code;
use crate::model::device::{Device, Link, LinkKind, Node, Vendor};
use crate::model::id::DeviceId;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::MigProfile;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{
    Amount, Count, MigChoice, Request, RequestSource, Selector, Strategy as Choice, Topology,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Kind {
    Amd,
    Nvidia,
    /// In MIG mode, with instances of these profiles.
    Mig(Vec<&'static str>),
}

fn devices() -> impl Strategy<Value = Vec<Device>> {
    let profile = prop::sample::select(vec!["1g.10gb", "3g.40gb"]);
    let kind = prop_oneof![
        2 => Just(Kind::Amd),
        2 => Just(Kind::Nvidia),
        1 => prop::collection::vec(profile, 0..=2).prop_map(Kind::Mig),
    ];
    let healthy = prop::sample::select(vec![None, Some(true), Some(true), Some(false)]);
    prop::collection::vec((kind, healthy, any::<bool>()), 0..=4).prop_map(|kinds| {
        let numbered = kinds.into_iter().zip(0..);
        let devices = numbered.flat_map(|((kind, healthy, known), index)| match kind {
            Kind::Amd if known => {
                vec![made_of(Device { healthy, ..mi300x(index) }, "gfx942", 304, 8, 4)]
            }
            Kind::Nvidia if known => {
                vec![made_of(Device { healthy, ..h100(index) }, "9.0", 132, 1, 1)]
            }
            Kind::Amd => vec![Device { healthy, ..mi300x(index) }],
            Kind::Nvidia => vec![Device { healthy, ..h100(index) }],
            Kind::Mig(profiles) => in_mig_mode(Device { healthy, ..h100(index) }, &profiles),
        });
        devices.collect()
    })
}

/// Holds of valid amounts that together stay within the node. Some are on unknown devices.
fn holds(devices: &[Device]) -> impl Strategy<Value = Vec<Hold>> + use<> {
    let devices = devices.to_vec();
    let mut targets = devices.clone();
    targets.push(h100(9));
    let amounts = prop::sample::select(vec![100_u32, 200, 250, 300, 500, 1000]);
    let kind = prop::sample::select(vec![
        None,
        Some(Isolation::None),
        Some(Isolation::TimeSlicing),
        Some(Isolation::Mps),
        Some(Isolation::CuMask),
    ]);
    let kind = (kind, prop::sample::select(vec![0_u32, 0, 0, 1000]));
    let shares = (any::<bool>(), any::<bool>(), kind);
    let one = (prop::sample::select(targets), amounts, shares, 0..100_u64);
    prop::collection::vec(one, 0..8).prop_map(move |picks| {
        let mut holds: Vec<Hold> = Vec::new();
        for (number, (device, milli, (exclusive, grace, (isolation, uid)), percent)) in
            picks.into_iter().enumerate()
        {
            let mut new = hold(&device, milli, &format!("{number}"));
            new.grace = grace;
            new.kind.isolation = isolation;
            new.kind.uid = (isolation == Some(Isolation::Mps)).then_some(uid);
            if exclusive && milli == 1000 {
                new.sharing = Sharing::Exclusive;
            } else {
                new.memory = Bytes(device.leasable().0 / 100 * percent);
            }
            let (free_milli, free_memory, sharing) = left(&devices, &device, &holds, |_| true);
            let alone = new.sharing == Sharing::Exclusive;
            let fits = new.milli.0 <= free_milli && new.memory.0 <= free_memory;
            if fits && sharing != Some(Sharing::Exclusive) && !(alone && sharing.is_some()) {
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
        2 => (0..4_u32, 0..2_u32).prop_map(|(gpu, mig)| Selector::Instance(gpu, mig)),
        1 => prop::sample::select(vec!["GPU-0", "gpu-1A", "GPU-", "mig-0", "MIG-1"])
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

/// GPUs or instances, and the source of the request: only engines give a GPU that is in MIG mode.
fn choices() -> impl Strategy<Value = (MigChoice, RequestSource)> {
    let profile = |name| MigChoice::Instances(Some(MigProfile::new(name).unwrap()));
    let kinds = vec![
        MigChoice::Gpus,
        MigChoice::Gpus,
        MigChoice::Either,
        MigChoice::Instances(None),
        profile("1g.10gb"),
    ];
    let sources =
        vec![RequestSource::Annotations, RequestSource::Annotations, RequestSource::Injected];
    (prop::sample::select(kinds), prop::sample::select(sources))
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
        (
            any::<bool>(),
            choices(),
            prop::sample::select(vec![
                Isolation::Auto,
                Isolation::Auto,
                Isolation::Mps,
                Isolation::CuMask,
                Isolation::TimeSlicing,
                Isolation::None,
            ]),
        ),
    )
        .prop_map(
            |(
                count,
                devices,
                vendor,
                model,
                (amount, sharing),
                least,
                strategy,
                (linked, (mig, source), isolation),
            )| Request {
                count,
                devices,
                vendor,
                model: model.map(str::to_owned),
                amount,
                sharing,
                min_memory: least.map(Bytes::from_mib),
                mig,
                source,
                isolation,
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
            (none_or_some(&uuids, 2), prop::sample::select(vec![false, false, true])),
            requests(),
            prop::sample::subsequence(pairs, 0..=most),
        )
            .prop_map(
                move |(holds, prefer, cordoned, (busy, refuse_busy), request, pairs)| {
                    let link = |(a, b): (usize, usize)| Link {
                        a: uuids[a].clone(),
                        b: uuids[b].clone(),
                        kind: LinkKind::NvLink,
                        lanes: 1,
                    };
                    let links = pairs.into_iter().map(link).collect();
                    let node = Node { devices: devices.clone(), links, ..Node::default() };
                    Case { node, holds, prefer, cordoned, busy, refuse_busy, request }
                },
            )
    })
}

fn answer(case: &Case) -> Result<Grant, Refusal> {
    allocator::grant(&case.snapshot(), &case.request)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_answer_is_right(case in cases()) {
        let firm: Vec<Hold> = case.holds.iter().filter(|hold| !hold.grace).cloned().collect();
        match answer(&case) {
            Ok(grant) => {
                prop_assert!(!grant.devices.is_empty());
                prop_assert!(grant.devices.windows(2).all(|two| two[0].place() < two[1].place()));
                if let Count::Exactly(count) = case.request.count {
                    prop_assert_eq!(grant.devices.len(), count as usize);
                }
                for granted in &grant.devices {
                    let device = case.node.device(&granted.uuid).unwrap();
                    prop_assert!(serves(&case, device, &case.holds), "{:?}", granted);
                    let amounts = (granted.milli.0, granted.memory.unwrap().0);
                    prop_assert_eq!(amounts, demanded(&case.request, device));
                    prop_assert_eq!(granted.sharing, case.request.sharing);
                }
                prop_assert!(feasible(&case, &case.holds));
            }
            Err(refusal) => {
                prop_assert!(!feasible(&case, &case.holds), "{}", words(&refusal));
                let idle = Case { busy: BTreeSet::new(), ..case.clone() };
                let ever = feasible(&idle, &[]);
                let code = if ever { Code::NoCapacity } else { Code::NoMatch };
                prop_assert_eq!(refusal.code, code);
                prop_assert_eq!(refusal.verdicts.len(), case.node.devices.len());
                prop_assert!(refusal.verdicts.iter().all(|verdict| !verdict.reason.is_empty()));
                let line = words(&refusal);
                prop_assert!(line.len() <= 1800 && !line.contains('\n'));
                // Leases in their grace never cause a refusal: without them the answer is the same.
                let without = Case { holds: firm, ..case.clone() };
                prop_assert_eq!(answer(&without).unwrap_err(), refusal);
            }
        }
    }

    #[test]
    fn the_answer_hangs_on_nothing_else(case in cases(), seed in any::<prop::sample::Index>()) {
        let first = answer(&case);
        prop_assert_eq!(&answer(&case), &first);
        let mut shuffled = case.clone();
        shuffled.holds.reverse();
        let turn = seed.index(shuffled.holds.len().max(1));
        shuffled.holds.rotate_left(turn.min(case.holds.len()));
        shuffled.node.links.reverse();
        prop_assert_eq!(answer(&shuffled), first);
    }

    #[test]
    fn the_ranking_puts_busy_devices_and_grace_last(case in cases()) {
        let Ok(grant) = answer(&case) else { return Ok(()) };
        let Count::Exactly(_) = case.request.count else { return Ok(()) };
        let got = |device: &Device| grant.devices.iter().any(|g| g.uuid == device.uuid);
        let class = |device: &Device| {
            let firm: Vec<Hold> =
                case.holds.iter().map(|h| Hold { grace: false, ..h.clone() }).collect();
            let former = case.prefer.contains(&device.uuid);
            let grace = !serves(&case, device, &firm);
            (case.is_busy(device), is_replaced(&case, device), !former, grace)
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

    /// Containers start and end. The ledger never holds more than the node has, an exclusive holder
    /// is alone, and a release undoes its grant.
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
            let answered = answer(&case);
            if let Ok(grant) = &answered {
                let holds = holds_of(grant, &format!("step-{number}"));
                case.holds.extend(holds.clone());
                let ghost = h100(9).uuid;
                for device in &case.node.devices {
                    let here: Vec<&Hold> =
                        case.holds.iter().filter(|hold| hold.device == device.uuid).collect();
                    prop_assert!(here.iter().map(|hold| hold.milli.0).sum::<u32>() <= 1000);
                    let memory: u64 = here.iter().map(|hold| hold.memory.0).sum();
                    prop_assert!(memory <= device.leasable().0);
                    let alone = here.iter().any(|hold| hold.sharing == Sharing::Exclusive);
                    prop_assert!(device.uuid != ghost && (!alone || here.len() == 1));
                    // No lease has an instance of a GPU that another lease has, or the other way
                    // round.
                    let kin = case.holds.iter().filter(|hold| {
                        are_kin(&case.node.devices, &hold.device, &device.uuid)
                    });
                    prop_assert!(here.is_empty() || kin.count() == 0);
                    let injected = case.request.source == RequestSource::Injected;
                    let granted = grant.devices.iter().any(|g| g.uuid == device.uuid);
                    prop_assert!(injected || !granted || !device.is_in_mig_mode());
                }
                let mut released = case.clone();
                released.holds.retain(|hold| !holds.contains(hold));
                prop_assert_eq!(&released.holds, &before);
                prop_assert_eq!(answer(&released), answered);
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
        let capacity = device.leasable();
        let node = node(vec![device]);
        let mut snapshot = snapshot(&node);
        let mut sum = 0;
        for (number, milli) in parts.into_iter().enumerate() {
            let memory = MilliGpu(milli).of(capacity);
            let request =
                if number % 2 == 0 { share(Some(milli), None) } else { share(None, Some(memory)) };
            let answer = allocator::grant(&snapshot, &request);
            prop_assert_eq!(answer.is_ok(), sum + milli <= 1000);
            if let Ok(grant) = answer {
                sum += milli;
                snapshot.holds.extend(holds_of(&grant, &number.to_string()));
            }
        }
    }
}
