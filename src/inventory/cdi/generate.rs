//! Makes CDI specs of the node's devices, for engines that accept `--device nvidia.com/gpu=0`.

use super::check::check_name;
use super::matching::{index_among_its_vendors, kind_of};
use super::{CdiDocument, CdiDocumentDevice};
use crate::inventory::Inventory;
use crate::model::cdi::{ContainerEdits, EditMount, EditNode};
use crate::model::device::{Device, DeviceNode, Node, Vendor};
use crate::model::driver::{Driver, DriverFile, FileKind};
use crate::model::variables::NVIDIA_VISIBLE;
use crate::paths::Paths;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The kinds of names that devices get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// `0`, and `0:1` for an instance: as the vendor's tools count.
    pub index: bool,
    pub uuid: bool,
}

/// The annotation of a spec of simulated devices.
pub const SIMULATED: &str = "gpulease/simulated";

/// The first version with annotations, and the first with groups.
const WITH_ANNOTATIONS: &str = "0.6.0";
const WITH_GROUPS: &str = "0.7.0";

/// The spec of a vendor's devices, with `all` for all of them; `None` if the node has none. GPUs in
/// MIG mode are left out, since only their instances can compute. Devices that share a UUID are
/// left out, since a spec has each name once. Numbers of nodes are left out, since they may change;
/// engines read them from the host.
pub fn generate(
    inventory: &Inventory,
    vendor: Vendor,
    names: Names,
    paths: &Paths,
) -> Option<CdiDocument> {
    let node = &inventory.node;
    let usable = |device: &&Device| {
        let has_name = device.details.ambiguous.is_none();
        device.vendor == vendor && !device.is_in_mig_mode() && has_name
    };
    let own: Vec<&Device> = node.devices.iter().filter(usable).collect();
    if own.is_empty() {
        return None;
    }
    let mut devices = Vec::new();
    for device in &own {
        let edits = edits_of(&[device], node, paths);
        for name in names_of(device, node, names) {
            devices.push(named(name, edits.clone()));
        }
    }
    devices.push(named("all".to_owned(), edits_of(&own, node, paths)));
    let mut annotations = BTreeMap::new();
    if own.iter().any(|device| device.simulated) {
        annotations.insert(SIMULATED.to_owned(), "true".to_owned());
    }
    let container_edits = common(inventory, vendor, paths);
    let has_groups = |edits: &ContainerEdits| !edits.additional_gids.is_empty();
    let with_groups = has_groups(&container_edits)
        || devices.iter().any(|device| has_groups(&device.container_edits));
    let version = if with_groups { WITH_GROUPS } else { WITH_ANNOTATIONS };
    Some(CdiDocument {
        cdi_version: version.to_owned(),
        kind: kind_of(vendor).to_owned(),
        annotations,
        devices,
        container_edits,
    })
}

const fn named(name: String, container_edits: ContainerEdits) -> CdiDocumentDevice {
    CdiDocumentDevice { name, annotations: BTreeMap::new(), container_edits }
}

/// A device's names, without those that CDI does not allow.
fn names_of(device: &Device, node: &Node, wanted: Names) -> Vec<String> {
    let index = index_among_its_vendors(device, node).filter(|_| wanted.index);
    let uuid = Some(device.uuid.to_string()).filter(|_| wanted.uuid);
    index.into_iter().chain(uuid).filter(|name| check_name(name).is_ok()).collect()
}

fn edits_of(devices: &[&Device], node: &Node, paths: &Paths) -> ContainerEdits {
    let mut edits = ContainerEdits::default();
    let own: BTreeSet<&DeviceNode> = devices.iter().flat_map(|d| node.nodes_of(d)).collect();
    add_nodes(&mut edits, own.into_iter(), paths);
    edits
}

fn add_nodes<'a>(
    edits: &mut ContainerEdits,
    nodes: impl Iterator<Item = &'a DeviceNode>,
    paths: &Paths,
) {
    let mut gids = BTreeSet::new();
    for node in nodes {
        gids.extend(group_of(node, paths));
        let simulated = node.simulated;
        edits.device_nodes.push(EditNode {
            path: node.path.clone(),
            kind: simulated.map(|_| "c".to_owned()),
            major: simulated.map(|numbers| numbers.major),
            minor: simulated.map(|numbers| numbers.minor),
            // No `m`: nothing in a container needs to make a node.
            permissions: Some("rw".to_owned()),
            ..EditNode::default()
        });
    }
    edits.additional_gids = gids.into_iter().collect();
}

/// The group that may use the node, unless every user may.
fn group_of(node: &DeviceNode, paths: &Paths) -> Option<u32> {
    let metadata =
        fs::metadata(paths.node(&node.path)).ok().filter(|_| node.simulated.is_none())?;
    let for_all = metadata.mode() & 0o006 == 0o006;
    Some(metadata.gid()).filter(|gid| *gid != 0 && !for_all)
}

/// The edits that come with any of the vendor's devices.
fn common(inventory: &Inventory, vendor: Vendor, paths: &Paths) -> ContainerEdits {
    let mut edits = ContainerEdits::default();
    add_nodes(&mut edits, inventory.node.control_of(vendor), paths);
    if vendor == Vendor::Nvidia {
        // Otherwise NVIDIA's runtime, if it is the low-level one, adds the devices that the image
        // names.
        edits.env.push(format!("{NVIDIA_VISIBLE}=void"));
    }
    let drivers = inventory.drivers.iter().filter(|driver| driver.vendor == vendor);
    for driver in drivers {
        for file in &driver.files {
            edits.mounts.extend(mounts(driver, file));
        }
    }
    edits.mounts.sort_by(|a, b| a.container_path.cmp(&b.container_path));
    edits.mounts.dedup_by(|a, b| a.container_path == b.container_path);
    edits
}

/// Mounts of a file by each of its names, in its directory on the host.
fn mounts(driver: &Driver, file: &DriverFile) -> Vec<EditMount> {
    let path = Path::new(&file.path);
    let inside = path.strip_prefix(&driver.root).unwrap_or(path);
    let inside = Path::new("/").join(inside.strip_prefix("/").unwrap_or(inside));
    let dir = inside.parent().unwrap_or(Path::new("/"));
    let mut options = vec!["nosuid", "nodev", "rbind", "rprivate"];
    options.push(if file.kind == FileKind::Socket { "noexec" } else { "ro" });
    let places = file.names.iter().map(|name| {
        // `vdpau/x` of a file in `…/vdpau` is beside it.
        let below = Path::new(name).parent().unwrap_or(Path::new(""));
        let base = if below.as_os_str().is_empty() || !dir.ends_with(below) {
            dir
        } else {
            dir.ancestors().nth(below.components().count()).unwrap_or(dir)
        };
        // An absolute name replaces the directory.
        base.join(name)
    });
    let mut places: BTreeSet<_> = places.collect();
    places.insert(inside.clone());
    let mount = |place: std::path::PathBuf| EditMount {
        host_path: file.path.clone(),
        container_path: place.display().to_string(),
        kind: None,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    places.into_iter().map(mount).collect()
}
