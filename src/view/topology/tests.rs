//! Small nodes, with links and without.

use super::*;
use crate::inventory::static_file;
use crate::model::device::{Node, Partition};
use crate::model::id::DeviceId;
use crate::paths::Paths;

/// A GPU on each of these NUMA nodes, without links.
fn node(numa: &[Option<u32>]) -> Node {
    let device = |(at, numa): (usize, &Option<u32>)| {
        let numa = numa.map(|node| format!("numa_node = {node}\n")).unwrap_or_default();
        format!(
            "[[device]]\nuuid = 'GPU-{at}'\nvendor = 'nvidia'\nmodel = 'M'\nmemory_mib = 1\n\
             pci = '0000:0{at}:00.0'\nnodes = ['/dev/nvidia{at}']\n{numa}"
        )
    };
    static_file::parse(&numa.iter().enumerate().map(device).collect::<String>()).unwrap()
}

fn link(node: &mut Node, a: usize, b: usize, kind: LinkKind, lanes: u32) {
    let uuid = |at: usize| node.devices[at].uuid.clone();
    let link = Link { a: uuid(a), b: uuid(b), kind, lanes };
    node.links.push(link);
}

fn paths_from_first(node: &Node, has_one_node: bool) -> Vec<String> {
    let first = &node.devices[0];
    let of = |other: &Device| path(first, other, &node.links, has_one_node).to_string();
    node.devices.iter().map(of).collect()
}

#[test]
fn the_nearest_path_counts() {
    let mut node = node(&[Some(0), Some(0), Some(1), None, Some(0), Some(0), Some(0)]);
    assert_eq!(paths_from_first(&node, false), ["X", "NODE", "SYS", "-", "NODE", "NODE", "NODE"]);
    assert_eq!(paths_from_first(&node, true)[3], "NODE");
    link(&mut node, 1, 0, LinkKind::HostBridge, 1);
    link(&mut node, 0, 1, LinkKind::NvLink, 18);
    link(&mut node, 0, 2, LinkKind::Xgmi, 1);
    link(&mut node, 3, 0, LinkKind::Pcie, 1);
    link(&mut node, 0, 4, LinkKind::PcieMulti, 1);
    link(&mut node, 5, 0, LinkKind::HostBridge, 1);
    assert_eq!(paths_from_first(&node, false), ["X", "NV18", "XGMI", "PIX", "PXB", "PHB", "NODE"]);
}

#[test]
fn partitions_of_one_gpu_are_in_one_place() {
    let mut node = node(&[Some(0), Some(0)]);
    for (index, device) in (0..).zip(&mut node.devices) {
        let mode = "CPX/NPS1".to_owned();
        device.details.partition =
            Some(Partition { gpu: DeviceId::new("GPU-x").unwrap(), index, mode });
    }
    assert_eq!(paths_from_first(&node, false), ["X", "SAME"]);
}

#[test]
fn the_cpus_are_those_of_the_numa_node() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let at = paths.sys.join("devices/system/node/node1");
    fs::create_dir_all(&at).unwrap();
    fs::write(at.join("cpulist"), "32-63,96-127\n").unwrap();
    fs::write(at.join("../online"), "0-1\n").unwrap();
    let mut node = node(&[Some(1), Some(0), None]);
    let all = |node: &Node| node.devices.iter().map(|d| cpus(d, &paths)).collect::<Vec<_>>();
    assert_eq!(all(&node), [Some("32-63,96-127".to_owned()), None, None]);
    node.devices[0].simulated = true;
    assert_eq!(all(&node)[0], None);
    assert!(!is_one_numa_node(&paths));
}
