//! The isolations that the shares on a device rule out for the next one.

use super::super::fixtures::*;
use super::super::{Grant, Hold, HoldKind, Refusal, Requester, Snapshot};
use crate::allocator;
use crate::model::code::Code;
use crate::model::cu_set::CuSet;
use crate::model::device::Device;
use crate::model::facilities::MpsDaemons;
use crate::model::isolation::Isolation;
use crate::model::quantity::MilliGpu;
use crate::request::{Count, Enforce, Request};

fn gpu(cuda: &str) -> Device {
    let mut device = h100(0);
    device.details.arch = Some("9.0".into());
    device.details.cuda = Some(cuda.into());
    device
}

fn amd() -> Device {
    made_of(mi300x(0), "gfx942", 304, 8, 4)
}

fn held(device: &Device, milli: u32, isolation: Isolation) -> Hold {
    let uid = (isolation == Isolation::Mps).then_some(0);
    let kind = HoldKind { isolation: Some(isolation), uid, ..HoldKind::default() };
    Hold { kind, ..hold(device, milli, "a") }
}

fn beside(holds: &[Hold], device: &Device, request: &Request) -> Result<Grant, Refusal> {
    as_user(Some(0), holds, device, request)
}

fn as_user(
    uid: Option<u32>,
    holds: &[Hold],
    device: &Device,
    request: &Request,
) -> Result<Grant, Refusal> {
    let node = node(vec![device.clone()]);
    let facilities = well_equipped(&node.devices);
    let requester = Requester { uid, confined: true };
    allocator::grant(
        &Snapshot { holds: holds.to_vec(), facilities, requester, ..snapshot(&node) },
        request,
    )
}

/// Asserts a refusal because of other leases, and returns its reason.
fn taken(answer: Result<Grant, Refusal>) -> String {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.code, Code::NoCapacity, "{}", words(&refusal));
    let reason = refusal.verdicts[0].reason.clone();
    assert_eq!(refusal.verdicts[0].is_by_user(), reason.contains("container's user"), "{reason}");
    reason.split_once("; held by lease l-").expect(&reason).0.to_owned()
}

fn effective(answer: Result<Grant, Refusal>) -> Isolation {
    answer.unwrap_or_else(|refusal| panic!("{}", words(&refusal))).isolation.effective
}

fn by(isolation: Isolation, milli: u32) -> Request {
    Request { isolation, ..share(Some(milli), None) }
}

fn required(milli: u32) -> Request {
    Request { enforcement: Enforce::Required, ..share(Some(milli), None) }
}

#[test]
fn the_first_share_fixes_the_mode() {
    use Isolation::{Auto, CuMask, Mps, None as Nothing, TimeSlicing};
    let (nvidia, amd) = (gpu("12.4"), amd());
    for (device, now, asked, then) in [
        (&nvidia, Mps, Auto, Ok(Mps)),
        (&nvidia, Mps, Mps, Ok(Mps)),
        (&nvidia, Mps, TimeSlicing, Err("shared by mps now, time-slicing requested")),
        (&nvidia, Mps, Nothing, Err("shared by mps now, none requested")),
        (&nvidia, TimeSlicing, Auto, Ok(TimeSlicing)),
        (&nvidia, Nothing, Auto, Ok(TimeSlicing)),
        (&nvidia, TimeSlicing, Nothing, Ok(Nothing)),
        (&nvidia, TimeSlicing, Mps, Err("shared by time-slicing now, mps requested")),
        (&nvidia, Nothing, Mps, Err("shared by none now, mps requested")),
        (&amd, CuMask, Auto, Ok(CuMask)),
        (&amd, CuMask, TimeSlicing, Err("shared by cu-mask now, time-slicing requested")),
        (&amd, TimeSlicing, CuMask, Err("shared by time-slicing now, cu-mask requested")),
        (&amd, TimeSlicing, Mps, Err("shared by time-slicing now, cu-mask requested")),
        (&amd, Nothing, Auto, Ok(TimeSlicing)),
    ] {
        let answer = beside(&[held(device, 300, now)], device, &by(asked, 300));
        match then {
            Ok(isolation) => assert_eq!(effective(answer), isolation, "{now}, {asked}"),
            Err(reason) => assert_eq!(taken(answer), reason),
        }
    }
    // An unreadable lease may be by MPS or masks. A lease in its grace rules nothing out.
    for (device, best) in [(&nvidia, Mps), (&amd, CuMask)] {
        let unreadable = [Hold { kind: HoldKind::default(), ..held(device, 300, best) }];
        for asked in [TimeSlicing, Auto] {
            assert_eq!(effective(beside(&unreadable, device, &by(asked, 300))), TimeSlicing);
        }
        assert_eq!(
            taken(beside(&unreadable, device, &by(best, 300))),
            format!("its present isolation cannot be read, {best} requested")
        );
    }
    let unreadable = [Hold { kind: HoldKind::default(), ..held(&nvidia, 300, Mps) }];
    let with_mps = [unreadable[0].clone(), held(&nvidia, 300, Mps)];
    assert!(beside(&with_mps, &nvidia, &required(300)).is_err());
    let gone = Hold { grace: true, ..held(&nvidia, 300, TimeSlicing) };
    let gone = std::slice::from_ref(&gone);
    assert_eq!(effective(beside(gone, &nvidia, &by(Auto, 300))), TimeSlicing);
    assert_eq!(effective(beside(gone, &nvidia, &by(Mps, 300))), Mps);
}

