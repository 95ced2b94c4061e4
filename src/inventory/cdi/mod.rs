//! The host's CDI specs (Container Device Interface): files in which vendors' tools describe what a
//! container needs to use a device. They are read when the inventory is made. The edits for the
//! node's devices are kept in it, so that a container start reads no YAML and no directory.
//!
//! They are in the inventory's own file: one rename replaces both, so that no start uses the
//! devices of one scan and the edits of another.

mod check;
mod generate;
mod matching;
mod read;
#[cfg(test)]
mod tests;
mod yaml;

pub use generate::{Names, SIMULATED, generate};
pub use matching::{compile, list};
pub use read::{SPEC_DIRS, SpecFile, read, read_all};

use crate::model::cdi::ContainerEdits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A CDI spec, the content of one file (CDI, SPEC.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiDocument {
    /// The version of the specification that it follows.
    pub cdi_version: String,
    /// `vendor/class`, the first part of its devices' qualified names.
    pub kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub devices: Vec<CdiDocumentDevice>,
    /// Edits that a container gets once, with any of the devices.
    #[serde(default, skip_serializing_if = "ContainerEdits::is_empty")]
    pub container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiDocumentDevice {
    /// Its name, the last part of the qualified one.
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Edits of a container with the device.
    pub container_edits: ContainerEdits,
}

impl CdiDocument {
    /// The name by which a user requests a device of this spec from an engine.
    pub fn qualified(&self, name: &str) -> String {
        format!("{}={name}", self.kind)
    }
}
