use super::*;
use crate::inventory::fixtures::amd_machines::{mi210x8, with_unbound};
use crate::inventory::fixtures::{Sys, can_be_asked_for};
use crate::inventory::stamp::Look;
use crate::model::device::LinkKind;

fn found(sys: &Sys) -> Found {
    find(&sys.paths(), &Config::default())
}

/// Two cards of Intel's, whose own switch is above each, and what is built into the processor.
fn arc() -> Sys {
    let sys = with_unbound();
    for (port, bus, card, minor) in [(1, 0x4d, 10, 140), (2, 0x5d, 11, 141)] {
        let port = format!("pci0000:40/0000:40:0{port}.0");
        let up = format!("{port}/0000:{:02x}:00.0", bus - 2);
        let down = format!("{up}/0000:{:02x}:01.0", bus - 1);
        for bridge in [&port, &up, &down] {
            sys.pci(bridge, "0x8086", &[("class", "0x060400")]);
        }
        let files = [("device", "0x56a0"), ("class", "0x030000"), ("numa_node", "1")];
        let gpu = sys.pci(&format!("{down}/0000:{bus:02x}:00.0"), "0x8086", &files);
        sys.driver(&gpu, if bus == 0x4d { "i915" } else { "xe" });
        sys.drm(&gpu, card, minor);
    }
    let files = [("device", "0xa780"), ("class", "0x030000"), ("numa_node", "-1")];
    let inside = sys.pci("pci0000:00/0000:00:02.0", "0x8086", &files);
    sys.driver(&inside, "i915");
    sys.drm(&inside, 12, 142);
    sys.write("class/drm/version", "drm 1.1.0 20060810");
    sys
}

#[test]
fn intels_gpus_are_whole_and_named_by_their_place() {
    let found = found(&arc());
    let got: Vec<_> = found
        .devices
        .iter()
        .map(|device| {
            assert_eq!((device.vendor, device.memory_total_bytes), (Vendor::Intel, None));
            assert_eq!((device.healthy, device.kfd_node), (None, None));
            assert_eq!(device.nodes.len(), 1, "the card node is for displays");
            assert!(can_be_asked_for(device.uuid.as_str()), "{}", device.uuid);
            let (uuid, model) = (device.uuid.as_str(), device.model.as_str());
            (uuid, model, device.nodes[0].path.as_str(), device.numa_node, device.details.card)
        })
        .collect();
    let arc = "Intel GPU [8086:56a0]";
    assert_eq!(
        got,
        [
            ("GPU-0000-4d-00.0", arc, "/dev/dri/renderD140", Some(1), Some(10)),
            ("GPU-0000-5d-00.0", arc, "/dev/dri/renderD141", Some(1), Some(11)),
            ("GPU-0000-00-02.0", "Intel GPU [8086:a780]", "/dev/dri/renderD142", None, Some(12)),
        ]
    );
    let link = &found.links[0];
    assert_eq!((link.kind, found.links.len()), (LinkKind::HostBridge, 1));
    assert_eq!((link.a.as_str(), link.b.as_str()), ("GPU-0000-4d-00.0", "GPU-0000-5d-00.0"));
    assert_eq!(found.drivers.len(), 1);
    assert_eq!((found.drivers[0].vendor, &found.drivers[0].version), (Vendor::Intel, &None));
    assert!(found.control.is_empty() && found.notes.is_empty());
}

#[test]
fn others_are_left_alone_and_what_comes_is_noticed() {
    let sys = mi210x8();
    let found = found(&sys);
    assert_eq!((found.devices.len(), found.drivers.len(), found.from.len()), (0, 0, 0));
    let Look::Entries(names) = &found.stamps[0].look else { panic!("{:?}", found.stamps) };
    assert_eq!((found.stamps.len(), names.len()), (1, 16));
    assert_eq!(found.stamps[0].source, Source::Intel);
    // No DRM at all.
    let found = super::find(&Sys::new().paths(), &Config::default());
    assert_eq!((found.stamps[0].look.clone(), found.notes.len()), (Look::Absent, 0));
}

#[test]
fn a_silent_gpu_is_listed_with_its_fault() {
    let sys = arc();
    sys.fail_with_eio("bus/pci/devices/0000:4d:00.0/device");
    let device = found(&sys).devices.swap_remove(0);
    assert_eq!((device.uuid.as_str(), device.model.as_str()), ("GPU-0000-4d-00.0", "Intel GPU"));
    let fault = device.details.fault.unwrap();
    assert!(fault.starts_with("its driver does not answer: `device`: Input/output"), "{fault}");
}

#[test]
fn intel_is_looked_for_only_if_configured() {
    let sys = arc();
    let vendors = |sources: &[Source]| {
        let sources = sources.iter().copied().collect();
        let config = Config { sources, devices_file: sys.path("none"), ..Config::default() };
        let inventory = crate::inventory::scan(&sys.paths(), &config).unwrap();
        assert_eq!(crate::inventory::freshness(&inventory, &sys.paths(), &config), Ok(()));
        let devices = inventory.node.devices;
        devices.iter().map(|d| (d.pci.bus, d.vendor.as_str())).collect::<Vec<_>>()
    };
    let amd = [(0x03, "amd"), (0x06, "amd")];
    assert_eq!(vendors(&[Source::Static, Source::Amd]), amd);
    let intel = [(0x4d, "intel"), (0x5d, "intel")];
    let all = [&[(0x00, "intel")], amd.as_slice(), &intel].concat();
    assert_eq!(vendors(&[Source::Amd, Source::Intel]), all);
    assert!(!Source::DEFAULT.contains(&Source::Intel));
}
