//! Tables: one line has a request and its answer.

use super::fixtures::*;
use super::*;
use crate::allocator;
use crate::model::code::Code;
use crate::model::device::{Node, PciAddress, Vendor};
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{Amount, Count, Request, Selector, Strategy};

fn given(snapshot: &Snapshot<'_>, request: &Request) -> Vec<u32> {
    indices(&allocator::grant(snapshot, request).unwrap())
}

fn refused(snapshot: &Snapshot<'_>, request: &Request) -> Refusal {
    allocator::grant(snapshot, request).unwrap_err()
}

fn count(count: u32) -> Request {
    Request { count: Count::Exactly(count), ..whole() }
}

fn all() -> Request {
    Request { count: Count::All, ..whole() }
}

fn named(selectors: &[Selector]) -> Request {
    let devices = selectors.to_vec();
    Request { count: Count::Exactly(u32::try_from(devices.len()).unwrap()), devices, ..whole() }
}

fn mixed() -> Node {
    node(vec![h100(0), h100(1), mi300x(2), mi300x(3)])
}

#[test]
fn shares_that_add_up_to_a_device_fit_exactly() {
    for by_memory in [false, true] {
        for device in [h100(0), mi300x(0)] {
            for shares in [vec![800, 200], vec![900, 100], vec![100; 10], vec![333, 333, 334]] {
                let node = node(vec![device.clone()]);
                let mut snapshot = snapshot(&node);
                for (i, milli) in shares.iter().copied().enumerate() {
                    let request = if by_memory {
                        share(None, Some(MilliGpu(milli).of(device.leasable())))
                    } else {
                        share(Some(milli), None)
                    };
                    let grant = allocator::grant(&snapshot, &request)
                        .unwrap_or_else(|refusal| panic!("{shares:?}: {}", words(&refusal)));
                    // The memory was rounded down above, and compute follows it down.
                    let least = milli - u32::from(by_memory);
                    assert!((least..=milli).contains(&grant.devices[0].milli.0));
                    snapshot.holds.extend(holds_of(&grant, &format!("{i}")));
                }
                let refusal = refused(&snapshot, &share(Some(100), None));
                assert_eq!(refusal.code, Code::NoCapacity);
            }
        }
    }
}

#[test]
fn what_a_share_leaves_open_follows_in_proportion() {
    let node = h100s(1);
    let capacity = node.devices[0].leasable();
    let granted = |request: &Request| {
        let grant = allocator::grant(&snapshot(&node), request).unwrap();
        (grant.devices[0].milli.0, grant.devices[0].memory.unwrap())
    };
    assert_eq!(granted(&whole()), (1000, capacity));
    assert_eq!(granted(&share(Some(250), None)), (250, Bytes::from_mib(81_008 / 4)));
    assert_eq!(granted(&share(None, Some(Bytes::from_mib(1)))), (100, Bytes::from_mib(1)));
    assert_eq!(granted(&share(None, Some(Bytes::from_mib(40_504)))).0, 500);
    let both = share(Some(300), Some(Bytes::from_mib(70_000)));
    assert_eq!(granted(&both), (300, Bytes::from_mib(70_000)));
}

#[test]
fn selectors_name_devices_by_every_spelling() {
    let node = mixed();
    let snapshot = snapshot(&node);
    for (selector, index) in [
        (Selector::Index(3), 3),
        (Selector::Uuid("gpu-0A5F".into()), 0),
        (Selector::Uuid(node.devices[1].uuid.as_str().to_lowercase()), 1),
        (Selector::Pci(PciAddress { domain: 0, bus: 0x11, device: 0, function: 0 }), 1),
        (Selector::Card(2), 2),
        (Selector::Render(131), 3),
    ] {
        assert_eq!(given(&snapshot, &named(&[selector])), [index]);
    }
    // A card number selects the device even if the card's node is not given to containers.
    let mut known = node.clone();
    known.devices[3].details.card = Some(17);
    let snapshot_of_known = super::fixtures::snapshot(&known);
    assert_eq!(given(&snapshot_of_known, &named(&[Selector::Card(17)])), [3]);
    // Devices selected by name may be of two vendors. A count below the number of names takes some.
    let two = named(&[Selector::Index(3), Selector::Index(0)]);
    assert_eq!(given(&snapshot, &two), [0, 3]);
    assert_eq!(given(&snapshot, &Request { count: Count::Exactly(1), ..two }), [0]);
}

