use super::*;
use crate::inventory::fixtures::Sys;
use crate::inventory::fixtures::amd_machines::{MI210, mi300x_cpx, with_unbound};

fn level_of(sys: &Sys, a: &str, b: &str) -> Option<LinkKind> {
    let address = |text| PciAddress::parse(text).unwrap();
    let level = |a, b| {
        Chain::of(&sys.paths().sys, address(a))?.level(&Chain::of(&sys.paths().sys, address(b))?)
    };
    let (level, back) = (level(a, b), level(b, a));
    assert_eq!(level, back, "{a} {b}");
    level
}

/// NVIDIA's GPUs below two switches in a row, at one root port; a third at another port.
fn switches() -> Sys {
    let sys = Sys::new();
    let port = "pci0000:00/0000:00:01.0";
    let first = format!("{port}/0000:01:00.0");
    let second = format!("{first}/0000:02:02.0/0000:06:00.0");
    for chain in [
        port,
        &first,
        &format!("{first}/0000:02:00.0"),
        &format!("{first}/0000:02:01.0"),
        &format!("{first}/0000:02:02.0"),
        &second,
        &format!("{second}/0000:07:00.0"),
        "pci0000:00/0000:00:03.0",
        "pci0000:80/0000:80:03.0",
    ] {
        sys.pci(chain, "0x10b5", &[]);
    }
    for chain in [
        format!("{first}/0000:02:00.0/0000:03:00.0"),
        format!("{first}/0000:02:00.0/0000:03:00.1"),
        format!("{first}/0000:02:01.0/0000:04:00.0"),
        format!("{second}/0000:07:00.0/0000:08:00.0"),
        "pci0000:00/0000:00:03.0/0000:09:00.0".to_owned(),
        "pci0000:00/0000:00:0f.0".to_owned(),
        "pci0000:80/0000:80:03.0/0000:81:00.0".to_owned(),
    ] {
        sys.pci(&chain, "0x10de", &[]);
    }
    sys
}

#[test]
fn the_levels_are_those_of_the_bridges_in_between() {
    let sys = switches();
    let first = "0000:03:00.0";
    for (other, expected) in [
        ("0000:03:00.1", Some(LinkKind::Pcie)),
        ("0000:04:00.0", Some(LinkKind::Pcie)),
        ("0000:08:00.0", Some(LinkKind::PcieMulti)),
        ("0000:09:00.0", Some(LinkKind::HostBridge)),
        ("0000:00:0f.0", Some(LinkKind::HostBridge)),
        ("0000:81:00.0", None),
        ("0000:55:00.0", None),
    ] {
        assert_eq!(level_of(&sys, first, other), expected, "{other}");
    }
}

#[test]
fn the_switch_on_a_gpus_own_card_does_not_count() {
    let sys = Sys::new();
    let port = "pci0000:20/0000:20:01.1";
    let switch = format!("{port}/0000:21:00.0");
    sys.pci(port, "0x1022", &[]);
    sys.pci(&switch, "0x1000", &[]);
    for (down, bus) in [("0000:22:00.0", 0x23), ("0000:22:01.0", 0x26)] {
        let down = format!("{switch}/{down}");
        let (up, own) = (format!("0000:{bus:02x}:00.0"), format!("0000:{:02x}:00.0", bus + 1));
        sys.pci(&down, "0x1000", &[]);
        sys.pci(&format!("{down}/{up}"), "0x1002", &[]);
        sys.pci(&format!("{down}/{up}/{own}"), "0x1002", &[]);
        sys.on_bus(&format!("{down}/{up}/{own}"), bus + 2, MI210, &[]);
    }
    assert_eq!(level_of(&sys, "0000:25:00.0", "0000:28:00.0"), Some(LinkKind::Pcie));
    // A root port is never part of a card, even if it has the same maker.
    let sys = Sys::new();
    for (port, bus) in [("0000:00:01.0", 1), ("0000:00:02.0", 2)] {
        let chain = format!("pci0000:00/{port}");
        sys.pci(&chain, "0x8086", &[]);
        sys.pci(&format!("{chain}/0000:0{bus}:00.0"), "0x8086", &[]);
    }
    assert_eq!(level_of(&sys, "0000:01:00.0", "0000:02:00.0"), Some(LinkKind::HostBridge));
}

#[test]
fn a_host_bridge_behind_a_device_is_one_of_its_own() {
    let sys = Sys::new();
    let vmd = "pci0000:00/0000:00:05.5/pci10000:00";
    for (port, bus) in [("10000:00:02.0", 1), ("10000:00:03.0", 2)] {
        sys.pci(&format!("{vmd}/{port}/10000:0{bus}:00.0"), "0x10de", &[]);
    }
    sys.pci("pci0000:00/0000:00:01.0/0000:01:00.0", "0x10de", &[]);
    assert_eq!(level_of(&sys, "10000:01:00.0", "10000:02:00.0"), Some(LinkKind::HostBridge));
    assert_eq!(level_of(&sys, "10000:01:00.0", "0000:01:00.0"), None);
}

#[test]
fn pairs_are_linked_once_parts_of_a_gpu_never() {
    let sys = with_unbound();
    let devices = sys.found().devices;
    let links = links(&sys.paths(), &devices);
    assert_eq!(links.len(), 1);
    assert_eq!((&links[0].a, &links[0].b), (&devices[0].uuid, &devices[1].uuid));
    assert_eq!((links[0].kind, links[0].lanes), (LinkKind::HostBridge, 1));
    let sys = mi300x_cpx(1);
    let devices = sys.found().devices;
    assert_eq!((devices.len(), super::links(&sys.paths(), &devices).len()), (8, 0));
}