#[test]
fn devices_with_the_requested_isolation_come_first() {
    use Isolation::{Auto, CuMask, Mps, TimeSlicing};
    let unknown = h100(1);
    let amd = Device { index: 2, ..amd() };
    // The used part goes first by best-fit, but is left alone here.
    let part_used = |device: &Device, isolation| [held(device, 600, isolation)];
    let node = node(vec![amd.clone(), unknown.clone(), gpu("12.4")]);
    let taken = |holds: &[Hold], isolation: Isolation| {
        let facilities = well_equipped(&node.devices);
        let snapshot = Snapshot { holds: holds.to_vec(), facilities, ..snapshot(&node) };
        let grant = allocator::grant(&snapshot, &by(isolation, 300)).unwrap();
        (grant.devices[0].uuid.clone(), grant.isolation.effective)
    };
    let nvidia = gpu("12.4");
    let on_amd = part_used(&amd, CuMask);
    assert_eq!(taken(&on_amd, Auto), (amd.uuid.clone(), CuMask));
    assert_eq!(taken(&on_amd, Mps), (nvidia.uuid.clone(), Mps));
    let on_nvidia = part_used(&nvidia, Mps);
    assert_eq!(taken(&on_nvidia, Auto), (nvidia.uuid.clone(), Mps));
    assert_eq!(taken(&on_nvidia, CuMask), (amd.uuid.clone(), CuMask));
    // If the isolation is possible on no free device, the strongest one replaces it.
    let beside = [held(&nvidia, 1000, Mps), held(&unknown, 1000, TimeSlicing)];
    assert_eq!(taken(&beside, Mps), (amd.uuid.clone(), CuMask));
}

#[test]
fn what_must_hold_does_not_join_a_weaker_mode() {
    let device = gpu("12.4");
    let first = [held(&device, 300, Isolation::TimeSlicing)];
    assert_eq!(
        taken(beside(&first, &device, &required(300))),
        "shared by time-slicing now, mps requested"
    );
    // A request that requires only the memory limit may join.
    let memory = Request {
        enforcement: Enforce::Required,
        ..share(None, Some(MilliGpu(300).of(device.leasable())))
    };
    assert_eq!(effective(beside(&first, &device, &memory)), Isolation::TimeSlicing);
}

#[test]
fn a_daemon_serves_one_user() {
    let device = gpu("12.4");
    let mut first = held(&device, 300, Isolation::Mps);
    first.kind.uid = Some(1000);
    let first = [first];
    let request = share(Some(300), None);
    assert_eq!(
        taken(as_user(Some(0), &first, &device, &request)),
        "MPS on it serves user 1000 now, and the container's user is 0"
    );
    assert_eq!(effective(as_user(Some(1000), &first, &device, &request)), Isolation::Mps);
    // With an unknown user MPS is not possible, and beside shares by MPS nothing else is.
    assert_eq!(effective(as_user(None, &[], &device, &request)), Isolation::TimeSlicing);
    assert_eq!(
        taken(as_user(None, &first, &device, &request)),
        "shared by mps now, time-slicing requested"
    );
    // A daemon of a single lease serves that lease's user.
    let node = node(vec![device]);
    let mut facilities = well_equipped(&node.devices);
    facilities.mps.as_mut().unwrap().daemons = MpsDaemons::PerLease;
    let snapshot = Snapshot { holds: first.to_vec(), facilities, ..snapshot(&node) };
    assert_eq!(effective(allocator::grant(&snapshot, &request)), Isolation::Mps);
}

