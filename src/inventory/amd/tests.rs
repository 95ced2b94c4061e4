//! Whole machines: every value of every GPU.

use super::*;
use crate::inventory::fixtures::amd_machines::{
    APU_MEMORY, MI210_BUSES, MI210_MEMORY, MI300X_BUSES, MI300X_MEMORY, VERSION, apu, mi210x8,
    mi250x, mi300x_cpx, mi300x_id, mi300x_spx, with_unbound,
};
use crate::inventory::fixtures::{Sys, can_be_asked_for};
use crate::inventory::stamp::Look;
use crate::model::device::{Device, Node, Partition};

fn nodes(device: &Device) -> Vec<&str> {
    assert!(device.nodes.iter().all(|node| node.simulated.is_none()));
    device.nodes.iter().map(|node| node.path.as_str()).collect()
}

fn memory(device: &Device) -> Option<u64> {
    device.memory_total_bytes.map(|bytes| bytes.0)
}

/// Compute units, dies, architecture.
fn size(device: &Device) -> (Option<u32>, Option<u32>, Option<&str>) {
    let details = &device.details;
    (details.compute_units, details.xccs, details.arch.as_deref())
}

fn pairs(found: &super::Found, kind: LinkKind) -> Vec<(usize, usize)> {
    let at = |gpu: &DeviceId| found.devices.iter().position(|d| d.package() == gpu).unwrap();
    let of_kind = found.links.iter().filter(|link| link.kind == kind);
    of_kind.map(|link| (at(&link.a), at(&link.b))).collect()
}

/// All pairs of these.
fn every(range: std::ops::Range<usize>) -> Vec<(usize, usize)> {
    range.clone().flat_map(|a| (a + 1..range.end).map(move |b| (a, b))).collect()
}

fn is_sound(found: &super::Found) {
    for device in &found.devices {
        assert_eq!((device.vendor, device.simulated, &device.mig), (Vendor::Amd, false, &None));
        assert_eq!(device.memory_reserved_bytes, None, "the driver's reserve is unknown");
        assert!(can_be_asked_for(device.uuid.as_str()), "{}", device.uuid);
    }
    let control: Vec<_> = found.control.iter().map(|c| (c.vendor, c.nodes.len())).collect();
    assert_eq!(control, [(Vendor::Amd, 1)]);
    assert_eq!(found.control[0].nodes[0].path, "/dev/kfd");
    assert!(found.links.iter().all(|link| link.lanes == 1 && link.a != link.b));
    // As the inventory will have them: already in order.
    let mut node = Node { devices: found.devices.clone(), ..Node::default() };
    node.number();
    let order = |devices: &[Device]| -> Vec<DeviceId> {
        devices.iter().map(|device| device.uuid.clone()).collect()
    };
    assert_eq!(order(&node.devices), order(&found.devices));
    let encoded = serde_json::to_string(&node.devices).unwrap();
    let decoded: Vec<Device> = serde_json::from_str(&encoded).unwrap();
    assert_eq!(decoded, node.devices);
}

fn stamped(sys: &Sys, found: &super::Found) -> Vec<(String, Option<String>)> {
    let shown = |stamp: &Stamp| {
        assert_eq!(stamp.source, Source::Amd);
        let path = stamp.path.strip_prefix(&sys.root).unwrap().display().to_string();
        match &stamp.look {
            Look::Text(text) => (path, Some(text.clone())),
            Look::Absent => (path, None),
            look => panic!("{look:?}"),
        }
    };
    found.stamps.iter().map(shown).collect()
}

#[test]
fn no_kfd_is_no_gpu_and_that_it_comes_is_noticed() {
    let sys = Sys::new();
    let found = sys.found();
    let generation = "class/kfd/kfd/topology/generation_id".to_owned();
    assert_eq!(stamped(&sys, &found), [(generation, None)]);
    assert_eq!(found, super::Found { stamps: found.stamps.clone(), ..super::Found::default() });
}

