//! The source as a part of a whole scan, and what makes the result stale.

use crate::config::{Config, Source};
use crate::inventory::fixtures::Sys;
use crate::inventory::fixtures::amd_machines::{TOPOLOGY, mi210x8, mi300x_cpx, mi300x_spx};
use crate::inventory::{Inventory, decode, encode, freshness, scan};
use std::path::Path;

fn config(sys: &Sys) -> Config {
    Config {
        devices_file: sys.path("no-devices.toml"),
        sources: [Source::Static, Source::Amd].into(),
        ..Config::default()
    }
}

fn scanned(sys: &Sys) -> Inventory {
    let inventory = scan(&sys.paths(), &config(sys)).unwrap();
    let read = decode(&encode(&inventory).unwrap()).unwrap();
    assert_eq!(read, inventory);
    assert_eq!(freshness(&inventory, &sys.paths(), &config(sys)), Ok(()));
    inventory
}

#[test]
fn gpus_are_in_pci_order_partitions_in_their_own() {
    let inventory = scanned(&mi300x_cpx(8));
    let devices = &inventory.node.devices;
    let indices: Vec<u32> = devices.iter().map(|device| device.index).collect();
    assert_eq!(indices, (0..64).collect::<Vec<u32>>());
    let kfd: Vec<_> = devices.iter().map(|device| device.kfd_node.unwrap()).collect();
    assert_eq!(kfd, (2..66).collect::<Vec<u32>>());
    assert_eq!(devices[9].uuid.as_str(), "GPU-084cafeae17e7696-1");
    assert_eq!(inventory.node.links.len(), 8 * 7 / 2, "between GPUs, not their partitions");
    assert!(crate::inventory::encode(&inventory).unwrap().len() < 64 * 1024);
    assert_eq!(inventory.stamps.len(), 13, "with what is not there: devices file, CDI specs");
}

#[test]
fn kfd_nodes_with_one_render_node_are_not_leased() {
    let sys = mi210x8();
    let properties = format!("{TOPOLOGY}/nodes/5/properties");
    sys.edit(&properties, "drm_render_minor 131", "drm_render_minor 130");
    let devices = scanned(&sys).node.devices;
    assert_eq!(devices.len(), 8);
    let marked = devices.iter().filter(|device| device.details.ambiguous.is_some());
    let nodes: Vec<&str> = marked.map(|device| device.nodes[0].path.as_str()).collect();
    assert_eq!(nodes, ["/dev/dri/renderD130"; 2]);
}

#[test]
fn what_changes_the_gpus_makes_it_stale() {
    let stale = |sys: &Sys, path: &Path, change: &dyn Fn(&Sys)| {
        let inventory = scanned(sys);
        change(sys);
        let what = if path.exists() { "has changed since" } else { "is gone" };
        let why = format!("`{}` {what}", path.display());
        assert_eq!(freshness(&inventory, &sys.paths(), &config(sys)), Err(why));
    };
    let generation = format!("{TOPOLOGY}/generation_id");
    let sys = mi210x8();
    stale(&sys, &sys.path(&generation), &|sys| sys.write(&generation, "3"));
    stale(&sys, &sys.path(&generation), &|sys| sys.remove("class/kfd"));
    let sys = mi300x_spx();
    let gpu = std::fs::canonicalize(sys.path("bus/pci/devices/0000:e5:00.0")).unwrap();
    let mode = "bus/pci/devices/0000:e5:00.0/current_compute_partition";
    stale(&sys, &gpu.join("current_compute_partition"), &|sys| sys.write(mode, "CPX"));
}
