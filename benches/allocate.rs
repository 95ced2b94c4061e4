//! How long a choice takes: medians in microseconds, on standard output.
//!
//! Budgets: 20 µs for 8 devices with 7 shares each, 200 µs for a node with 1,000 leases.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints its result and may stop on a mistake of its own"
)]

use gpulease::allocator::{Hold, Snapshot, allocate};
use gpulease::model::device::{Device, Link, LinkKind, Node, PciAddress, Vendor};
use gpulease::model::id::DeviceId;
use gpulease::model::lease::Sharing;
use gpulease::model::quantity::{Bytes, MilliGpu};
use gpulease::request::{Amount, Count, Request, Source, Strategy};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 2001;

fn device(index: u32) -> Device {
    Device {
        uuid: DeviceId::new(&format!("GPU-5f1c09ab-77de-4a00-8000-{index:012}")).unwrap(),
        index,
        vendor: Vendor::Nvidia,
        model: "NVIDIA H100 80GB HBM3".into(),
        memory_total_bytes: Bytes::from_mib(81_559),
        memory_reserved_bytes: Bytes::from_mib(551),
        pci: PciAddress { domain: index, bus: 0x1b, device: 0, function: 0 },
        numa_node: Some(index / 4),
        kfd_node: None,
        nodes: Vec::new(),
        healthy: Some(true),
        simulated: false,
        mig: None,
    }
}

/// Devices that are all linked to each other, as over NVSwitch.
fn node(count: u32) -> Node {
    let devices: Vec<Device> = (0..count).map(device).collect();
    let link = |a: &Device, b: &Device| Link {
        a: a.uuid.clone(),
        b: b.uuid.clone(),
        kind: LinkKind::NvLink,
        lanes: 18,
    };
    let links = devices
        .iter()
        .flat_map(|a| devices.iter().filter(|b| a.index < b.index).map(move |b| link(a, b)))
        .collect();
    Node { devices, control: Vec::new(), links }
}

/// The same number of shares on each device.
fn holds(node: &Node, each: u32, milli: u32) -> Vec<Hold> {
    let hold = |number: u32, device: &Device| Hold {
        device: device.uuid.clone(),
        milli: MilliGpu(milli),
        memory: MilliGpu(milli).of(device.capacity()),
        sharing: Sharing::Shared,
        holder: format!("lease l-{number:012} of container web-{number} (docker)"),
        grace: false,
    };
    (0..each).flat_map(|n| node.devices.iter().map(move |device| hold(n, device))).collect()
}

fn request(count: u32, milli: Option<u32>) -> Request {
    let one = Request::one(Strategy::BestFit, Source::Annotations);
    let one = Request { count: Count::Exactly(count), ..one };
    let Some(milli) = milli else { return one };
    let amount = Amount::Share { compute: Some(MilliGpu(milli)), memory: None };
    Request { amount, sharing: Sharing::Shared, ..one }
}

fn measure(what: &str, node: &Node, holds: Vec<Hold>, request: &Request) {
    let snapshot = Snapshot { node, holds, prefer: BTreeSet::new(), cordoned: BTreeSet::new() };
    let outcome = if allocate(&snapshot, request).is_ok() { "granted" } else { "refused" };
    let mut nanoseconds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let _ = black_box(allocate(black_box(&snapshot), black_box(request)));
            start.elapsed().as_nanos()
        })
        .collect();
    nanoseconds.sort_unstable();
    let median = nanoseconds.get(ROUNDS / 2).copied().unwrap_or_default();
    println!("{what:<52} {outcome} {:>5}.{} us", median / 1000, median % 1000 / 100);
}

fn main() {
    let eight = node(8);
    let shared = || holds(&eight, 7, 100);
    measure("8 devices x 7 shares, a share", &eight, shared(), &request(1, Some(300)));
    measure("8 devices x 7 shares, a whole device", &eight, shared(), &request(1, None));
    measure("8 devices, a set of 4 by links", &eight, Vec::new(), &request(4, None));
    let sixteen = node(16);
    measure("16 devices, a set of 8 by links (greedy)", &sixteen, Vec::new(), &request(8, None));
    // More than ten leases on a device cannot be; 125 on each of 8 is the same work.
    measure(
        "8 devices, 1,000 holds, a share",
        &eight,
        holds(&eight, 125, 1),
        &request(1, Some(300)),
    );
    measure(
        "8 devices, 1,000 holds, refused",
        &eight,
        holds(&eight, 125, 8),
        &request(1, Some(300)),
    );
    let many = node(125);
    measure("125 devices x 8 shares, a share", &many, holds(&many, 8, 100), &request(1, Some(200)));
}