#[test]
fn eight_mi210_are_eight_devices_in_two_hives() {
    let sys = mi210x8();
    let found = sys.found();
    is_sound(&found);
    assert_eq!((found.devices.len(), found.notes.as_slice()), (8, [].as_slice()));
    for (position, device) in found.devices.iter().enumerate() {
        let number = u32::try_from(position).unwrap();
        let id = 10_645_161_697_164_847_644_u64 + u64::from(number);
        assert_eq!(device.uuid.as_str(), format!("GPU-{id:016x}"));
        let pci = format!("0000:{:02x}:00.0", MI210_BUSES[position]);
        assert_eq!(device.pci.to_string(), pci);
        assert_eq!(nodes(device), [format!("/dev/dri/renderD{}", 128 + number)]);
        assert_eq!((device.kfd_node, device.details.card), (Some(number + 2), Some(number + 1)));
        assert_eq!(device.numa_node, Some(u32::from(position >= 4)));
        assert_eq!(memory(device), Some(MI210_MEMORY));
        assert_eq!(size(device), (Some(104), Some(1), Some("gfx90a")));
        assert_eq!(device.details.shader_engines, Some(8));
        assert_eq!(device.model, "AMD Instinct MI210");
        assert_eq!((device.healthy, &device.details.health_reason), (Some(true), &None));
        assert_eq!((&device.details.partition, &device.details.fault), (&None, &None));
    }
    assert_eq!(found.devices[7].uuid.as_str(), "GPU-93bb3629c01aea23");
    let two_hives = [every(0..4), every(4..8)].concat();
    assert_eq!(pairs(&found, LinkKind::Xgmi), two_hives);
    assert_eq!(found.links.len(), 12, "each pair once, and no PCIe beside xGMI");
    let driver = &found.drivers[0];
    assert_eq!((driver.vendor, driver.version.as_deref()), (Vendor::Amd, Some(VERSION)));
    assert_eq!((found.drivers.len(), driver.files.len()), (1, 0));
    assert_eq!(found.from, [sys.path("class/kfd/kfd/topology").display().to_string()]);
    let generation = "class/kfd/kfd/topology/generation_id".to_owned();
    assert_eq!(stamped(&sys, &found), [(generation, Some("2".to_owned()))]);
}

#[test]
fn the_two_halves_of_an_mi250x_are_gpus_of_their_own() {
    let found = mi250x().found();
    is_sound(&found);
    let got: Vec<_> = found
        .devices
        .iter()
        .map(|d| (d.uuid.as_str(), d.pci.bus, nodes(d)[0], d.kfd_node, memory(d), size(d)))
        .collect();
    let (memory, size) = (Some(MI210_MEMORY), (Some(110), Some(1), Some("gfx90a")));
    assert_eq!(
        got,
        [
            ("GPU-001a2b3c4d5e6f00", 0xc1, "/dev/dri/renderD128", Some(4), memory, size),
            ("GPU-001a2b3c4d5e6f01", 0xc9, "/dev/dri/renderD129", Some(5), memory, size),
            ("GPU-001a2b3c4d5e6f02", 0xd1, "/dev/dri/renderD130", Some(6), memory, size),
            ("GPU-001a2b3c4d5e6f03", 0xd9, "/dev/dri/renderD131", Some(7), memory, size),
        ]
    );
    for device in &found.devices {
        assert_eq!((device.healthy, device.numa_node), (None, Some(3)), "no RAS, no word");
        assert_eq!(
            (device.model.as_str(), &device.details.partition),
            ("AMD Instinct MI250X", &None)
        );
    }
    assert_eq!(pairs(&found, LinkKind::Xgmi), [(0, 1), (0, 2), (1, 3), (2, 3)]);
    // Across: by the board's switch.
    assert_eq!(pairs(&found, LinkKind::Pcie), [(0, 3), (1, 2)]);
    assert_eq!(found.links.len(), 6);
}

#[test]
fn an_unpartitioned_gpu_is_whole() {
    let sys = mi300x_spx();
    let found = sys.found();
    is_sound(&found);
    assert_eq!((found.devices.len(), found.notes.as_slice()), (8, [].as_slice()));
    for (number, device) in (0_u32..).zip(&found.devices) {
        assert_eq!(device.uuid.as_str(), format!("GPU-{:016x}", mi300x_id(number)));
        assert_eq!(nodes(device), [format!("/dev/dri/renderD{}", 128 + 8 * number)]);
        assert_eq!(u32::from(device.pci.bus), MI300X_BUSES[number as usize]);
        assert_eq!(
            (device.kfd_node, device.details.card),
            (Some(number + 2), Some(1 + 8 * number))
        );
        assert_eq!(memory(device), Some(MI300X_MEMORY));
        assert_eq!(size(device), (Some(304), Some(8), Some("gfx942")));
        assert_eq!(device.details.shader_engines, Some(4));
        assert_eq!(device.details.partition, None);
        assert_eq!(device.numa_node, Some(u32::from(number >= 4)));
    }
    assert_eq!(found.devices[0].uuid.as_str(), "GPU-e3aa140f9a5f9e31");
    assert_eq!(pairs(&found, LinkKind::Xgmi), every(0..8));
    assert_eq!(found.links.len(), 28);
    let stamps = stamped(&sys, &found);
    assert_eq!(stamps.len(), 10, "the generation, eight modes, one memory mode: {stamps:?}");
    let modes = stamps.iter().filter(|(path, _)| path.ends_with("current_compute_partition"));
    assert!(modes.clone().all(|(_, mode)| mode.as_deref() == Some("SPX")));
    assert_eq!(modes.count(), 8);
}

