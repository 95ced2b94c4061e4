use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// `3g.20gb:4` begins at slot 4.
fn profiles(names: &[&str]) -> Vec<(MigProfile, Option<u32>)> {
    let one = |name: &&str| match name.split_once(':') {
        Some((name, slot)) => (MigProfile::new(name).unwrap(), Some(slot.parse().unwrap())),
        None => (MigProfile::new(name).unwrap(), None),
    };
    names.iter().map(one).collect()
}

fn geometry(name: &str) -> &'static Geometry {
    GEOMETRIES.iter().find(|geometry| geometry.name == name).unwrap()
}

fn planned(gpu: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let placed = geometry(gpu).place(&profiles(names));
    placed
        .map(|all| all.iter().map(PlacedInstance::to_string).collect())
        .map_err(|why| why.to_string())
}

/// Whatever is placed lies where `nvidia-smi mig -lgipp` says that it can, and nowhere twice.
fn assert_sound(
    geometry: &Geometry,
    wanted: &[(MigProfile, Option<u32>)],
    placed: &[PlacedInstance],
) {
    let mut slots = BTreeSet::new();
    for instance in placed {
        let (_, size) =
            geometry.sizes().find(|(name, _)| *name == instance.profile.as_str()).unwrap();
        assert!(size.starts.contains(&instance.start), "{instance}");
        assert_eq!(size.slots, instance.slots, "{instance}");
        for slot in instance.start..instance.start + instance.slots {
            assert!(slot < geometry.slots && slots.insert(slot), "{placed:?}");
        }
    }
    let slices: u32 = placed.iter().map(|instance| instance.profile.slices()).sum();
    assert!(slices <= geometry.slices, "{placed:?}");
    let names = |all: &mut dyn Iterator<Item = &MigProfile>| {
        let mut names: Vec<String> = all.map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&mut placed.iter().map(|instance| &instance.profile)),
        names(&mut wanted.iter().map(|(profile, _)| profile))
    );
}

#[test]
fn gpus_are_known_by_name_and_memory() {
    let of = |model: &str, gib| Geometry::of(model, gib).map(|geometry| geometry.name);
    for (model, gib, name) in [
        ("NVIDIA A100-SXM4-40GB", Some(40), Some("A100 40GB")),
        ("NVIDIA A100-PCIE-40GB", None, Some("A100 40GB")),
        ("A100 80GB", None, Some("A100 80GB")),
        ("a100-80gb", None, Some("A100 80GB")),
        ("NVIDIA A30", Some(24), Some("A30 24GB")),
        ("A30", None, Some("A30 24GB")),
        ("NVIDIA H100 80GB HBM3", Some(80), Some("H100 80GB")),
        ("NVIDIA H100 PCIe", Some(80), Some("H100 80GB")),
        ("NVIDIA H100 NVL", Some(94), Some("H100 94GB")),
        ("NVIDIA GH200 480GB", Some(96), Some("GH200 96GB")),
        ("NVIDIA H200", Some(140), Some("H200 141GB")),
        ("H200", None, Some("H200 141GB")),
        ("NVIDIA B200", Some(179), Some("B200 180GB")),
        ("NVIDIA GB200", Some(185), Some("GB200 186GB")),
        // Which one, the name does not tell.
        ("A100", None, None),
        ("H100 81GB", None, None),
        ("NVIDIA GH200 480GB", None, None),
        // As another card of the family, and others.
        ("NVIDIA A100-SXM4-40GB", Some(20), None),
        ("NVIDIA L40S", Some(45), None),
        ("NVIDIA A1000", Some(8), None),
        ("", None, None),
    ] {
        assert_eq!(of(model, gib), name, "{model}");
    }
}

#[test]
fn every_name_is_a_profile_and_says_what_its_size_is() {
    for geometry in GEOMETRIES {
        assert_eq!(geometry.names.len(), geometry.sizes.len(), "{}", geometry.name);
        for (name, size) in geometry.sizes() {
            let profile = MigProfile::new(name).unwrap();
            assert!(profile.slices() <= geometry.slices && profile.slices() <= size.slots.max(4));
            assert_eq!(name.contains("+me"), size.max == 1 && size.slots <= 2, "{name}");
            let memory: u64 =
                name.split('.').nth(1).unwrap().split("gb").next().unwrap().parse().unwrap();
            // Rounded up, with the driver's part of it.
            let exact = geometry.gib * u64::from(size.slots) / u64::from(geometry.slots);
            assert!(memory.abs_diff(exact) <= 1, "{} {name}: {exact}", geometry.name);
            let most = (0..size.max).map(|_| (profile.clone(), None)).collect::<Vec<_>>();
            assert_sound(geometry, &most, &geometry.place(&most).unwrap());
        }
    }
}

