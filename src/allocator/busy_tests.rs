//! Devices on which processes without a lease compute.

use super::fixtures::*;
use super::*;
use crate::model::code::Code;
use crate::model::device::{Device, Node};
use crate::request::{Count, MigChoice, Request, RequestSource, Selector};

fn busy<'a>(node: &'a Node, positions: &[usize]) -> Snapshot<'a> {
    let mut snapshot = snapshot(node);
    for position in positions {
        let uuid = node.devices[*position].uuid.clone();
        snapshot.busy.on.insert(uuid, vec![python()]);
    }
    snapshot
}

fn naming(devices: &[u32], count: u32) -> Request {
    let devices = devices.iter().copied().map(Selector::Index).collect();
    Request { devices, count: Count::Exactly(count), ..whole() }
}

#[test]
fn a_busy_device_is_granted_only_by_name() {
    let node = h100s(2);
    let snapshot = busy(&node, &[0]);
    assert_eq!(indices(&grant(&snapshot, &whole()).unwrap()), [1]);
    assert_eq!(indices(&grant(&snapshot, &naming(&[0], 1)).unwrap()), [0]);
    // Of several named devices, the idle one is taken.
    assert_eq!(indices(&grant(&snapshot, &naming(&[0, 1], 1)).unwrap()), [1]);
    assert_eq!(indices(&grant(&snapshot, &naming(&[0, 1], 2)).unwrap()), [0, 1]);
    let two = Request { count: Count::Exactly(2), ..whole() };
    for request in [two, Request { count: Count::All, ..whole() }] {
        let refusal = grant(&snapshot, &request).unwrap_err();
        assert_eq!(refusal.code, Code::NoCapacity, "it passes");
        let reasons: Vec<&str> = refusal.verdicts.iter().map(|v| v.reason.as_str()).collect();
        let busy = "busy: process 4711 (python3) computes on it without a lease";
        assert_eq!(reasons, [busy, "fits"]);
        let hint = &refusal.hint;
        assert!(hint.contains("gpulease processes") && hint.contains("gpulease/devices"), "{hint}");
    }
}

#[test]
fn refuse_spares_only_former_holders() {
    let node = h100s(1);
    let mut snapshot = busy(&node, &[0]);
    snapshot.busy.refuse = true;
    let refusal = grant(&snapshot, &naming(&[0], 1)).unwrap_err();
    assert_eq!(refusal.code, Code::NoCapacity);
    assert!(refusal.hint.contains("`policy.busy` is `refuse`"), "{}", refusal.hint);
    let injected = Request { source: RequestSource::Injected, ..naming(&[0], 1) };
    assert_eq!(indices(&grant(&snapshot, &injected).unwrap()), [0]);
}

#[test]
fn a_simulated_device_is_never_busy() {
    let node = node(vec![Device { simulated: true, ..h100(0) }]);
    let mut snapshot = busy(&node, &[0]);
    snapshot.busy.refuse = true;
    assert_eq!(indices(&grant(&snapshot, &whole()).unwrap()), [0]);
}

#[test]
fn the_holder_of_a_busy_device_is_named_first() {
    let node = h100s(1);
    let mut snapshot = busy(&node, &[0]);
    snapshot.holds.push(hold_whole(&node.devices[0], "train"));
    let refusal = grant(&snapshot, &whole()).unwrap_err();
    assert!(refusal.verdicts[0].reason.starts_with("held exclusively by"), "{refusal:?}");
    assert!(refusal.hint.contains("wait until leases end"), "{}", refusal.hint);
}

#[test]
fn a_process_on_a_gpu_is_on_all_its_instances() {
    let node = node(in_mig_mode(h100(0), &["1g.10gb", "1g.10gb"]));
    let instances = Request { mig: MigChoice::Instances(None), ..whole() };
    let refusal = grant(&busy(&node, &[0]), &instances).unwrap_err();
    assert!(refusal.verdicts[1..].iter().all(|v| v.reason.starts_with("busy: ")), "{refusal:?}");
    let grant = grant(&busy(&node, &[1]), &instances).unwrap();
    assert_eq!(grant.devices[0].mig_index, Some(1));
}

#[test]
fn processes_are_named_safely_and_counted() {
    let node = h100s(1);
    let mut snapshot = snapshot(&node);
    let process = |pid| BusyProcess { pid, name: (pid != 8).then(|| format!("\u{1b}[2J{pid}")) };
    let all = (7..12).map(process).collect();
    snapshot.busy.on.insert(node.devices[0].uuid.clone(), all);
    let refusal = grant(&snapshot, &whole()).unwrap_err();
    assert_eq!(
        refusal.verdicts[0].reason,
        "busy: processes 7 (\\u{1b}[2J7), 8, 9 (\\u{1b}[2J9) and 2 more compute on it without a \
         lease"
    );
}
