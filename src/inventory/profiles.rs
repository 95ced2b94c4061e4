//! Simulated nodes for trying gpulease on a host without GPUs: complete devices files.
//!
//! The figures are those of real machines, and each file names its sources. The device numbers
//! exist on no host: Linux assigns only character majors below 512 (`CHRDEV_MAJOR_MAX`,
//! include/linux/fs.h), while `dev_t` allows up to 4095.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The name on the command line.
    pub name: &'static str,
    /// A description for people.
    pub title: &'static str,
    pub toml: &'static str,
}

pub const PROFILES: &[Profile] = &[
    Profile {
        name: "h100x8",
        title: "8 × NVIDIA H100 80GB HBM3, all linked by NVLink",
        toml: include_str!("profiles/h100x8.toml"),
    },
    Profile {
        name: "mixed4",
        title: "2 × NVIDIA L40S on PCIe and 2 × AMD Instinct MI300X on xGMI",
        toml: include_str!("profiles/mixed4.toml"),
    },
    Profile {
        name: "mi300x8",
        title: "8 × AMD Instinct MI300X, all linked by xGMI",
        toml: include_str!("profiles/mi300x8.toml"),
    },
    Profile {
        name: "a100x4",
        title: "4 × NVIDIA A100-SXM4-40GB on NVLink, two of them in MIG mode",
        toml: include_str!("profiles/a100x4.toml"),
    },
];

