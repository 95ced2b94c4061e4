//! How long a choice takes: medians in microseconds, on standard output.
//!
//! Budgets: 20 µs for 8 devices with 7 shares or 7 MIG instances each, 200 µs for a node with
//! 1,000 leases.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints its result and may stop on a mistake of its own"
)]

use gpulease::door::allocator::{Hold, HoldKind, Snapshot, grant};
use gpulease::door::model::device::{Details, Device, Link, LinkKind, Node, PciAddress, Vendor};
use gpulease::door::model::id::DeviceId;
use gpulease::door::model::lease::Sharing;
use gpulease::door::model::mig::{Mig, MigInstance, MigProfile};
use gpulease::door::model::quantity::{Bytes, MilliGpu};
use gpulease::door::request::{Amount, Count, MigChoice, Request, RequestSource, Strategy};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 2001;

fn device(index: u32) -> Device {
    Device {
        uuid: DeviceId::new(&format!("GPU-5f1c09ab-77de-4a00-8000-{index:012}")).unwrap(),
        index,
        vendor: Vendor::Nvidia,
        model: "NVIDIA H100 80GB HBM3".into(),
        memory_total_bytes: Some(Bytes::from_mib(81_559)),
        memory_reserved_bytes: Some(Bytes::from_mib(551)),
        pci: PciAddress { domain: index, bus: 0x1b, device: 0, function: 0 },
        numa_node: Some(index / 4),
        kfd_node: None,
        nodes: Vec::new(),
        healthy: Some(true),
        simulated: false,
        mig: None,
        details: Details::default(),
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

/// The same, all in MIG mode with seven instances.
fn in_mig_mode(node: Node) -> Node {
    let instance = |gpu: &Device, index: u32| Device {
        uuid: DeviceId::new(&format!("MIG-{:04}ab-77de-5a00-8000-{index:012}", gpu.index)).unwrap(),
        model: format!("{} MIG 1g.10gb", gpu.model),
        memory_total_bytes: Some(Bytes::from_mib(9_984)),
        memory_reserved_bytes: Some(Bytes(0)),
        mig: Some(Mig::Instance(MigInstance {
            parent: gpu.uuid.clone(),
            profile: MigProfile::new("1g.10gb").unwrap(),
            index,
            gi: 7 + index,
            ci: 0,
        })),
        ..gpu.clone()
    };
    let with_instances = |gpu: Device| {
        let instances: Vec<Device> = (0..7).map(|index| instance(&gpu, index)).collect();
        std::iter::once(Device { mig: Some(Mig::Enabled), ..gpu }).chain(instances)
    };
    Node { devices: node.devices.into_iter().flat_map(with_instances).collect(), ..node }
}

/// The first `count` of a node's instances, each held whole.
fn whole_instances(node: &Node, count: usize) -> Vec<Hold> {
    let instances = node.devices.iter().filter(|device| device.instance().is_some());
    let hold = |(number, device): (usize, &Device)| Hold {
        device: device.uuid.clone(),
        milli: MilliGpu::WHOLE,
        memory: device.leasable(),
        sharing: Sharing::Exclusive,
        holder: format!("lease l-{number:012} of container web-{number} (docker)"),
        grace: false,
        kind: HoldKind::default(),
    };
    instances.take(count).enumerate().map(hold).collect()
}

/// The same number of shares on each device.
fn holds(node: &Node, each: u32, milli: u32) -> Vec<Hold> {
    let hold = |number: u32, device: &Device| Hold {
        device: device.uuid.clone(),
        milli: MilliGpu(milli),
        memory: MilliGpu(milli).of(device.leasable()),
        sharing: Sharing::Shared,
        holder: format!("lease l-{number:012} of container web-{number} (docker)"),
        grace: false,
        kind: HoldKind::default(),
    };
    (0..each).flat_map(|n| node.devices.iter().map(move |device| hold(n, device))).collect()
}

fn request(count: u32, milli: Option<u32>) -> Request {
    let one = Request::one(Strategy::BestFit, RequestSource::Annotations);
    let one = Request { count: Count::Exactly(count), ..one };
    let Some(milli) = milli else { return one };
    let amount = Amount::Share { compute: Some(MilliGpu(milli)), memory: None };
    Request { amount, sharing: Sharing::Shared, ..one }
}

fn measure(what: &str, node: &Node, holds: Vec<Hold>, request: &Request) {
    let snapshot = Snapshot { holds, ..Snapshot::idle(node) };
    let outcome = if grant(&snapshot, request).is_ok() { "granted" } else { "refused" };
    let mut nanoseconds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let _ = black_box(grant(black_box(&snapshot), black_box(request)));
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
    let mig = in_mig_mode(node(8));
    assert!(mig.is_numbered());
    let of_profile = |count: u32| Request {
        mig: MigChoice::Instances(Some(MigProfile::new("1g.10gb").unwrap())),
        ..request(count, None)
    };
    let half = || whole_instances(&mig, 28);
    measure("8 GPUs x 7 MIG instances, half held, one", &mig, half(), &of_profile(1));
    measure("8 GPUs x 7 MIG instances, half held, a set of 4", &mig, half(), &of_profile(4));
    measure("8 GPUs x 7 MIG instances, a GPU (refused)", &mig, half(), &request(1, None));
    let all = whole_instances(&mig, 56);
    measure("8 GPUs x 7 MIG instances, all held (refused)", &mig, all, &of_profile(1));
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
