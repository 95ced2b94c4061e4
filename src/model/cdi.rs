//! What the host's CDI specs say about the node's devices (Container Device Interface, SPEC.md).
//!
//! The members have the spelling of the specs, so that one type serves to read a spec, to keep
//! what concerns this node in the inventory, and to write a spec.

use super::id::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The specs that name devices of this node, and which device each of them names. A start goes by
/// this and reads no spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
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

    /// What the specs say of a device.
    pub fn device(&self, uuid: &DeviceId) -> Option<&CdiDevice> {
        self.devices.iter().find(|device| device.uuid == *uuid)
    }
}

/// The part of a spec that goes with each of its devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CdiSpec {
    /// Its file, for messages.
    pub path: String,
    /// What a container gets once, whichever of the devices it has.
    pub edits: Edits,
}

/// A device of this node, as a spec describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CdiDevice {
    /// Which device of the inventory it is.
    pub uuid: DeviceId,
    /// Its qualified name: `nvidia.com/gpu=0`.
    pub name: String,
    /// Its spec: a position in [`Cdi::specs`].
    pub spec: usize,
    /// What a container with the device gets besides.
    pub edits: Edits,
}

/// `containerEdits`. `netDevices` and `intelRdt` are not among them: see the reader of specs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", rename_all = "camelCase")]
pub struct Edits {
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

impl Edits {
    /// Whether there is nothing to edit: legal for a spec, not for one of its devices.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An entry of `deviceNodes`. What is absent is read from the host when a container is created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EditNode {
    /// Path in the container.
    pub path: String,
    /// Path on the host, if another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Major number; 0 is as good as absent, as in the reference implementation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    /// Minor number; it counts only with a major one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// What the device cgroup is to allow: letters of `rwm`, or `none`; absent is `rwm`.
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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

// Read by hand, from a tree: what serde makes for seven structs is 100 KB in a program that is mapped
// at every container start.

/// Why a value cannot be read, for a person.
type Fault = String;

impl TryFrom<Value> for Cdi {
    type Error = Fault;
    fn try_from(value: Value) -> Result<Self, Fault> {
        let of = Members(&value);
        Ok(Self {
            specs: of.list("specs", |value| {
                let of = Members(value);
                Ok(CdiSpec { path: of.text("path")?, edits: of.edits("edits")? })
            })?,
            devices: of.list("devices", |value| {
                let of = Members(value);
                let uuid = DeviceId::new(&of.text("uuid")?).map_err(|error| error.to_string())?;
                let spec = of.number("spec")?.unwrap_or(u32::MAX);
                Ok(CdiDevice {
                    uuid,
                    name: of.text("name")?,
                    spec: usize::try_from(spec).unwrap_or(usize::MAX),
                    edits: of.edits("edits")?,
                })
            })?,
        })
    }
}

impl TryFrom<Value> for Edits {
    type Error = Fault;
    fn try_from(value: Value) -> Result<Self, Fault> {
        Members(&value).all_edits()
    }
}

/// The members of an object, each of the kind that is asked for, or absent.
struct Members<'a>(&'a Value);

impl Members<'_> {
    fn all_edits(&self) -> Result<Edits, Fault> {
        if !self.0.is_object() {
            return Err("`containerEdits` is no object".to_owned());
        }
        Ok(Edits {
            env: self.texts("env")?,
            device_nodes: self.list("deviceNodes", |value| {
                let of = Members(value);
                Ok(EditNode {
                    path: of.text("path")?,
                    host_path: of.text_if_any("hostPath")?,
                    kind: of.text_if_any("type")?,
                    major: of.number("major")?,
                    minor: of.number("minor")?,
                    file_mode: of.number("fileMode")?,
                    permissions: of.text_if_any("permissions")?,
                    uid: of.number("uid")?,
                    gid: of.number("gid")?,
                })
            })?,
            mounts: self.list("mounts", |value| {
                let of = Members(value);
                Ok(EditMount {
                    host_path: of.text("hostPath")?,
                    container_path: of.text("containerPath")?,
                    kind: of.text_if_any("type")?,
                    options: of.texts("options")?,
                })
            })?,
            hooks: self.list("hooks", |value| {
                let of = Members(value);
                Ok(EditHook {
                    hook_name: of.text("hookName")?,
                    path: of.text("path")?,
                    args: of.texts("args")?,
                    env: of.texts("env")?,
                    timeout: of.number("timeout")?,
                })
            })?,
            additional_gids: self
                .list("additionalGids", |value| as_number(value).ok_or_else(String::new))
                .map_err(|_| wrong("additionalGids"))?,
        })
    }

    fn edits(&self, key: &str) -> Result<Edits, Fault> {
        self.get(key).map_or_else(|| Ok(Edits::default()), |value| Members(value).all_edits())
    }

    /// A null is as good as nothing.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text_if_any(&self, key: &str) -> Result<Option<String>, Fault> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(key));
        self.get(key).map(text).transpose()
    }

    fn text(&self, key: &str) -> Result<String, Fault> {
        self.text_if_any(key).map(Option::unwrap_or_default)
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Fault> {
        self.get(key).map(|value| as_number(value).ok_or_else(|| wrong(key))).transpose()
    }

    fn list<T>(&self, key: &str, read: fn(&Value) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let mut list = Vec::new();
        for element in value.as_array().ok_or_else(|| wrong(key))? {
            list.push(read(element)?);
        }
        Ok(list)
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, Fault> {
        self.list(key, |value| value.as_str().map(str::to_owned).ok_or_else(String::new))
            .map_err(|_| wrong(key))
    }
}

fn as_number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn wrong(key: &str) -> Fault {
    format!("`{key}` is of the wrong kind")
}
