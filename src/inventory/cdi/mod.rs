//! The host's CDI specs (Container Device Interface): files in which vendors' tools describe what a
//! container needs to use a device. They are read when the inventory is made, and what concerns the
//! node's devices is kept in it: a container start reads no YAML and no directory.
//!
//! It is in the inventory itself, not in a file beside it: one rename replaces both, so that no
//! start can go by the devices of one scan and the edits of another.

mod check;
mod generate;
mod matching;
mod read;
#[cfg(test)]
mod tests;

pub use generate::{Names, SIMULATED, generate};
pub use matching::{compile, list};
pub use read::{SPEC_DIRS, SpecFile, read, read_all};

use crate::model::cdi::Edits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A spec, as it lies in a file (CDI SPEC.md).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification that it is written to.
    pub cdi_version: String,
    /// `vendor/class`, the first part of its devices' qualified names.
    pub kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    pub devices: Vec<SpecDevice>,
    /// What a container gets once, whichever of the devices it has.
    #[serde(default, skip_serializing_if = "Edits::is_empty")]
    pub container_edits: Edits,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecDevice {
    /// Its name, the last part of the qualified one.
    pub name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What a container with it gets.
    pub container_edits: Edits,
}

impl Spec {
    /// The name by which an engine is asked for a device of it.
    pub fn qualified(&self, name: &str) -> String {
        format!("{}={name}", self.kind)
    }
}
