//! The edits of the host's CDI specs for the node's devices (Container Device Interface, SPEC.md).
//!
//! The members have the names of the specs, so that the same types read a spec, keep its edits in
//! the inventory, and write a spec.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};

/// The specs that name devices of this node, and those devices. A container start uses this and
/// reads no spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cdi {
    /// The specs that name at least one of the devices.
    pub specs: Vec<CdiSpec>,
    /// The devices, each once.
    pub devices: Vec<CdiDevice>,
}

impl Cdi {
    /// Whether no spec names a device of this node.
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// A device as a spec describes it.
    pub fn device(&self, uuid: &DeviceId) -> Option<&CdiDevice> {
        self.devices.iter().find(|device| device.uuid == *uuid)
    }
}

/// The part of a spec that goes with each of its devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CdiSpec {
    /// Its file, for messages.
    pub path: String,
    /// Edits that a container gets once, with any of the devices.
    pub edits: ContainerEdits,
}

/// A device of this node, as a spec describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdiDevice {
    /// The device of the inventory that it is.
    pub uuid: DeviceId,
    /// Its qualified name: `nvidia.com/gpu=0`.
    pub name: String,
    /// Its spec: a position in [`Cdi::specs`].
    pub spec: usize,
    /// Further edits of a container with the device.
    pub edits: ContainerEdits,
}

/// `containerEdits`, without `netDevices` and `intelRdt`, which are not applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerEdits {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_nodes: Vec<EditNode>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<EditMount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<EditHook>,
    /// Groups of the container's user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

impl ContainerEdits {
    /// Whether there is nothing to edit.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An entry of `deviceNodes`. Absent values are read from the host when a container is created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EditNode {
    /// Path in the container.
    pub path: String,
    /// Path on the host, if another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Major number; 0 means absent, as in the reference implementation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    /// Minor number; it counts only with a major one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// The access that the device cgroup allows: letters of `rwm`, or `none`; absent means `rwm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// Owner in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

impl EditNode {
    /// Its path on the host.
    pub fn on_host(&self) -> &str {
        self.host_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(&self.path)
    }

    /// Its numbers, if the spec has them.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        let major = self.major.filter(|major| *major != 0)?;
        Some((major, self.minor.unwrap_or_default()))
    }
}

/// An entry of `mounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EditMount {
    pub host_path: String,
    pub container_path: String,
    /// File system type; absent for a bind mount.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// An entry of `hooks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EditHook {
    /// The stage, as in the runtime specification.
    pub hook_name: String,
    pub path: String,
    /// Arguments, beginning with `argv[0]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds after which the runtime kills it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}
