//! The table of enforcement. A row is a test case: vendor, isolation, version, and the enforcers.

use super::super::fixtures::*;
use super::super::{Grant, Refusal, Requester, Snapshot};
use crate::allocator;
use crate::model::code::Code;
use crate::model::device::{Device, Node, Partition, Vendor};
use crate::model::facilities::{Facilities, MpsDaemons};
use crate::model::isolation::Isolation;
use crate::model::quantity::Bytes;
use crate::request::{Count, Enforce, MigChoice, Request, Selector};

fn nvidia(arch: &str) -> Device {
    let mut device = h100(0);
    device.details.arch = Some(arch.to_owned());
    device
}

fn amd() -> Device {
    made_of(mi300x(0), "gfx942", 304, 8, 4)
}

fn partition() -> Device {
    let mut device = made_of(mi300x(0), "gfx942", 38, 1, 4);
    let gpu = device.uuid.clone();
    device.details.partition = Some(Partition { gpu, index: 0, mode: "CPX/NPS4".into() });
    device
}

fn intel() -> Device {
    Device { vendor: Vendor::Intel, model: "Intel Flex 170".into(), ..h100(0) }
}

fn simulated(device: Device) -> Device {
    Device { simulated: true, ..device }
}

fn all_means(device: &Device) -> Facilities {
    well_equipped(std::slice::from_ref(device))
}

/// The same without the kernel's limits.
fn no_dmem(device: &Device) -> Facilities {
    let dmem = Err("the kernel has no dmem controller".into());
    Facilities { dmem, ..all_means(device) }
}

fn no_mps(device: &Device) -> Facilities {
    let mps = Err("the program nvidia-cuda-mps-control is not installed".into());
    Facilities { mps, ..no_dmem(device) }
}

fn not_closed(device: &Device) -> Facilities {
    let mut facilities = no_dmem(device);
    if let Ok(mps) = &mut facilities.mps {
        mps.exclusive = Err("nvidia-smi, which sets the compute mode, is not installed".into());
    }
    facilities
}

fn per_lease(device: &Device) -> Facilities {
    let mut facilities = not_closed(device);
    if let Ok(mps) = &mut facilities.mps {
        mps.daemons = MpsDaemons::PerLease;
    }
    facilities
}

fn half() -> Request {
    share(Some(500), None)
}

fn by(isolation: Isolation, request: Request) -> Request {
    Request { isolation, ..request }
}

fn required(request: Request) -> Request {
    Request { enforcement: Enforce::Required, ..request }
}

fn answer(device: &Device, facilities: Facilities, request: &Request) -> Result<Grant, Refusal> {
    let node = node(vec![device.clone()]);
    allocator::grant(&Snapshot { facilities, ..snapshot(&node) }, request)
}

fn label(grant: &Grant) -> String {
    let isolation = &grant.isolation;
    let pinned = if grant.pinned { " pinned" } else { "" };
    format!(
        "{}{pinned} {}/{}",
        isolation.effective, isolation.compute_enforcement, isolation.memory_enforcement
    )
}

