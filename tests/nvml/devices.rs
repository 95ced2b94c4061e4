//! Every value that a working node tells.

use crate::host::{Host, links, node_paths};
use crate::nodes::{self, MIB};
use gpulease::door::model::device::{Details, Device, DeviceNode, LinkKind, PciAddress, Vendor};
use gpulease::door::model::driver::Driver;
use gpulease::door::model::id::DeviceId;
use gpulease::door::model::mig::{Mig, MigInstance, MigProfile};
use gpulease::door::model::quantity::Bytes;
use serde_json::json;

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn node(path: &str) -> DeviceNode {
    DeviceNode { path: path.to_owned(), simulated: None }
}

#[test]
fn eight_h100_behind_switches() {
    let host = Host::new(&nodes::h100x8());
    let inventory = host.scan();
    assert_eq!(inventory.notes, Vec::<String>::new());
    assert_eq!(inventory.from, ["NVML 12.550.163.01"]);
    assert_eq!(
        inventory.drivers,
        [Driver {
            vendor: Vendor::Nvidia,
            version: Some("550.163.01".to_owned()),
            cuda: Some("12.4".to_owned()),
            library: Some("12.550.163.01".to_owned()),
            root: host.config.driver_root.display().to_string(),
            files: Vec::new(),
        }]
    );
    let [control] = &inventory.node.control[..] else { panic!("{:?}", inventory.node.control) };
    let nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"].map(node);
    assert_eq!((control.vendor, &control.nodes[..]), (Vendor::Nvidia, &nodes[..]));

    let buses = [0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf];
    let expected: Vec<Device> = (0..8)
        .map(|number| Device {
            uuid: id(&nodes::uuid(number)),
            index: u32::try_from(number).unwrap(),
            vendor: Vendor::Nvidia,
            model: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_total_bytes: Some(Bytes(81_559 * MIB)),
            memory_reserved_bytes: Some(Bytes(551 * MIB)),
            pci: PciAddress { domain: 0, bus: buses[number], device: 0, function: 0 },
            numa_node: Some(u32::from(number >= 4)),
            kfd_node: None,
            nodes: vec![node(&format!("/dev/nvidia{}", (number + 3) % 8))],
            healthy: Some(true),
            simulated: false,
            mig: None,
            details: Details {
                arch: Some("9.0".to_owned()),
                brand: Some("nvidia".to_owned()),
                compute_units: Some(132),
                cuda: Some("12.4".to_owned()),
                persistence: Some(true),
                compute_mode: Some("DEFAULT".to_owned()),
                ecc: Some(true),
                ..Details::default()
            },
        })
        .collect();
    assert_eq!(inventory.node.devices, expected);

    // All 28 pairs by 18 links; besides, PCIe where it is near.
    let links = links(&inventory);
    let nvlinks = links.iter().filter(|(_, kind, lanes)| (*kind, *lanes) == (LinkKind::NvLink, 18));
    assert_eq!(nvlinks.count(), 28);
    let of = |wanted: LinkKind| -> Vec<&str> {
        links.iter().filter(|link| link.1 == wanted).map(|link| link.0.as_str()).collect()
    };
    assert_eq!(of(LinkKind::Pcie), ["0-1", "2-3", "4-5", "6-7"]);
    let bridges = ["0-2", "0-3", "1-2", "1-3", "4-6", "4-7", "5-6", "5-7"];
    assert_eq!(of(LinkKind::HostBridge), bridges);
    assert_eq!(links.len(), 28 + 4 + 8);
}

#[test]
fn instances_of_mig() {
    let host = Host::new(&nodes::a100x8_mig());
    host.put(
        "proc/driver/nvidia-caps/mig-minors",
        "config 1\nmonitor 2\ngpu2/gi9/access 300\ngpu2/gi9/ci0/access 301\n\
         gpu2/gi2/access 290\ngpu2/gi2/ci0/access 291\ngpu6/gi1/access 820\n\
         gpu6/gi1/ci0/access 821\ngpu6/gi2/access 829\ngpu6/gi2/ci0/access 830\n",
    );
    let inventory = host.scan();
    assert_eq!(inventory.notes, Vec::<String>::new());
    let devices = &inventory.node.devices;
    let places: Vec<String> = devices.iter().map(|device| device.place().to_string()).collect();
    assert_eq!(places.join(" "), "0 1 2 2:0 2:1 3 4 5 6 6:0 6:1 7");

    let gpu = &devices[2];
    assert_eq!((&gpu.mig, gpu.uuid.as_str()), (&Some(Mig::Enabled), nodes::uuid(2).as_str()));
    assert_eq!(gpu.details.compute_units, Some(108));
    assert!(devices[1].mig.is_none(), "one that only could be divided");
    let expected = |uuid: &str, profile, index, gi, memory, units, caps: [u32; 2]| Device {
        uuid: id(uuid),
        model: format!("NVIDIA A100-SXM4-40GB MIG {profile}"),
        memory_total_bytes: Some(Bytes(memory * MIB)),
        memory_reserved_bytes: Some(Bytes(5 * MIB)),
        nodes: caps.map(|cap| node(&format!("/dev/nvidia-caps/nvidia-cap{cap}"))).to_vec(),
        mig: Some(Mig::Instance(MigInstance {
            parent: gpu.uuid.clone(),
            profile: MigProfile::new(profile).unwrap(),
            index,
            gi,
            ci: 0,
        })),
        details: Details { compute_units: Some(units), ..gpu.details.clone() },
        ..gpu.clone()
    };
    // In the order of their ids, as everywhere.
    let large = "MIG-00000002-aaaa-5555-bbbb-cccccccccccc";
    let small = "MIG-00000001-aaaa-5555-bbbb-cccccccccccc";
    assert_eq!(devices[3], expected(large, "3g.20gb", 0, 2, 19_968, 42, [290, 291]));
    assert_eq!(devices[4], expected(small, "1g.5gb", 1, 9, 4864, 14, [300, 301]));
    let whole: Vec<&str> = inventory.node.nodes_of(&devices[4]).map(|n| n.path.as_str()).collect();
    let caps = ["/dev/nvidia2", "/dev/nvidia-caps/nvidia-cap300", "/dev/nvidia-caps/nvidia-cap301"];
    assert_eq!(whole, caps);
    // The six others are joined; a divided GPU's links are down.
    assert_eq!(links(&inventory).len(), 15);
    assert!(links(&inventory).iter().all(|link| (link.1, link.2) == (LinkKind::NvLink, 12)));
    let look = |name: &str| inventory.stamps.iter().any(|stamp| stamp.path == host.path(name));
    assert!(look("proc/driver/nvidia/capabilities/gpu2/mig"));
    assert!(look("proc/driver/nvidia/capabilities/gpu6/mig"));
}

