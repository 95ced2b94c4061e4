//! GPUs in MIG mode and their instances.

use super::fixtures::*;
use super::*;
use crate::allocator;
use crate::model::code::Code;
use crate::model::device::Node;
use crate::model::mig::MigProfile;
use crate::model::quantity::Bytes;
use crate::request::{Count, MigChoice, Request, RequestSource, Selector, Strategy};

/// GPU 0 is whole; GPU 1 has 3g.40gb, 2g.20gb and 1g.10gb; GPU 2 has two of 1g.10gb.
fn some_in_mig_mode() -> Node {
    let mut devices = vec![h100(0)];
    devices.extend(in_mig_mode(h100(1), &["3g.40gb", "2g.20gb", "1g.10gb"]));
    devices.extend(in_mig_mode(h100(2), &["1g.10gb", "1g.10gb"]));
    let node = node(devices);
    assert!(node.is_numbered());
    node
}

fn instances(count: u32, profile: Option<&str>) -> Request {
    let profile = profile.map(|name| MigProfile::new(name).unwrap());
    Request { count: Count::Exactly(count), mig: MigChoice::Instances(profile), ..whole() }
}

fn named(selectors: &[Selector]) -> Request {
    let devices = selectors.to_vec();
    let count = Count::Exactly(u32::try_from(devices.len()).unwrap());
    Request { count, devices, mig: MigChoice::Either, ..whole() }
}

fn places(snapshot: &Snapshot<'_>, request: &Request) -> Vec<String> {
    let grant =
        allocator::grant(snapshot, request).unwrap_or_else(|refusal| panic!("{}", words(&refusal)));
    grant.devices.iter().map(|device| device.place().to_string()).collect()
}

fn refused(snapshot: &Snapshot<'_>, request: &Request, code: Code, parts: &[&str]) {
    let refusal = allocator::grant(snapshot, request).unwrap_err();
    let line = words(&refusal);
    assert_eq!(refusal.code, code, "{line}");
    for part in parts {
        assert!(line.contains(part), "no {part} in: {line}");
    }
}

#[test]
fn a_gpu_is_asked_for_and_an_instance_never_given() {
    let node = some_in_mig_mode();
    let mut snapshot = snapshot(&node);
    assert_eq!(places(&snapshot, &whole()), ["0"]);
    assert_eq!(places(&snapshot, &share(Some(500), None)), ["0"]);
    assert_eq!(places(&snapshot, &Request { count: Count::All, ..whole() }), ["0"]);
    let two = Request { count: Count::Exactly(2), ..whole() };
    refused(
        &snapshot,
        &two,
        Code::NoMatch,
        &[
            "2 devices requested, 1 of 3 available; ",
            "; GPU 1-2 (NVIDIA H100 80GB HBM3): in MIG mode: its instances are leased, not the GPU",
            "; MIG 1:0-2, 2:0-1: a MIG instance, but the request is for a GPU",
            "hint: 1 of 3 GPUs are not in MIG mode; gpulease/isolation=mig or gpulease/mig-profile \
             requests a MIG instance, and the node has 3x 1g.10gb, 1x 2g.20gb, 1x 3g.40gb",
        ],
    );
    snapshot.holds = vec![hold_whole(&node.devices[0], "a")];
    refused(&snapshot, &whole(), Code::NoCapacity, &["1 device requested, 0 of 3 available"]);
}

#[test]
fn instances_go_by_profile_smallest_first() {
    let node = some_in_mig_mode();
    let mut snapshot = snapshot(&node);
    assert_eq!(places(&snapshot, &instances(1, Some("3g.40gb"))), ["1:0"]);
    assert_eq!(places(&snapshot, &instances(3, Some("1g.10gb"))), ["1:2", "2:0", "2:1"]);
    assert_eq!(places(&snapshot, &instances(1, None)), ["1:2"]);
    let by = |strategy| Request { strategy, ..instances(1, None) };
    assert_eq!(places(&snapshot, &by(Strategy::FirstFit)), ["1:0"]);
    assert_eq!(places(&snapshot, &by(Strategy::WorstFit)), ["1:0"]);
    let least = Request { min_memory: Some(Bytes::from_mib(12_000)), ..instances(1, None) };
    assert_eq!(places(&snapshot, &least), ["1:1"]);
    let all = Request { count: Count::All, ..instances(1, Some("1g.10gb")) };
    assert_eq!(places(&snapshot, &all), ["1:2", "2:0", "2:1"]);

    snapshot.holds = vec![hold_whole(&node.devices[4], "a")];
    assert_eq!(places(&snapshot, &instances(1, Some("1g.10gb"))), ["2:0"]);
    refused(
        &snapshot,
        &instances(3, Some("1g.10gb")),
        Code::NoCapacity,
        &[
            "3 MIG instances of the profile 1g.10gb requested, 2 of 5 available",
            "GPU 0 (NVIDIA H100 80GB HBM3): not in MIG mode, but the request is for a MIG instance",
            "MIG 1:0 (NVIDIA H100 80GB HBM3 MIG 3g.40gb): a MIG instance of the profile 3g.40gb",
            "MIG 1:2 (NVIDIA H100 80GB HBM3 MIG 1g.10gb): held exclusively by lease l-a of",
            "MIG 2:0-1 (NVIDIA H100 80GB HBM3 MIG 1g.10gb): fits",
        ],
    );
    refused(
        &snapshot,
        &instances(1, Some("7g.80gb")),
        Code::NoMatch,
        &["hint: gpulease/mig-profile matches 0 of 5 MIG instances (3x 1g.10gb"],
    );
}