pub fn find(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::static_file::parse;
    use crate::model::device::{Device, LinkKind, Node, Vendor};
    use crate::model::quantity::Bytes;

    /// One more than the largest major that Linux hands out, with room to spare.
    const FIRST_FREE_MAJOR: u32 = 1024;

    fn node(name: &str) -> Node {
        parse(find(name).unwrap().toml).unwrap()
    }

    #[test]
    fn every_profile_is_simulated_and_says_so() {
        for profile in PROFILES {
            assert!(profile.toml.lines().next().unwrap().contains("simulated"), "{}", profile.name);
            let node = parse(profile.toml).unwrap_or_else(|e| panic!("{}: {e}", profile.name));
            for node in node.nodes() {
                let numbers = node.simulated.unwrap();
                assert!(numbers.major >= FIRST_FREE_MAJOR, "{}", node.path);
            }
            for device in &node.devices {
                assert!(device.simulated);
                assert_eq!(device.healthy, Some(true));
                assert!(node.control_of(device.vendor).next().is_some());
            }
        }
        assert_eq!(find("none"), None);
    }

    #[test]
    fn a100x4_has_whole_gpus_and_instances() {
        let node = node("a100x4");
        assert!(node.is_numbered());
        let places: Vec<String> = node.devices.iter().map(|d| d.place().to_string()).collect();
        let expected = "0 1 2 2:0 2:1 2:2 2:3 3 3:0 3:1 3:2 3:3 3:4 3:5 3:6";
        assert_eq!(places.join(" "), expected);
        let profiles: Vec<&str> = node
            .devices
            .iter()
            .filter_map(|device| Some(device.instance()?.profile.as_str()))
            .collect();
        assert_eq!(profiles[..4], ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"]);
        assert_eq!(profiles[4..], ["1g.5gb"; 7]);
        for device in &node.devices {
            let gpu = device.nodes[0].simulated.unwrap();
            let Some(mig) = device.instance() else {
                assert_eq!(device.is_in_mig_mode(), device.index >= 2);
                assert_eq!((gpu.minor, device.numa_node), (device.index, Some(3 - device.index)));
                continue;
            };
            // As /proc/driver/nvidia-caps/mig-minors numbers them.
            let access = 3 + 135 * device.index + 9 * mig.gi;
            let nodes: Vec<String> = node.nodes_of(device).map(|node| node.path.clone()).collect();
            let caps =
                [access, access + 1 + mig.ci].map(|n| format!("/dev/nvidia-caps/nvidia-cap{n}"));
            assert_eq!(nodes[0], format!("/dev/nvidia{}", device.index));
            assert_eq!(nodes[1..], caps);
            let minors: Vec<u32> =
                device.nodes.iter().map(|n| n.simulated.unwrap().minor).collect();
            assert_eq!(minors, [access, access + 1]);
        }
        assert_eq!(node.links.len(), 4 * 3 / 2);
        assert!(node.links.iter().all(|link| link.kind == LinkKind::NvLink && link.lanes == 4));
    }

    #[test]
    fn h100x8_is_an_hgx_box() {
        let node = node("h100x8");
        assert_eq!(node.devices.len(), 8);
        for device in &node.devices {
            assert_eq!(device.vendor, Vendor::Nvidia);
            assert_eq!(device.model, "NVIDIA H100 80GB HBM3");
            assert_eq!(device.memory_total_bytes, Some(Bytes::from_mib(81559)));
            assert_eq!(device.capacity(), Some(Bytes::from_mib(81559 - 454)));
            assert_eq!(device.numa_node, Some(device.index / 4));
            assert_eq!(device.nodes[0].path, format!("/dev/nvidia{}", device.index));
            assert_eq!(device.nodes[0].simulated.unwrap().minor, device.index);
        }
        assert_eq!(node.links.len(), 8 * 7 / 2);
        assert!(node.links.iter().all(|link| link.kind == LinkKind::NvLink && link.lanes == 18));
    }

    #[test]
    fn mi300x8_is_a_platform_of_eight() {
        let node = node("mi300x8");
        assert_eq!(node.devices.len(), 8);
        for device in &node.devices {
            assert_eq!(device.vendor, Vendor::Amd);
            assert_eq!(device.memory_total_bytes, Some(Bytes(206_141_652_992)));
            assert_eq!(device.numa_node, Some(device.index / 4));
            assert_eq!(device.kfd_node, Some(device.index + 2));
            let render = format!("/dev/dri/renderD{}", 128 + 8 * device.index);
            assert_eq!(device.nodes[1].path, render);
        }
        assert_eq!(node.links.len(), 8 * 7 / 2);
        assert!(node.links.iter().all(|link| link.kind == LinkKind::Xgmi));
    }

    #[test]
    fn mixed4_has_both_vendors() {
        let node = node("mixed4");
        let vendors: Vec<_> = node.devices.iter().map(|device| device.vendor).collect();
        assert_eq!(vendors, [Vendor::Nvidia, Vendor::Nvidia, Vendor::Amd, Vendor::Amd]);
        for device in &node.devices[..2] {
            assert_eq!(device.memory_total_bytes, Some(Bytes::from_mib(46068)));
            assert_eq!(device.kfd_node, None);
        }
        for device in &node.devices[2..] {
            assert_eq!(device.memory_total_bytes, Some(Bytes(206_141_652_992)));
            assert_eq!(device.kfd_node, Some(device.index));
            assert_eq!(device.nodes.len(), 2);
            let unique_id = device.uuid.as_str().strip_prefix("GPU-").unwrap();
            assert_eq!(unique_id.len(), 16);
            assert!(u64::from_str_radix(unique_id, 16).is_ok());
        }
        let renders: Vec<_> = node.devices[2..].iter().map(|d| d.nodes[1].path.as_str()).collect();
        assert_eq!(renders, ["/dev/dri/renderD128", "/dev/dri/renderD136"]);
        let links: Vec<_> = node.links.iter().map(|link| (link.kind, &link.a, &link.b)).collect();
        let uuids: Vec<_> = node.devices.iter().map(|device| &device.uuid).collect();
        assert_eq!(
            links,
            [(LinkKind::Pcie, uuids[0], uuids[1]), (LinkKind::Xgmi, uuids[2], uuids[3])]
        );
    }

    #[test]
    fn only_the_numbering_of_a_scan_counts() {
        let node = node("a100x4");
        assert!(node.is_numbered() && Node::default().is_numbered());
        let broken = |edit: &dyn Fn(&mut Vec<Device>)| {
            let mut node = node.clone();
            edit(&mut node.devices);
            !node.is_numbered()
        };
        assert!(broken(&|devices| devices.swap(0, 1)));
        assert!(broken(&|devices| devices.swap(3, 4)));
        assert!(broken(&|devices| drop(devices.remove(2))));
        assert!(broken(&|devices| drop(devices.remove(3))));
        assert!(broken(&|devices| devices[2].mig = None));
        assert!(broken(&|devices| devices[3].index = 3));
        assert!(broken(&|devices| devices.rotate_left(3)));
    }
}