#[test]
fn a_selector_means_one_device_or_is_refused() {
    let mut partition = mi300x(4);
    partition.uuid = id(&format!("{}-p1", mi300x(3).uuid));
    let node = node(vec![h100(0), h100(1), mi300x(2), mi300x(3), partition]);
    let snapshot = snapshot(&node);
    // A complete UUID means its device even if a partition's UUID begins with it.
    let whole_uuid = Selector::Uuid(mi300x(3).uuid.to_string());
    assert_eq!(given(&snapshot, &named(&[whole_uuid])), [3]);

    let refusal = refused(&snapshot, &named(&[Selector::Uuid("gpu-0000".into())]));
    assert_eq!(refusal.code, Code::NoMatch);
    assert_eq!(refusal.summary, "the selector `gpu-0000` is ambiguous: it matches GPU 2-4");
    assert!(words(&refusal).contains("; GPU 0-1 (NVIDIA H100 80GB HBM3): does not match"));
    for nothing in [
        Selector::Index(9),
        Selector::Uuid(String::new()),
        Selector::Uuid("GPU-ü".into()),
        Selector::Uuid("x\u{1b}[31m".into()),
        Selector::Card(0),
        Selector::Render(128),
    ] {
        let refusal = refused(&snapshot, &named(&[Selector::Index(0), nothing]));
        assert_eq!(refusal.code, Code::NoMatch);
        assert!(refusal.summary.ends_with("names no device of this node"), "{}", refusal.summary);
        assert!(!words(&refusal).contains('\u{1b}'));
    }
    let twice = refused(&snapshot, &named(&[Selector::Index(0), Selector::Uuid("GPU-0a".into())]));
    assert_eq!(twice.code, Code::NoMatch);
    assert_eq!(twice.hint, "gpulease/devices names 1 of 5 devices, one of them twice");
}

#[test]
fn each_filter_has_its_reason_and_is_blamed() {
    let mut node = mixed();
    node.devices[1].healthy = Some(false);
    let mut snapshot = snapshot(&node);
    snapshot.cordoned.insert(node.devices[0].uuid.clone());
    let gib = |gib: u64| Some(Bytes::from_mib(gib * 1024));
    let nvidia = Request { vendor: Some(Vendor::Nvidia), ..whole() };
    type Row = (Request, usize, &'static str, &'static str);
    let table: Vec<Row> = vec![
        (named(&[Selector::Index(0)]), 2, "not named by the request", "are in service"),
        (
            nvidia.clone(),
            2,
            "not made by NVIDIA",
            "0 of 1 devices are in service; an administrator cordoned the others",
        ),
        (nvidia, 1, "reported unhealthy", ""),
        (
            Request { model: Some("b200\n".into()), ..whole() },
            0,
            "its model is not like `b200\\n`",
            "gpulease/model matches 0 of 4 devices (2x AMD Instinct MI300X, \
             2x NVIDIA H100 80GB HBM3",
        ),
        (
            Request { min_memory: gib(80), model: Some("*h100*".into()), ..whole() },
            0,
            "has 81559 MiB of memory, at least 80 GiB requested",
            "gpulease/min-memory matches 0 of 2 devices; the largest of them has 81559 MiB",
        ),
        (count(3), 0, "cordoned: taken out of service by an administrator", ""),
        (share(None, gib(200)), 2, "has 191.9 GiB to lease, 200 GiB requested", "large enough"),
        (share(Some(1500), None), 2, "has 1000m of compute, 1500m requested", "large enough"),
    ];
    for (request, index, reason, hint) in table {
        let refusal = refused(&snapshot, &request);
        assert_eq!(refusal.code, Code::NoMatch, "{refusal:?}");
        assert_eq!(refusal.verdicts[index].reason, reason);
        assert!(refusal.hint.contains(hint), "{}", refusal.hint);
    }
}

#[test]
fn a_busy_device_says_who_has_it_and_what_is_free() {
    let node = h100s(4);
    let mut snapshot = snapshot(&node);
    snapshot.holds = vec![
        hold_whole(&node.devices[0], "train"),
        hold(&node.devices[1], 500, "web"),
        hold(&node.devices[2], 200, "d"),
        hold(&node.devices[2], 200, "b"),
        hold(&node.devices[2], 200, "a"),
        hold(&node.devices[2], 200, "c"),
        Hold { memory: Bytes::from_mib(81_008), ..hold(&node.devices[3], 100, "llm") },
    ];
    let reasons = |request: &Request| -> Vec<String> {
        let refusal = refused(&snapshot, request);
        assert_eq!(refusal.code, Code::NoCapacity);
        refusal.verdicts.into_iter().map(|verdict| verdict.reason).collect()
    };
    let asked = reasons(&share(Some(600), None));
    assert_eq!(asked[0], "held exclusively by lease l-train of container train (docker)");
    assert_eq!(
        asked[1],
        "500m and 40504 MiB free, 600m and 48604 MiB requested; \
         held by lease l-web of container web (docker)"
    );
    assert_eq!(
        asked[2],
        "200m and 16201 MiB free, 600m and 48604 MiB requested; held by lease l-a of container a \
         (docker), lease l-b of container b (docker), lease l-c of container c (docker) and 1 more"
    );
    assert!(
        asked[3].starts_with("900m and 0 MiB free, 48604 MiB requested; held by"),
        "{}",
        asked[3]
    );
    assert!(reasons(&whole())[1].starts_with("500m and 40504 MiB free, requested whole; held by"));
}

