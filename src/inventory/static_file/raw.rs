//! The devices file as it is written, with the position of each value that can be wrong.

use crate::model::device::{LinkKind, PciAddress, Vendor};
use crate::model::id::DeviceId;
use crate::model::mig::MigProfile;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    pub simulated: bool,
    #[serde(default)]
    pub device: Vec<RawDevice>,
    #[serde(default)]
    pub control: Vec<RawControl>,
    #[serde(default)]
    pub link: Vec<RawLink>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDevice {
    pub uuid: Spanned<DeviceId>,
    pub vendor: Vendor,
    pub model: Spanned<String>,
    pub memory_mib: Spanned<u64>,
    pub reserved_mib: Option<Spanned<u64>>,
    pub pci: Spanned<PciAddress>,
    pub numa_node: Option<u32>,
    pub kfd_node: Option<Spanned<u32>>,
    pub arch: Option<Spanned<String>>,
    pub cuda: Option<Spanned<String>>,
    pub compute_units: Option<Spanned<u32>>,
    pub xccs: Option<Spanned<u32>>,
    pub shader_engines: Option<Spanned<u32>>,
    pub healthy: Option<bool>,
    pub nodes: Spanned<Vec<Spanned<RawNode>>>,
    /// Present for a GPU in MIG mode, even if only as an empty list.
    pub mig: Option<Vec<RawInstance>>,
}

/// A `[[device.mig]]`. Absent values are those of its GPU.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInstance {
    pub uuid: Spanned<DeviceId>,
    pub profile: Spanned<MigProfile>,
    pub gi: Spanned<u32>,
    pub ci: Option<Spanned<u32>>,
    pub memory_mib: Spanned<u64>,
    pub healthy: Option<bool>,
    pub nodes: Spanned<Vec<Spanned<RawNode>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawControl {
    pub vendor: Vendor,
    pub nodes: Vec<Spanned<RawNode>>,
}

/// A `[[link]]`: one link of this kind between every two of the devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub devices: Spanned<Vec<Spanned<DeviceId>>>,
    pub kind: LinkKind,
    pub lanes: Option<Spanned<u32>>,
}

/// A device node: a path, or a table with the path and the numbers of a simulated one.
#[derive(Debug)]
pub(super) struct RawNode {
    pub path: String,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

// This is written by hand, because serde's untagged enums only say that nothing matched.
impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = RawNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a table with `path`, `major` and `minor`")
    }

    fn visit_str<E>(self, path: &str) -> Result<RawNode, E> {
        Ok(RawNode { path: path.to_owned(), major: None, minor: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawNode, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct RawTable {
            path: String,
            major: Option<u32>,
            minor: Option<u32>,
        }
        let RawTable { path, major, minor } =
            RawTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(RawNode { path, major, minor })
    }
}
