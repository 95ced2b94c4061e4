//! CDI specs: the devices of those that the host has, and what was written.

use crate::inventory::cdi::{self, CdiDocument};
use crate::model::device::Node;
use crate::model::id::DeviceId;
use crate::model::mig::DeviceNumber;
use crate::paths::Paths;
use serde::Serialize;

/// The devices of the host's specs.
#[derive(Debug, Serialize)]
pub struct CdiDevicesView {
    pub devices: Vec<CdiDeviceView>,
    /// The faults of the specs, as sentences.
    pub notes: Vec<String>,
}

/// A device of a spec, and the device of the node that it is; null where it is none.
#[derive(Debug, Serialize)]
pub struct CdiDeviceView {
    pub name: String,
    pub uuid: Option<DeviceId>,
    index: Option<u32>,
    mig_index: Option<u32>,
    /// The file of the spec.
    pub spec: String,
    #[serde(rename = "cdiVersion")]
    cdi_version: String,
}

impl CdiDevicesView {
    pub fn look(node: &Node, paths: &Paths) -> Self {
        let specs = cdi::read(paths);
        let listed = cdi::list(&specs, node, paths).into_iter();
        let devices = listed.map(|listed| CdiDeviceView {
            uuid: listed.device.map(|device| device.uuid.clone()),
            index: listed.device.map(|device| device.index),
            mig_index: listed.device.and_then(|device| device.place().instance),
            spec: listed.file.path.display().to_string(),
            cdi_version: listed.file.spec.cdi_version.clone(),
            name: listed.name,
        });
        let devices = devices.collect();
        Self { devices, notes: specs.notes }
    }
}

impl CdiDeviceView {
    pub fn place(&self) -> Option<DeviceNumber> {
        Some(DeviceNumber { gpu: self.index?, instance: self.mig_index })
    }
}

/// Specs that were generated and written into no file.
#[derive(Debug, Serialize)]
pub struct CdiSpecsView<'a> {
    pub specs: Vec<&'a CdiDocument>,
}

/// Specs that were generated and written into files.
#[derive(Debug, Serialize)]
pub struct CdiFilesView<'a> {
    pub files: Vec<CdiFileView<'a>>,
}

#[derive(Debug, Serialize)]
pub struct CdiFileView<'a> {
    pub path: String,
    pub kind: &'a str,
    /// The names of its devices.
    pub devices: Vec<&'a str>,
}