#[test]
fn instances_are_placed_where_they_can_lie() {
    let plan = |names| planned("H100 80GB", names).unwrap();
    assert_eq!(plan(&["1g.10gb", "1g.10gb", "3g.40gb"]), ["3g.40gb:0", "1g.10gb:4", "1g.10gb:5"]);
    // The second half is the only place for 3g beside 4g, which has only the first.
    assert_eq!(plan(&["3g.40gb", "4g.40gb"]), ["4g.40gb:0", "3g.40gb:4"]);
    assert_eq!(plan(&["1g.20gb", "4g.40gb", "2g.20gb"]), ["4g.40gb:0", "2g.20gb:4", "1g.20gb:6"]);
    assert_eq!(plan(&["1g.10gb"; 7]).last().unwrap(), "1g.10gb:6");
    assert_eq!(plan(&["7g.80gb"]), ["7g.80gb:0"]);
    assert_eq!(plan(&[]), [""; 0]);
    // Or where they are wanted.
    assert_eq!(plan(&["3g.40gb:4", "1g.10gb"]), ["1g.10gb:0", "3g.40gb:4"]);
    assert_eq!(plan(&["1g.10gb:3", "3g.40gb"]), ["1g.10gb:3", "3g.40gb:4"]);
    let beside = plan(&["1g.10gb:0", "1g.10gb", "3g.40gb"]);
    assert_eq!(beside, ["1g.10gb:0", "1g.10gb:1", "3g.40gb:4"]);
}

#[test]
fn what_does_not_fit_is_said() {
    let why = |names: &[&str]| planned("A100 40GB", names).unwrap_err();
    assert_eq!(why(&["1g.10gb+me"]), "A100 40GB has no MIG profile 1g.10gb+me");
    assert_eq!(why(&["1c.3g.20gb"]), "1c.3g.20gb is a compute instance, a part of a GPU instance");
    assert_eq!(why(&["1g.5gb"; 8]), "8 × 1g.5gb is more than the 7 that a GPU can have");
    assert_eq!(
        why(&["3g.20gb", "3g.20gb", "1g.5gb"]),
        "9 memory slices are wanted of the 8 that the GPU has"
    );
    assert_eq!(
        why(&["2g.10gb", "2g.10gb", "1g.5gb", "1g.5gb", "1g.5gb", "1g.5gb"]),
        "8 compute slices are wanted of the 7 that the GPU has"
    );
    assert_eq!(why(&["3g.20gb:2"]), "3g.20gb cannot begin at slot 2, only at 0, 4");
    assert_eq!(
        why(&["1g.5gb:0", "4g.20gb"]),
        "1g.5gb has to begin at slot 0, which leaves it no place beside 4g.20gb"
    );
    let why = planned("A30 24GB", &["1g.6gb+me", "2g.12gb+me"]).unwrap_err();
    assert!(why.starts_with("2 instances with media extensions"), "{why}");
}

#[test]
fn a_set_that_only_counts_up_is_refused_too() {
    // No GPU that is known here is like this: there is always a place for what can be counted.
    let narrow = Geometry {
        sizes: &[
            InstanceSize { slots: 2, starts: &[0], max: 2 },
            InstanceSize { slots: 1, starts: &[0, 3], max: 2 },
        ],
        names: &["2g.12gb", "1g.6gb"],
        ..*geometry("A30 24GB")
    };
    let place = |names: &[&str]| narrow.place(&profiles(names)).map_err(|why| why.to_string());
    assert_eq!(place(&["1g.6gb", "2g.12gb"]).unwrap().len(), 2);
    assert_eq!(
        place(&["2g.12gb", "2g.12gb"]).unwrap_err(),
        "2g.12gb has to begin at slot 0, which leaves it no place beside 2g.12gb"
    );
    assert_eq!(
        place(&["1g.6gb", "2g.12gb", "1g.6gb"]).unwrap_err(),
        "1g.6gb has to begin at one of the slots 0, 3, which leaves it no place beside 2g.12gb, \
         1g.6gb"
    );
}

