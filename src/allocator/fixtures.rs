//! Nodes and holds for this module's tests.

use super::grouped_text;
use super::refusal::Refusal;
use super::snapshot::{BusyProcess, Grant, Hold, HoldKind, Snapshot};
use crate::model::device::{Details, Device, DeviceNode, Node, PciAddress, Vendor};
use crate::model::facilities::{Facilities, Mps, MpsDaemons};
use crate::model::id::DeviceId;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::mig::{Mig, MigInstance, MigProfile};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{Amount, Request, RequestSource, Strategy};

/// A refusal as text, in the form of a failure.
pub(super) fn words(refusal: &Refusal) -> String {
    let Refusal { code, summary, verdicts, hint } = refusal;
    format!("{code}: {summary}{}; hint: {hint}", grouped_text(verdicts, 1400))
}

pub(super) fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

/// An H100 80GB: 81,559 MiB, of which the driver keeps 551.
pub(super) fn h100(index: u32) -> Device {
    Device {
        uuid: id(&format!("GPU-{index}a5f3c1e-0000-4000-8000-{index:012}")),
        index,
        vendor: Vendor::Nvidia,
        model: "NVIDIA H100 80GB HBM3".into(),
        memory_total_bytes: Some(Bytes::from_mib(81_559)),
        memory_reserved_bytes: Some(Bytes::from_mib(551)),
        pci: PciAddress {
            domain: 0,
            bus: 0x10 + u8::try_from(index).unwrap(),
            device: 0,
            function: 0,
        },
        numa_node: Some(index / 4),
        kfd_node: None,
        nodes: vec![DeviceNode { path: format!("/dev/nvidia{index}"), simulated: None }],
        healthy: Some(true),
        simulated: false,
        mig: None,
        details: Details::default(),
    }
}

pub(super) fn mi300x(index: u32) -> Device {
    let node = |path: String| DeviceNode { path, simulated: None };
    Device {
        uuid: id(&format!("GPU-{index:016x}")),
        vendor: Vendor::Amd,
        model: "AMD Instinct MI300X".into(),
        memory_total_bytes: Some(Bytes(206_141_652_992)),
        memory_reserved_bytes: Some(Bytes(0)),
        kfd_node: Some(index + 2),
        nodes: vec![
            node(format!("/dev/dri/card{index}")),
            node(format!("/dev/dri/renderD{}", 128 + index)),
        ],
        healthy: None,
        ..h100(index)
    }
}

pub(super) fn node(devices: Vec<Device>) -> Node {
    Node { devices, ..Node::default() }
}

pub(super) fn h100s(count: u32) -> Node {
    node((0..count).map(h100).collect())
}

pub(super) fn snapshot(node: &Node) -> Snapshot<'_> {
    Snapshot::idle(node)
}

/// A host with MPS that can close its GPUs, and with a region of dmem for each of these devices.
pub(super) fn well_equipped(devices: &[Device]) -> Facilities {
    let region = |device: &Device| match device.vendor {
        Vendor::Nvidia => format!("nvidia/{}/vidmem", device.pci),
        Vendor::Amd | Vendor::Intel => format!("drm/{}/vram", device.pci),
    };
    Facilities {
        dmem: Ok(devices.iter().map(|device| (region(device), device.leasable().0)).collect()),
        mps: Ok(Mps {
            control: "/usr/bin/nvidia-cuda-mps-control".into(),
            daemons: MpsDaemons::PerDevice,
            exclusive: Ok(()),
        }),
    }
}

/// With an architecture and compute units.
pub(super) fn made_of(device: Device, arch: &str, units: u32, xccs: u32, engines: u32) -> Device {
    let details = Details {
        arch: Some(arch.to_owned()),
        compute_units: Some(units),
        xccs: Some(xccs),
        shader_engines: Some(engines),
        ..device.details
    };
    Device { details, ..device }
}

/// A process without a lease.
pub(super) fn python() -> BusyProcess {
    BusyProcess { pid: 4711, name: Some("python3".into()) }
}

/// Best-fit, one whole device.
pub(super) fn whole() -> Request {
    Request::one(Strategy::BestFit, RequestSource::Annotations)
}

/// Best-fit, a share of one device.
pub(super) fn share(compute: Option<u32>, memory: Option<Bytes>) -> Request {
    Request {
        amount: Amount::Share { compute: compute.map(MilliGpu), memory },
        sharing: Sharing::Shared,
        ..whole()
    }
}

/// A share of a device's compute, with memory in proportion, held by `lease l-<holder>`.
pub(super) fn hold(device: &Device, milli: u32, holder: &str) -> Hold {
    Hold {
        device: device.uuid.clone(),
        milli: MilliGpu(milli),
        memory: MilliGpu(milli).of(device.leasable()),
        sharing: Sharing::Shared,
        holder: format!("lease l-{holder} of container {holder} (docker)"),
        grace: false,
        kind: HoldKind::default(),
    }
}

pub(super) fn hold_whole(device: &Device, holder: &str) -> Hold {
    Hold { sharing: Sharing::Exclusive, ..hold(device, 1000, holder) }
}

/// The holds of a granted lease.
pub(super) fn holds_of(grant: &Grant, holder: &str) -> Vec<Hold> {
    let hold = |device: &super::GrantedDevice| Hold {
        device: device.uuid.clone(),
        milli: device.milli,
        memory: device.memory.unwrap_or_default(),
        sharing: device.sharing,
        holder: format!("lease l-{holder} of container {holder} (docker)"),
        grace: false,
        kind: HoldKind {
            isolation: Some(grant.isolation.effective),
            uid: (grant.isolation.effective == Isolation::Mps).then_some(0),
            pinned: grant.pinned,
            cus: device.cu_mask.clone(),
        },
    };
    grant.devices.iter().map(hold).collect()
}

pub(super) fn indices(grant: &Grant) -> Vec<u32> {
    grant.devices.iter().map(|device| device.index).collect()
}

/// The GPU, now in MIG mode, and its instances. The memory of `1g.10gb` is 10 GiB here.
pub(super) fn in_mig_mode(gpu: Device, profiles: &[&str]) -> Vec<Device> {
    let gpu = Device { mig: Some(Mig::Enabled), ..gpu };
    let instance = |(index, name): (u32, &&str)| {
        let profile = MigProfile::new(name).unwrap();
        let gib = name.split(['.', 'g']).nth(2).unwrap().parse::<u64>().unwrap();
        let (gi, at) = (7 + index, gpu.index);
        let caps = [0, 1].map(|ci| DeviceNode {
            path: format!("/dev/nvidia-caps/nvidia-cap{}", 3 + 135 * at + 9 * gi + ci),
            simulated: None,
        });
        Device {
            uuid: id(&format!("MIG-{at}a5f3c1e-0000-5000-8000-{index:012}")),
            model: format!("{} MIG {name}", gpu.model),
            memory_total_bytes: Some(Bytes::from_mib(gib * 1024)),
            memory_reserved_bytes: Some(Bytes(0)),
            nodes: caps.to_vec(),
            mig: Some(Mig::Instance(MigInstance {
                parent: gpu.uuid.clone(),
                profile,
                index,
                gi,
                ci: 0,
            })),
            ..gpu.clone()
        }
    };
    let instances: Vec<Device> = (0..).zip(profiles).map(instance).collect();
    std::iter::once(gpu).chain(instances).collect()
}