#[test]
fn every_row_of_the_table() {
    type Row = (&'static str, Device, fn(&Device) -> Facilities, Request, &'static str);
    use Isolation::{CuMask, Mps, None as Nothing, TimeSlicing};
    let memory = || share(None, Some(Bytes::from_mib(4000)));
    let (volta, pascal) = (|| nvidia("7.0"), || nvidia("6.1"));
    let rows: Vec<Row> = vec![
        ("whole, NVIDIA", volta(), no_mps, whole(), "none kernel/kernel"),
        ("whole, AMD", amd(), no_dmem, whole(), "none kernel/kernel"),
        ("whole, Intel", intel(), no_dmem, whole(), "none kernel/kernel"),
        ("whole, simulated", simulated(volta()), no_mps, whole(), "none simulated/simulated"),
        ("whole, required", volta(), no_mps, required(whole()), "none kernel/kernel"),
        ("partition", partition(), no_dmem, whole(), "partition driver/driver"),
        (
            "partition, simulated",
            simulated(partition()),
            no_dmem,
            whole(),
            "partition simulated/simulated",
        ),
        ("MPS", volta(), no_dmem, half(), "mps advisory/advisory"),
        ("MPS by name", volta(), no_dmem, by(Mps, half()), "mps advisory/advisory"),
        ("MPS and dmem", volta(), all_means, half(), "mps advisory/kernel"),
        ("MPS, required", volta(), no_dmem, required(half()), "mps pinned driver/advisory"),
        (
            "MPS and dmem, required",
            volta(),
            all_means,
            required(half()),
            "mps pinned driver/kernel",
        ),
        ("memory, required", volta(), all_means, required(memory()), "mps advisory/kernel"),
        (
            "MPS, simulated",
            simulated(volta()),
            all_means,
            required(half()),
            "mps pinned simulated/simulated",
        ),
        ("MPS, simulated, preferred", simulated(volta()), no_dmem, half(), "mps advisory/advisory"),
        ("a daemon a lease", volta(), per_lease, half(), "mps advisory/advisory"),
        ("MPS before Volta", pascal(), no_dmem, by(Mps, half()), "time-slicing advisory/advisory"),
        ("auto before Volta", pascal(), all_means, half(), "time-slicing advisory/kernel"),
        ("auto, no dmem known", h100(0), no_dmem, half(), "time-slicing advisory/advisory"),
        ("MPS, no dmem known", h100(0), no_dmem, by(Mps, half()), "mps advisory/advisory"),
        ("no MPS", volta(), no_mps, half(), "time-slicing advisory/advisory"),
        (
            "time-slicing",
            volta(),
            no_dmem,
            by(TimeSlicing, half()),
            "time-slicing advisory/advisory",
        ),
        (
            "time-slicing and dmem",
            volta(),
            all_means,
            by(TimeSlicing, half()),
            "time-slicing advisory/kernel",
        ),
        (
            "time-slicing, memory required",
            volta(),
            all_means,
            required(by(TimeSlicing, memory())),
            "time-slicing advisory/kernel",
        ),
        ("none", volta(), all_means, by(Nothing, half()), "none advisory/advisory"),
        ("masks on NVIDIA", volta(), no_dmem, by(CuMask, half()), "mps advisory/advisory"),
        ("masks", amd(), no_dmem, half(), "cu-mask advisory/advisory"),
        ("masks and dmem", amd(), all_means, half(), "cu-mask advisory/kernel"),
        ("masks, memory required", amd(), all_means, required(memory()), "cu-mask advisory/kernel"),
        ("MPS on AMD", amd(), no_dmem, by(Mps, half()), "cu-mask advisory/advisory"),
        (
            "time-slicing on AMD",
            amd(),
            no_dmem,
            by(TimeSlicing, half()),
            "time-slicing advisory/advisory",
        ),
        ("none on AMD", amd(), all_means, by(Nothing, half()), "none advisory/advisory"),
        ("units unknown", mi300x(0), no_dmem, half(), "time-slicing advisory/advisory"),
        ("share of a partition", partition(), all_means, half(), "cu-mask advisory/advisory"),
        ("masks, simulated", simulated(amd()), all_means, half(), "cu-mask advisory/simulated"),
        ("Intel", intel(), no_dmem, half(), "time-slicing advisory/advisory"),
        ("Intel and dmem", intel(), all_means, half(), "time-slicing advisory/kernel"),
        ("MPS on Intel", intel(), no_dmem, by(Mps, half()), "time-slicing advisory/advisory"),
    ];
    for (name, device, facilities, request, expected) in rows {
        let grant = answer(&device, facilities(&device), &request)
            .unwrap_or_else(|refusal| panic!("{name}: {}", words(&refusal)));
        assert_eq!(label(&grant), expected, "{name}");
        let isolation = &grant.isolation;
        let all_hold =
            isolation.compute_enforcement.holds() && isolation.memory_enforcement.holds();
        assert_eq!(isolation.missing.is_empty(), all_hold, "{name}: {:?}", isolation.missing);
        // A region is given if the kernel enforces the limit, and a mask if the isolation is one.
        let granted = &grant.devices[0];
        let by_kernel = expected.contains("/kernel") || expected.contains("/simulated");
        let is_share = request.amount != whole().amount;
        assert_eq!(granted.dmem_region.is_some(), by_kernel && is_share, "{name}");
        assert_eq!(granted.cu_mask.is_some(), isolation.effective == CuMask, "{name}");
        // No limit is enforced on a privileged container.
        let node = node(vec![device.clone()]);
        let requester = Requester { uid: Some(0), confined: false };
        let free = Snapshot { facilities: facilities(&device), requester, ..snapshot(&node) };
        match allocator::grant(&free, &request) {
            Ok(grant) => assert!(label(&grant).ends_with(" none/none"), "{name}"),
            Err(refusal) => {
                assert_eq!(refusal.code, Code::EnforcementUnmet, "{name}");
                assert!(refusal.hint.contains("--privileged"), "{}", refusal.hint);
            }
        }
    }
}