#[test]
fn a_node_without_instances_says_so() {
    let node = h100s(2);
    refused(
        &snapshot(&node),
        &instances(1, None),
        Code::NoMatch,
        &[
            "1 MIG instance requested, the node has none",
            "hint: the node has no MIG instances; an administrator",
        ],
    );
}

#[test]
fn selectors_name_gpus_and_instances() {
    let node = some_in_mig_mode();
    let snapshot = snapshot(&node);
    let uuid = |text: &str| Selector::Uuid(text.to_owned());
    assert_eq!(places(&snapshot, &named(&[Selector::Index(0)])), ["0"]);
    assert_eq!(places(&snapshot, &named(&[Selector::Instance(1, 2)])), ["1:2"]);
    assert_eq!(
        places(&snapshot, &named(&[uuid("mig-2a5f3c1e-0000-5000-8000-000000000001")])),
        ["2:1"]
    );
    assert_eq!(
        places(&snapshot, &named(&[Selector::Instance(2, 0), Selector::Index(0)])),
        ["0", "2:0"]
    );
    assert_eq!(places(&snapshot, &named(&[Selector::Pci(node.devices[0].pci)])), ["0"]);
    refused(&snapshot, &named(&[uuid("MIG-2a5f")]), Code::NoMatch, &["it matches MIG 2:0-1"]);
    refused(
        &snapshot,
        &named(&[Selector::Instance(1, 3)]),
        Code::NoMatch,
        &["`1:3` names no device"],
    );
    for gpu in [Selector::Index(1), Selector::Pci(node.devices[1].pci)] {
        let reason = "GPU 1 (NVIDIA H100 80GB HBM3): in MIG mode: its instances are leased";
        let hint = "hint: name an instance (2:0";
        refused(&snapshot, &named(std::slice::from_ref(&gpu)), Code::NoMatch, &[reason, hint]);
        // A named device is not left out in silence.
        let all = Request { count: Count::All, ..named(&[gpu.clone(), Selector::Index(0)]) };
        refused(&snapshot, &all, Code::NoMatch, &[reason, "; GPU 0 (NVIDIA H100 80GB HBM3): fits"]);
        // In a request for instances, a GPU stands for its own instances.
        let of_gpu = Request { devices: vec![gpu], ..instances(2, None) };
        assert_eq!(places(&snapshot, &of_gpu), ["1:1", "1:2"]);
    }
    let whole = Request { devices: vec![Selector::Index(0)], ..instances(1, None) };
    refused(&snapshot, &whole, Code::NoMatch, &["GPU 0 (NVIDIA H100 80GB HBM3): not in MIG mode"]);
}

#[test]
fn an_instance_has_no_shares() {
    let node = some_in_mig_mode();
    let part = share(Some(500), None);
    let request = Request {
        amount: part.amount,
        sharing: part.sharing,
        ..named(&[Selector::Instance(1, 0)])
    };
    let reason =
        "MIG 1:0 (NVIDIA H100 80GB HBM3 MIG 3g.40gb): a MIG instance, which is leased whole";
    refused(&snapshot(&node), &request, Code::NoMatch, &[reason, "leave out gpulease/compute"]);
}

#[test]
fn a_cordoned_gpu_takes_its_instances_out_of_service() {
    let node = some_in_mig_mode();
    let mut snapshot = snapshot(&node);
    snapshot.cordoned.insert(node.devices[1].uuid.clone());
    assert_eq!(places(&snapshot, &instances(1, None)), ["2:0"]);
    refused(&snapshot, &instances(1, Some("3g.40gb")), Code::NoMatch, &["MIG 1:0", "cordoned"]);
}

/// An engine gave a container the node of a GPU that is in MIG mode (`--device /dev/nvidia1`).
#[test]
fn an_injected_gpu_excludes_its_instances() {
    let node = some_in_mig_mode();
    let gpu = node.devices[1].uuid.to_string();
    let injected =
        |selectors: &[Selector]| Request { source: RequestSource::Injected, ..named(selectors) };
    let request = injected(&[Selector::Uuid(gpu)]);
    let mut snapshot = snapshot(&node);
    let grant = allocator::grant(&snapshot, &request).unwrap();
    assert_eq!(grant.devices[0].place().to_string(), "1");
    let held = "held exclusively by lease l-whole of";
    snapshot.holds = holds_of(&grant, "whole");
    refused(&snapshot, &instances(1, Some("3g.40gb")), Code::NoCapacity, &["MIG 1:0 (", held]);
    assert_eq!(places(&snapshot, &instances(1, None)), ["2:0"]);

    snapshot.holds = vec![hold_whole(&node.devices[3], "part")];
    let held = "GPU 1 (NVIDIA H100 80GB HBM3): held exclusively by lease l-part of";
    refused(&snapshot, &request, Code::NoCapacity, &[held]);
    // A lease of one instance does not keep others from the remaining instances.
    assert_eq!(places(&snapshot, &instances(1, Some("3g.40gb"))), ["1:0"]);

    // `NVIDIA_VISIBLE_DEVICES=all` means every GPU that is not in MIG mode and every instance.
    snapshot.holds = Vec::new();
    let all = Request { count: Count::All, devices: Vec::new(), ..injected(&[]) };
    assert_eq!(places(&snapshot, &all), ["0", "1:0", "1:1", "1:2", "2:0", "2:1"]);
}