#[test]
fn instances_that_cannot_be_leased() {
    let mut node = nodes::a100x8_mig();
    let instances = &mut node["gpus"][2]["mig"]["instances"];
    // No capabilities in mig-minors; a name without a profile; one that shares its memory; an XID.
    instances[2]["name"] = json!("NVIDIA A100-SXM4-40GB");
    instances[1] = nodes::instance(7, 5, "1c.3g.20gb", [14, 3, 1, 19_968]);
    let host = Host::new(&node);
    host.put(
        "proc/driver/nvidia-caps/mig-minors",
        "gpu2/gi2/access 290\ngpu2/gi2/ci0/access 291\n",
    );
    host.put("dev/kmsg", "4,1,1,-;NVRM: Xid (PCI:0000:12:00 GPU-I:02): 95, pid=9, Uncontained\n");
    let inventory = host.scan();
    assert_eq!(
        inventory.notes,
        [
            "MIG device `MIG-00000007-aaaa-5555-bbbb-cccccccccccc` of GPU 0000:12:00.0 is not leased: \
          `1c.3g.20gb` shares the memory of GPU instance 5 with others"
        ]
    );
    let devices = &inventory.node.devices;
    assert_eq!(devices[2].healthy, Some(true), "an error of an instance is not the GPU's");
    assert_eq!(devices[3].model, "NVIDIA A100-SXM4-40GB MIG 3g.20gb");
    assert_eq!(devices[3].healthy, Some(false));
    assert_eq!(devices[3].details.health_reason.as_deref(), Some("XID 95: pid=9, Uncontained"));
    assert_eq!(devices[3].details.fault, None);
    let fault = devices[4].details.fault.as_deref();
    let missing = "the driver has no capability `gpu2/gi9/access` in mig-minors for it";
    assert_eq!((fault, devices[4].healthy), (Some(missing), None));
    assert_eq!(node_paths(&devices[4]), Vec::<&str>::new());
}

#[test]
fn a_t4() {
    let host = Host::new(&nodes::t4());
    let inventory = host.scan();
    let [gpu] = &inventory.node.devices[..] else { panic!("{:?}", inventory.node.devices) };
    assert_eq!(
        *gpu,
        Device {
            uuid: id(&nodes::uuid(0)),
            index: 0,
            vendor: Vendor::Nvidia,
            model: "Tesla T4".to_owned(),
            memory_total_bytes: Some(Bytes(15_360 * MIB)),
            memory_reserved_bytes: Some(Bytes(256 * MIB)),
            pci: PciAddress::parse("0000:00:1e.0").unwrap(),
            // The kernel says -1: there is none.
            numa_node: None,
            kfd_node: None,
            nodes: vec![node("/dev/nvidia0")],
            healthy: Some(true),
            simulated: false,
            mig: None,
            details: Details {
                arch: Some("7.5".to_owned()),
                brand: Some("tesla".to_owned()),
                compute_units: Some(40),
                cuda: Some("12.4".to_owned()),
                persistence: Some(false),
                compute_mode: Some("EXCLUSIVE_PROCESS".to_owned()),
                ecc: Some(false),
                ..Details::default()
            },
        }
    );
    assert!(inventory.node.links.is_empty());
    assert!(inventory.notes.is_empty(), "{:?}", inventory.notes);
}

#[test]
fn links_from_gpu_to_gpu() {
    let inventory = Host::new(&nodes::v100x4()).scan();
    let of = |pair: &str, kind, lanes| (pair.to_owned(), kind, lanes);
    use LinkKind::{NvLink, Pcie, PcieMulti};
    assert_eq!(
        links(&inventory),
        [
            of("0-1", NvLink, 2),
            of("0-1", PcieMulti, 1),
            of("0-2", NvLink, 1),
            of("0-2", PcieMulti, 1),
            of("0-3", NvLink, 2),
            of("0-3", Pcie, 1),
            of("1-2", NvLink, 2),
            of("1-3", NvLink, 1),
            of("1-3", PcieMulti, 1),
            of("2-3", NvLink, 2),
            of("2-3", PcieMulti, 1),
        ]
    );
    let mode = inventory.node.devices[0].details.compute_mode.as_deref();
    assert_eq!(mode, Some("PROHIBITED"));
}

#[test]
fn the_command_finds_them() {
    let host = Host::new(&nodes::h100x8());
    let output = host.refresh();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["devices"], &told["sources"]), (&json!(8), &json!(["NVML 12.550.163.01"])));
}
