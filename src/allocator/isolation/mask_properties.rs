//! Masks of compute units over the shapes of real GPUs.

use super::super::fixtures::*;
use super::super::{Hold, Snapshot};
use crate::allocator;
use crate::model::code::Code;
use crate::model::cu_set::CuSet;
use crate::model::device::{Device, Node};
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::quantity::MilliGpu;
use crate::request::Request;
use proptest::prelude::*;

/// Name, architecture, compute units, dies, shader engines of each die, and the size of a granule.
type Shape = (&'static str, &'static str, u32, u32, u32, u32);

const SHAPES: &[Shape] = &[
    ("MI210", "gfx90a", 104, 1, 8, 8),
    ("a die of MI250X", "gfx90a", 110, 1, 8, 8),
    ("MI300X in SPX", "gfx942", 304, 8, 4, 8),
    ("MI300X in CPX", "gfx942", 38, 1, 4, 1),
    ("MI308X in SPX", "gfx942", 80, 4, 4, 4),
    ("MI308X in CPX", "gfx942", 20, 1, 4, 1),
    ("RX 7900 XTX", "gfx1100", 96, 1, 6, 6),
    ("RX 7800 XT", "gfx1101", 60, 1, 3, 6),
    ("32 units of RDNA", "gfx1032", 32, 1, 2, 2),
    ("8 units of RDNA", "gfx1036", 8, 1, 1, 2),
];

fn device(shape: &Shape) -> Device {
    let (_, arch, units, xccs, engines, _) = *shape;
    made_of(mi300x(0), arch, units, xccs, engines)
}

/// The mask that a share gets beside these holds.
fn masked(node: &Node, holds: &[Hold], request: &Request) -> Option<CuSet> {
    let snapshot = Snapshot { holds: holds.to_vec(), ..snapshot(node) };
    allocator::grant(&snapshot, request).unwrap().devices.remove(0).cu_mask
}

fn texts(shape: usize, shares: &[u32]) -> Vec<String> {
    let node = node(vec![device(&SHAPES[shape])]);
    let mut snapshot = snapshot(&node);
    let mut texts = Vec::new();
    for milli in shares {
        let grant = allocator::grant(&snapshot, &share(Some(*milli), None)).unwrap();
        assert_eq!(grant.isolation.effective, Isolation::CuMask);
        texts.push(grant.devices[0].cu_mask.as_ref().map(ToString::to_string).unwrap_or_default());
        snapshot.holds.extend(holds_of(&grant, &milli.to_string()));
    }
    texts
}

#[test]
fn masks_are_written_as_rocr_reads_them() {
    // 13 granules of 8: a half is 6 of them, two tenths are 2.
    assert_eq!(texts(0, &[500, 200, 300]), ["0-47", "48-63", "64-87"]);
    // 38 rounds over 8 dies.
    assert_eq!(texts(2, &[250, 750]), ["0-71", "72-295"]);
    assert_eq!(texts(3, &[100, 500]), ["0-2", "3-21"]);
    // 16 groups of a work-group processor on each of 6 engines.
    assert_eq!(texts(6, &[500, 100, 400]), ["0-47", "48-53", "54-89"]);
    // A whole device is not masked.
    assert_eq!(texts(2, &[1000]), [""]);
}

#[test]
fn masks_fill_gaps_first_and_take_grace_last() {
    let node = node(vec![device(&SHAPES[3])]);
    let by = |first, last, grace| {
        let mut held = hold(&node.devices[0], 100, &format!("{first}"));
        held.kind.isolation = Some(Isolation::CuMask);
        held.kind.cus = Some(CuSet::of([(first, last)]));
        held.grace = grace;
        held
    };
    let request = share(Some(200), None); // 7 of 38
    let text = |holds: &[Hold]| masked(&node, holds, &request).unwrap().to_string();
    assert_eq!(text(&[by(2, 4, false), by(8, 30, false)]), "0-1,5-7,31-32");
    assert_eq!(text(&[by(2, 4, true)]), "0-1,5-9");
    // The grace has to give units up: it had 34 of them.
    let mut most = by(2, 35, true);
    most.milli = MilliGpu(900);
    assert_eq!(text(&[most]), "0-4,36-37");
}

#[test]
fn few_units_run_out_before_the_thousandths() {
    let node = node(vec![device(&SHAPES[9])]);
    let mut snapshot = snapshot(&node);
    for number in 0..4 {
        let grant = allocator::grant(&snapshot, &share(Some(100), None)).unwrap();
        assert_eq!(grant.devices[0].cu_mask.as_ref().unwrap().count(), 2);
        snapshot.holds.extend(holds_of(&grant, &number.to_string()));
    }
    let refusal = allocator::grant(&snapshot, &share(Some(100), None)).unwrap_err();
    assert_eq!(refusal.code, Code::NoCapacity);
    let reason = &refusal.verdicts[0].reason;
    assert!(reason.starts_with("0 groups of its compute units are free, 1 requested; held by"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// Shares start and end. A share that fits by thousandths gets its part of the units, in whole
    /// granules that no other share has.
    #[test]
    fn masks_are_disjoint_aligned_and_of_the_right_size(
        shape in 0..SHAPES.len(),
        steps in prop::collection::vec((100..=1000_u32, any::<prop::sample::Index>(), 0..3), 1..40),
    ) {
        let shape = &SHAPES[shape];
        let (name, arch, units, xccs, _, granule) = *shape;
        let granules = units / granule;
        let node = node(vec![device(shape)]);
        let mut holds: Vec<Hold> = Vec::new();
        for (number, (milli, index, what)) in steps.into_iter().enumerate() {
            if what == 0 && !holds.is_empty() {
                holds.remove(index.index(holds.len()));
                continue;
            }
            let snapshot = Snapshot { holds: holds.clone(), ..snapshot(&node) };
            let sum: u32 = holds.iter().map(|hold| hold.milli.0).sum();
            let held: u32 =
                holds.iter().filter_map(|h| h.kind.cus.as_ref()).map(CuSet::count).sum();
            let wanted = (milli * granules / 1000).max(1);
            let fits = sum + milli <= 1000;
            let answer = allocator::grant(&snapshot, &share(Some(milli), None));
            if granules >= 10 {
                prop_assert_eq!(answer.is_ok(), fits, "{}: {} beside {}", name, milli, sum);
            } else {
                let has_room = held + wanted * granule <= granules * granule || milli == 1000;
                prop_assert_eq!(answer.is_ok(), fits && has_room, "{}", name);
            }
            let Ok(grant) = answer else { continue };
            prop_assert_eq!(grant.devices[0].sharing, Sharing::Shared);
            holds.extend(holds_of(&grant, &number.to_string()));
            let Some(mask) = &grant.devices[0].cu_mask else {
                prop_assert_eq!(milli, 1000);
                continue;
            };
            prop_assert_eq!(mask.count(), wanted * granule, "{}", name);
            prop_assert_eq!(CuSet::parse(&mask.to_string()), Some(mask.clone()));
            let step = if arch.starts_with("gfx1") { granule.max(2) } else { granule };
            prop_assert!(step.is_multiple_of(xccs));
            for (first, last) in mask.ranges() {
                prop_assert!(first.is_multiple_of(step) && (last + 1).is_multiple_of(step));
                prop_assert!(*last < units);
                let others = holds.iter().rev().skip(1).filter_map(|h| h.kind.cus.as_ref());
                prop_assert_eq!(others.filter(|other| other.touches(*first, *last)).count(), 0);
            }
        }
    }
}