/// Every set of instances that lies on an A100 without overlap, found by another way: slot by slot.
fn by_slots(
    from: u32,
    sizes: &[(&'static str, &'static InstanceSize)],
) -> BTreeSet<Vec<&'static str>> {
    let mut all = BTreeSet::from([Vec::new()]);
    if from >= 8 {
        return all;
    }
    all.extend(by_slots(from + 1, sizes));
    for (name, size) in sizes.iter().filter(|(_, size)| size.starts.contains(&from)) {
        for mut rest in by_slots(from + size.slots, sizes) {
            rest.push(name);
            rest.sort_unstable();
            all.insert(rest);
        }
    }
    all
}

#[test]
fn all_combinations_of_a100_are_told_from_all_others() {
    let geometry = geometry("A100 40GB");
    // The sizes of the guide's figure, without the variants of the smallest.
    let sizes: Vec<_> =
        geometry.sizes().filter(|(name, _)| !matches!(*name, "1g.5gb+me" | "1g.10gb")).collect();
    let possible = by_slots(0, &sizes);
    // All multisets of up to eight instances.
    let mut open = vec![Vec::new()];
    let (mut yes, mut no) = (0, 0);
    while let Some(names) = open.pop() {
        let wanted = profiles(&names);
        match geometry.place(&wanted) {
            Ok(placed) => {
                assert_sound(geometry, &wanted, &placed);
                let mut sorted = names.clone();
                sorted.sort_unstable();
                assert!(possible.contains(&sorted), "{names:?}");
                yes += 1;
            }
            Err(why) => {
                let mut sorted = names.clone();
                sorted.sort_unstable();
                assert!(!possible.contains(&sorted), "{names:?}: {why}");
                no += 1;
            }
        }
        let last = names.last().and_then(|last| sizes.iter().position(|(name, _)| name == last));
        if names.len() < 8 {
            for (name, _) in sizes.iter().skip(last.unwrap_or_default()) {
                open.push(names.iter().copied().chain([*name]).collect());
            }
        }
    }
    assert_eq!(yes, possible.len());
    assert!(no > 100, "{no}");
    // The rows of the guide's figure of A100: those to which nothing can be added.
    let full = |names: &Vec<&str>| {
        sizes.iter().all(|(name, _)| {
            let mut more = names.clone();
            more.push(name);
            more.sort_unstable();
            !possible.contains(&more)
        })
    };
    let full: Vec<_> = possible.iter().filter(|names| full(names)).collect();
    for row in [
        &["7g.40gb"][..],
        &["3g.20gb", "4g.20gb"],
        &["1g.5gb", "2g.10gb", "4g.20gb"],
        &["1g.5gb", "1g.5gb", "1g.5gb", "4g.20gb"],
        &["3g.20gb", "3g.20gb"],
        &["1g.5gb", "2g.10gb", "2g.10gb", "2g.10gb"],
        &["1g.5gb", "1g.5gb", "1g.5gb", "1g.5gb", "1g.5gb", "1g.5gb", "1g.5gb"],
    ] {
        assert!(full.iter().any(|names| names.as_slice() == row), "{row:?}: {full:?}");
    }
}

fn any_layout() -> impl Strategy<Value = (&'static Geometry, Vec<(MigProfile, Option<u32>)>)> {
    prop::sample::select(GEOMETRIES.iter().collect::<Vec<_>>()).prop_flat_map(|geometry| {
        let names: Vec<&str> = geometry.sizes().map(|(name, _)| name).collect();
        let profile =
            prop::sample::select(names).prop_map(|name| (MigProfile::new(name).unwrap(), None));
        (Just(geometry), prop::collection::vec(profile, 0..9))
    })
}

proptest! {
    #[test]
    fn no_plan_has_two_instances_on_one_slot((geometry, wanted) in any_layout()) {
        match geometry.place(&wanted) {
            Ok(placed) => assert_sound(geometry, &wanted, &placed),
            // Less never fits worse.
            Err(_) => {
                let more: Vec<_> = wanted.iter().chain(&wanted).cloned().collect();
                prop_assert!(geometry.place(&more).is_err());
            }
        }
    }
}