#[test]
fn summary_and_hint_name_request_and_devices() {
    let node = mixed();
    let mut snapshot = snapshot(&node);
    snapshot.holds = vec![hold(&node.devices[0], 800, "a"), hold_whole(&node.devices[2], "b")];
    let summary = |request: &Request| refused(&snapshot, request).summary;
    let nvidia = Request { vendor: Some(Vendor::Nvidia), ..count(2) };
    assert_eq!(summary(&nvidia), "2 NVIDIA devices requested, 1 of 4 available");
    // The summary counts the rows that say `fits`, and how many of them form a set.
    assert_eq!(
        summary(&count(2)),
        "2 devices of one vendor requested, 2 of 4 fit, but only 1 of one vendor"
    );
    let fits = refused(&snapshot, &count(2)).verdicts.into_iter().filter(|verdict| verdict.fits);
    assert_eq!(fits.count(), 2);
    assert_eq!(summary(&all()), "all 4 devices requested, 2 available");
    let b200s = Request { model: Some("b200".into()), ..all() };
    assert_eq!(summary(&b200s), "all devices like `b200` requested, none of 4 matches");
    let share = share(Some(500), Some(Bytes::from_mib(4000)));
    let share = Request { vendor: Some(Vendor::Nvidia), count: Count::Exactly(2), ..share };
    let refusal = refused(&snapshot, &share);
    assert_eq!(
        refusal.summary,
        "2 NVIDIA devices with 500m and 4000 MiB each requested, 1 of 4 available"
    );
    assert!(refusal.hint.contains("fewer devices or a smaller share"), "{}", refusal.hint);
    assert!(!refusal.hint.contains("gpulease/wait"));
    let three = refused(&snapshot, &count(3));
    assert_eq!(three.code, Code::NoMatch);
    assert!(three.hint.starts_with("the devices of a set are of one vendor"), "{}", three.hint);

    snapshot.holds = node.devices.iter().map(|device| hold_whole(device, "a")).collect();
    for request in [whole(), Request { count: Count::Exactly(1), ..share.clone() }] {
        let hint = refused(&snapshot, &request).hint;
        assert!(hint.contains("shows the holders; wait until"), "{hint}");
    }
    let hint = refused(&snapshot, &share).hint;
    assert!(hint.contains("shows the holders; ask for fewer devices, or wait"), "{hint}");

    let nothing = Node::default();
    let refusal = refused(&super::fixtures::snapshot(&nothing), &whole());
    assert_eq!(refusal.code, Code::NoMatch);
    assert_eq!(
        words(&refusal),
        "no-match: 1 device requested, the node has none; hint: \"gpulease devices\" says where \
         devices were looked for"
    );
    assert_eq!(refused(&super::fixtures::snapshot(&nothing), &all()).code, Code::NoMatch);
}

#[test]
fn all_is_every_device_in_service_or_none() {
    let mut node = mixed();
    let free = snapshot(&node);
    assert_eq!(given(&free, &all()), [0, 1, 2, 3]);
    let mut cordoned = free.clone();
    cordoned.cordoned.insert(node.devices[1].uuid.clone());
    assert_eq!(given(&cordoned, &all()), [0, 2, 3]);
    // A named device that is cordoned is a contradiction, so it is not left out in silence.
    let both = Request { devices: vec![Selector::Index(0), Selector::Index(1)], ..all() };
    assert_eq!(refused(&cordoned, &both).code, Code::NoMatch);
    let mut held = free.clone();
    held.holds.push(hold(&node.devices[3], 100, "a"));
    assert_eq!(refused(&held, &all()).code, Code::NoCapacity);
    let mut grace = free.clone();
    grace.holds.push(Hold { grace: true, ..hold_whole(&node.devices[3], "a") });
    assert_eq!(given(&grace, &all()), [0, 1, 2, 3]);
    node.devices[0].healthy = Some(false);
    let refusal = refused(&snapshot(&node), &all());
    assert_eq!(refusal.code, Code::NoMatch);
    assert!(refusal.hint.starts_with("3 of 4 devices are healthy"), "{}", refusal.hint);
}