#[test]
fn a_limit_that_mps_holds_is_one_for_all() {
    let device = gpu("12.4");
    let with = |milli, pinned| {
        let mut held = held(&device, milli, Isolation::Mps);
        held.kind.pinned = pinned;
        [held]
    };
    let pinned = |answer: Result<Grant, Refusal>| {
        let grant = answer.unwrap();
        (grant.pinned, grant.isolation.compute_enforcement.holds())
    };
    // A share can be pinned beside smaller ones. No share beside a pinned one can be larger.
    assert_eq!(pinned(beside(&with(300, false), &device, &required(300))), (true, true));
    assert_eq!(pinned(beside(&with(300, true), &device, &share(Some(200), None))), (false, false));
    assert_eq!(pinned(beside(&with(300, true), &device, &required(300))), (true, true));
    assert_eq!(
        taken(beside(&with(400, false), &device, &required(300))),
        "MPS on it cannot limit a lease to less than 400m now, because one of them has that much"
    );
    assert_eq!(
        taken(beside(&with(300, true), &device, &share(Some(400), None))),
        "MPS on it limits each lease to 300m now, because one of them requires it"
    );
    assert!(beside(&with(300, true), &device, &required(200)).is_err());
}

#[test]
fn mps_serves_so_many_clients() {
    for (arch, cuda, most) in [
        (Some("9.0"), Some("13.1"), 60),
        (Some("9.0"), Some("14.0"), 60),
        (Some("9.0"), Some("13.0"), 48),
        (Some("7.0"), None, 48),
        (None, Some("13.1"), 16),
    ] {
        let mut device = gpu("0.0");
        device.details.arch = arch.map(str::to_owned);
        device.details.cuda = cuda.map(str::to_owned);
        let mut holds: Vec<Hold> = (0..most).map(|_| held(&device, 1, Isolation::Mps)).collect();
        let request = by(Isolation::Mps, 100);
        let reason = taken(beside(&holds, &device, &request));
        let said = format!("MPS on it already serves {most} leases, the most it can");
        assert_eq!(reason, said);
        holds.pop();
        assert_eq!(effective(beside(&holds, &device, &request)), Isolation::Mps);
    }
}

#[test]
fn masks_of_any_shape_are_kept_free() {
    let device = amd();
    let mut first = held(&device, 100, Isolation::CuMask);
    first.kind.cus = CuSet::parse("3-12");
    let grant = beside(&[first], &device, &by(Isolation::CuMask, 100)).unwrap();
    // The other share's range touches the granules from 0 to 15.
    assert_eq!(grant.devices[0].cu_mask.as_ref().unwrap().to_string(), "16-39");
}

#[test]
fn the_hint_is_what_would_help() {
    let device = gpu("12.4");
    let pinned = |milli| {
        let mut held = held(&device, milli, Isolation::Mps);
        held.kind.pinned = true;
        held
    };
    let mps = |milli| held(&device, milli, Isolation::Mps);
    let turns = held(&device, 300, Isolation::TimeSlicing);
    let full = (0..48).map(|_| mps(1)).collect();
    let any = || share(Some(300), None);
    let set = Request { count: Count::All, ..by(Isolation::Mps, 300) };
    let lease = "run the container as user 0, or give each lease an MPS daemon of its own \
                 (`mps.daemon = \"lease\"`), or wait";
    let least =
        "ask for at least 400m of compute, or leave out gpulease/enforcement=required, or wait";
    let mode = "ask for gpulease/isolation=mps, or leave out gpulease/isolation, or wait";
    let (smaller, wait) = ("ask for a smaller share, or wait", "wait until leases end");
    let rows: Vec<(Option<u32>, Vec<Hold>, Request, &str)> = vec![
        (Some(1000), vec![mps(300)], any(), lease),
        (Some(0), vec![pinned(200)], any(), "ask for at most 200m of compute, or wait"),
        (Some(0), vec![mps(400)], required(300), least),
        (Some(0), vec![mps(300)], by(Isolation::TimeSlicing, 300), mode),
        (Some(0), vec![mps(300)], set, "ask for one device, or wait"),
        (Some(0), vec![turns], required(300), wait),
        (None, vec![mps(300)], any(), wait),
        (Some(0), full, any(), wait),
        (Some(0), vec![mps(800)], any(), smaller),
        (Some(1000), vec![mps(800)], any(), smaller),
    ];
    for (uid, holds, request, way) in rows {
        let refusal = as_user(uid, &holds, &device, &request).unwrap_err();
        let begin = format!("\"gpulease leases\" shows the holders; {way}");
        assert!(refusal.hint.starts_with(&begin), "{}\n{begin}", refusal.hint);
    }
}