#[test]
fn instances_are_kept_apart_by_the_driver() {
    for (is_simulated, expected) in
        [(false, "mig driver/driver"), (true, "mig simulated/simulated")]
    {
        let mut devices = in_mig_mode(nvidia("9.0"), &["1g.10gb"]);
        for device in &mut devices {
            device.simulated = is_simulated;
        }
        let node: Node = node(devices);
        let request =
            Request { mig: MigChoice::Instances(None), ..required(by(Isolation::Mig, whole())) };
        let grant = allocator::grant(&snapshot(&node), &request).unwrap();
        assert_eq!((label(&grant).as_str(), grant.isolation.missing.len()), (expected, 0));
    }
}

#[test]
fn an_unmet_required_limit_names_what_is_missing() {
    let memory = || share(None, Some(Bytes::from_mib(4000)));
    let both = || share(Some(500), Some(Bytes::from_mib(4000)));
    let dmem = "memory would be advisory: the kernel has no dmem controller";
    type Row = (Device, fn(&Device) -> Facilities, Request, String);
    let rows: Vec<Row> = vec![
        (nvidia("9.0"), no_dmem, memory(), dmem.into()),
        (nvidia("9.0"), no_dmem, both(), dmem.into()),
        (
            nvidia("9.0"),
            no_mps,
            both(),
            format!(
                "compute would be advisory: the program nvidia-cuda-mps-control is not installed; \
                 {dmem}"
            ),
        ),
        (
            nvidia("9.0"),
            not_closed,
            half(),
            "compute would be advisory: nvidia-smi, which sets the compute mode, is not installed"
                .into(),
        ),
        (
            nvidia("6.1"),
            no_dmem,
            half(),
            "compute would be advisory: MPS limits its clients only on GPUs of compute capability \
             7.0 and newer"
                .into(),
        ),
        (
            amd(),
            all_means,
            both(),
            "compute would be advisory: HSA_CU_MASK is a variable, and a workload can unset it"
                .into(),
        ),
        (
            partition(),
            all_means,
            memory(),
            "memory would be advisory: the kernel limits the memory of a GPU, not of a partition"
                .into(),
        ),
        (
            nvidia("9.0"),
            all_means,
            by(Isolation::None, memory()),
            "memory would be advisory: isolation `none` sets no limit".into(),
        ),
        (
            nvidia("9.0"),
            all_means,
            by(Isolation::TimeSlicing, half()),
            "compute would be advisory: time-slicing does not limit compute".into(),
        ),
    ];
    for (device, facilities, request, expected) in rows {
        let refusal = answer(&device, facilities(&device), &required(request)).unwrap_err();
        assert_eq!(refusal.verdicts[0].reason, expected);
        assert_eq!((refusal.code, refusal.code.exit_status()), (Code::EnforcementUnmet, 3));
        assert!(refusal.hint.contains("a whole device holds"), "{}", refusal.hint);
    }
    // The hint names the facilities that the host could have, and the kinds of devices it has that
    // enforce limits.
    let mut devices = in_mig_mode(nvidia("9.0"), &["1g.10gb"]);
    devices.push(Device { index: 1, ..partition() });
    let both_kinds = node(devices);
    let asked = |node: &Node, facilities: Facilities, request: Request| {
        let snapshot = Snapshot { facilities, ..snapshot(node) };
        allocator::grant(&snapshot, &required(request)).unwrap_err().hint
    };
    let vendor = |vendor| Request { vendor: Some(vendor), ..both() };
    let hint = asked(&both_kinds, no_dmem(&partition()), both());
    assert!(hint.contains("a MIG instance") && hint.contains("a partition"), "{hint}");
    let hint = asked(&both_kinds, all_means(&partition()), vendor(Vendor::Amd));
    assert!(hint.starts_with("a whole device holds, and so does a partition"), "{hint}");
    assert!(!hint.contains("MIG"), "{hint}");
    let hint = asked(&node(vec![nvidia("9.0")]), not_closed(&nvidia("9.0")), both());
    let lack = "on this host nvidia-smi, which sets the compute mode, is not installed";
    assert!(hint.starts_with(lack), "{hint}");
    assert!(!hint.contains("MIG") && !hint.contains("partition"), "{hint}");
    // An amount that is too large is refused for its size, also without limits.
    let refusal = answer(&amd(), all_means(&amd()), &required(share(Some(1001), None)));
    assert_eq!(refusal.unwrap_err().code, Code::NoMatch);
}