#[test]
fn strategies_pack_spread_or_take_the_first() {
    let node = h100s(3);
    let mut snapshot = snapshot(&node);
    snapshot.holds = vec![hold(&node.devices[1], 300, "a"), hold(&node.devices[2], 600, "b")];
    for (strategy, one, two) in [
        (Strategy::FirstFit, [0], [0, 1]),
        (Strategy::BestFit, [2], [1, 2]),
        (Strategy::WorstFit, [0], [0, 1]),
    ] {
        let request = Request { strategy, ..share(Some(200), None) };
        assert_eq!(given(&snapshot, &request), one, "{strategy:?}");
        assert_eq!(
            given(&snapshot, &Request { count: Count::Exactly(2), ..request.clone() }),
            two,
            "{strategy:?}"
        );
    }
}

#[test]
fn best_fit_sees_both_compute_and_memory() {
    let node = h100s(2);
    let mut snapshot = snapshot(&node);
    // GPU 0 has less free compute, but with the memory counted it has more free.
    snapshot.holds = vec![
        Hold { memory: Bytes::from_mib(100), ..hold(&node.devices[0], 400, "a") },
        Hold { memory: Bytes::from_mib(60_000), ..hold(&node.devices[1], 300, "b") },
    ];
    assert_eq!(given(&snapshot, &share(Some(100), None)), [1]);
}

#[test]
fn best_fit_wastes_the_least_on_an_exclusive_share() {
    let node = node(vec![mi300x(0), h100(1)]);
    let share = share(None, Some(Bytes::from_mib(70_000)));
    let alone = Request { sharing: Sharing::Exclusive, ..share };
    assert_eq!(given(&snapshot(&node), &alone), [1]);
}

#[test]
fn grace_is_taken_last_and_former_devices_first() {
    let node = h100s(3);
    let mut snapshot = snapshot(&node);
    let grace = |i: usize| Hold { grace: true, ..hold_whole(&node.devices[i], "gone") };
    snapshot.holds = vec![grace(0), grace(1)];
    assert_eq!(given(&snapshot, &whole()), [2]);
    assert_eq!(given(&snapshot, &count(2)), [0, 2]);
    snapshot.holds.push(hold(&node.devices[2], 500, "here"));
    assert_eq!(given(&snapshot, &share(Some(300), None)), [2]);
    assert_eq!(given(&snapshot, &share(Some(600), None)), [0]);
    snapshot.prefer.insert(node.devices[1].uuid.clone());
    assert_eq!(given(&snapshot, &share(Some(300), None)), [1]);
    assert_eq!(given(&snapshot, &count(2)), [0, 1]);
    snapshot.holds.push(hold(&node.devices[1], 100, "new"));
    assert_eq!(given(&snapshot, &whole()), [0], "a former device that is taken is no obstacle");
}

#[test]
fn a_set_is_of_one_vendor_and_the_strategy_says_which() {
    let node = mixed();
    let mut snapshot = snapshot(&node);
    assert_eq!(given(&snapshot, &count(2)), [0, 1]);
    let amd = Request { vendor: Some(Vendor::Amd), ..count(2) };
    assert_eq!(given(&snapshot, &amd), [2, 3]);
    snapshot.holds = vec![hold(&node.devices[2], 500, "a"), hold(&node.devices[3], 500, "b")];
    let shares = Request { count: Count::Exactly(2), ..share(Some(500), None) };
    assert_eq!(given(&snapshot, &shares), [2, 3]);
    let spread = Request { strategy: Strategy::WorstFit, ..shares.clone() };
    assert_eq!(given(&snapshot, &spread), [0, 1]);
    snapshot.prefer.insert(node.devices[1].uuid.clone());
    assert_eq!(given(&snapshot, &shares), [0, 1]);
}

#[test]
fn holds_on_unknown_devices_are_ignored() {
    let node = h100s(1);
    let mut snapshot = snapshot(&node);
    snapshot.holds = vec![hold_whole(&h100(7), "ghost")];
    assert_eq!(given(&snapshot, &whole()), [0]);
}

#[test]
fn amounts_that_the_parser_refuses_are_refused() {
    let node = h100s(1);
    for request in [
        count(0),
        share(None, None),
        share(Some(99), None),
        share(Some(0), Some(Bytes(1))),
        share(None, Some(Bytes(0))),
    ] {
        assert_eq!(refused(&snapshot(&node), &request).code, Code::BadRequest, "{request:?}");
    }
    let alone = Request { sharing: Sharing::Exclusive, ..share(Some(500), None) };
    let mut snapshot = snapshot(&node);
    let grant = allocator::grant(&snapshot, &alone).unwrap();
    assert_eq!(grant.devices[0].milli, MilliGpu(500));
    snapshot.holds = holds_of(&grant, "alone");
    assert_eq!(refused(&snapshot, &share(Some(100), None)).code, Code::NoCapacity);
    assert!(matches!(alone.amount, Amount::Share { .. }));
}