#[test]
fn partitions_are_devices_of_their_own() {
    let sys = mi300x_cpx(2);
    let found = sys.found();
    is_sound(&found);
    assert_eq!((found.devices.len(), found.notes.as_slice()), (16, [].as_slice()));
    for (number, device) in (0_u32..).zip(&found.devices) {
        let (gpu, partition) = (number / 8, number % 8);
        let whole = ["GPU-e3aa140f9a5f9e31", "GPU-084cafeae17e7696"][gpu as usize];
        assert_eq!(device.uuid.as_str(), format!("{whole}-{partition}"));
        let of = Partition {
            gpu: DeviceId::new(whole).unwrap(),
            index: partition,
            mode: "CPX/NPS4".into(),
        };
        assert_eq!(device.details.partition, Some(of));
        assert_eq!(nodes(device), [format!("/dev/dri/renderD{}", 128 + number)]);
        assert_eq!(device.details.card, Some(1 + number), "a partition's own");
        assert_eq!(device.kfd_node, Some(2 + number));
        assert_eq!(u32::from(device.pci.bus), MI300X_BUSES[gpu as usize]);
        assert_eq!((device.pci.device, device.pci.function), (0, 0));
        // The GPU's own files say 192 GB in each of them.
        assert_eq!(memory(device), Some(25_767_706_624));
        assert_eq!(size(device), (Some(38), Some(1), Some("gfx942")));
        assert_eq!(device.details.shader_engines, Some(4));
        assert_eq!((device.model.as_str(), device.numa_node), ("AMD Instinct MI300X", Some(0)));
    }
    assert_eq!(pairs(&found, LinkKind::Xgmi), [(0, 8)], "from GPU to GPU");
    assert_eq!(found.links.len(), 1);
    let stamps: Vec<String> = stamped(&sys, &found).into_iter().map(|(path, _)| path).collect();
    let card = |bus: u32, name: &str| {
        let root = format!("devices/pci0000:{:02x}/0000:{:02x}:01.1", bus & 0xf0, bus & 0xf0);
        let (up, down) = (bus - 2, bus - 1);
        format!("{root}/0000:{up:02x}:00.0/0000:{down:02x}:00.0/0000:{bus:02x}:00.0/{name}")
    };
    assert_eq!(
        stamps,
        [
            "class/kfd/kfd/topology/generation_id".to_owned(),
            card(0x05, "current_compute_partition"),
            card(0x27, "current_compute_partition"),
            card(0x05, "current_memory_partition"),
        ]
    );
}

#[test]
fn a_single_partition_and_an_unknown_mode() {
    let sys = mi300x_cpx(1);
    for node in 3..10 {
        sys.remove(&format!("class/kfd/kfd/topology/nodes/{node}"));
    }
    let found = sys.found();
    assert_eq!(found.devices.len(), 1);
    assert_eq!(found.devices[0].uuid.as_str(), "GPU-e3aa140f9a5f9e31-0");
    assert_eq!(memory(&found.devices[0]), Some(25_767_706_624));

    let sys = mi300x_cpx(1);
    let gpu = "bus/pci/devices/0000:05:00.0";
    sys.write(&format!("{gpu}/current_compute_partition"), "UNKNOWN");
    sys.remove(&format!("{gpu}/current_memory_partition"));
    let found = sys.found();
    let modes: Vec<_> =
        found.devices.iter().map(|d| d.details.partition.clone().unwrap().mode).collect();
    assert_eq!(modes, ["unknown"; 8]);
}

#[test]
fn an_apu_has_kfds_memory_and_an_id_of_its_address() {
    let found = apu().found();
    is_sound(&found);
    let device = &found.devices[0];
    assert_eq!((memory(device), device.healthy), (Some(APU_MEMORY), None));
    assert_eq!(device.uuid.as_str(), "GPU-0000-c6-00.0");
    assert_eq!(device.model, "AMD gfx1151 [1002:1586]");
    assert_eq!(size(device), (Some(40), Some(1), Some("gfx1151")));
    assert_eq!((nodes(device)[0], device.kfd_node), ("/dev/dri/renderD128", Some(1)));
    assert_eq!((device.numa_node, device.details.card), (None, Some(0)));
    assert_eq!((found.devices.len(), found.links.len()), (1, 0));
    // The kernel's own module has no version.
    assert_eq!(found.drivers[0].version, None);
}

#[test]
fn what_cannot_be_leased_is_listed_with_the_reason() {
    let found = with_unbound().found();
    is_sound(&found);
    let uuids: Vec<&str> = found.devices.iter().map(|d| d.uuid.as_str()).collect();
    assert_eq!(uuids, ["GPU-0000000000770000", "GPU-0000000000770001"]);
    assert_eq!(
        found.notes,
        [
            "AMD GPU 0000:09:00.0 cannot be leased: no driver is bound to it",
            "AMD GPU 0000:0c:00.0 cannot be leased: the driver bound to it is vfio-pci",
            "AMD GPU 0000:0f:00.0 cannot be leased: the driver has it, but KFD does not know it",
        ]
    );
    assert_eq!(pairs(&found, LinkKind::HostBridge), [(0, 1)]);
    assert_eq!(found.links.len(), 1);
}