#[test]
fn the_device_that_holds_is_found() {
    let (old, new) = (nvidia("6.1"), Device { details: nvidia("9.0").details, ..h100(1) });
    let node = node(vec![old.clone(), new]);
    let snapshot = Snapshot { facilities: no_dmem(&old), ..snapshot(&node) };
    let grant = allocator::grant(&snapshot, &required(half())).unwrap();
    assert_eq!((indices(&grant), grant.pinned), (vec![1], true));
    let named = Request { devices: vec![Selector::Index(0)], ..required(half()) };
    assert_eq!(allocator::grant(&snapshot, &named).unwrap_err().code, Code::EnforcementUnmet);
}

#[test]
fn partitions_are_asked_for_by_name() {
    let whole_gpu = Device { details: amd().details, ..mi300x(1) };
    let node = node(vec![whole_gpu.clone(), partition()]);
    let request = by(Isolation::Partition, whole());
    let grant = allocator::grant(&snapshot(&node), &request).unwrap();
    assert_eq!((indices(&grant), label(&grant).as_str()), (vec![0], "partition driver/driver"));
    let refusal = answer(&whole_gpu, all_means(&whole_gpu), &request).unwrap_err();
    assert_eq!(refusal.code, Code::NoMatch);
    assert_eq!(refusal.verdicts[0].reason, "not a partition of an AMD GPU");
    let part = by(Isolation::Partition, half());
    let refusal = answer(&partition(), all_means(&partition()), &part).unwrap_err();
    assert_eq!(refusal.verdicts[0].reason, "the request is for a partition, which is leased whole");
}

#[test]
fn the_record_has_the_request_and_the_effect() {
    let record = |device: &Device, request: &Request| {
        let isolation = answer(device, no_dmem(device), request).unwrap().isolation;
        (isolation.requested, isolation.requested_as, isolation.effective, isolation.missing)
    };
    let (requested, word, effective, lacks) = record(&amd(), &by(Isolation::Mps, half()));
    assert_eq!((requested, word), (Isolation::CuMask, Some(Isolation::Mps)));
    assert_eq!((effective, lacks.len()), (Isolation::CuMask, 2));
    let (requested, word, effective, lacks) = record(&nvidia("6.1"), &by(Isolation::Mps, half()));
    assert_eq!((requested, word, effective), (Isolation::Mps, None, Isolation::TimeSlicing));
    assert!(lacks[0].contains("7.0"), "{lacks:?}");
    let (_, _, effective, lacks) = record(&nvidia("9.0"), &by(Isolation::CuMask, half()));
    assert_eq!(
        (effective, lacks[0].as_str()),
        (Isolation::Mps, "isolation: masks of compute units exist for AMD GPUs only")
    );
    let (requested, ..) = record(&nvidia("9.0"), &whole());
    assert_eq!(requested, Isolation::None);
}

#[test]
fn a_set_is_as_strong_as_its_weakest() {
    // A process uses one MPS daemon, so a share of two devices has no MPS.
    let two = Device { details: nvidia("9.0").details, ..h100(1) };
    let first = node(vec![nvidia("9.0"), two]);
    let snapshot_of = |node| Snapshot { facilities: no_dmem(&h100(0)), ..snapshot(node) };
    let request = Request { count: Count::Exactly(2), ..half() };
    let grant = allocator::grant(&snapshot_of(&first), &request).unwrap();
    assert_eq!(label(&grant), "time-slicing advisory/advisory");
    let lack = "compute: a process can use MPS on one device only";
    assert_eq!(grant.isolation.missing[0], lack);
    // A GPU and a partition of another one: the isolation in effect is the weaker one.
    let gpu = Device { details: amd().details, ..mi300x(1) };
    let mixed = node(vec![partition(), gpu]);
    let grant =
        allocator::grant(&snapshot_of(&mixed), &Request { count: Count::Exactly(2), ..whole() })
            .unwrap();
    assert_eq!(label(&grant), "none driver/driver");
}
