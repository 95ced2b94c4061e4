//! The rules for a CDI spec: those of the reference implementation (Go, `pkg/cdi`), which engines
//! use.

use super::CdiDocument;
use super::yaml::{as_text, first_document};
use crate::injection::HookStage;
use crate::model::cdi::ContainerEdits;
use crate::model::text::shown;
use serde_json::{Map, Value};

/// A valid spec, and notes on the parts of it that are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub spec: CdiDocument,
    /// One sentence for each ignored part.
    pub notes: Vec<String>,
}

/// The last version that this reader knows every member of.
const LAST_KNOWN: (u64, u64) = (1, 1);

/// The type of a spec's member, by the types of Go's reader (`specs-go/config.go`).
enum MemberShape {
    Text,
    Number,
    Texts,
    Numbers,
    /// An object with any keys, whose values are texts.
    TextMap,
    Object(MemberShapes),
    Objects(MemberShapes),
    /// One of [`NOT_MADE`].
    NotMade,
}

type MemberShapes = &'static [(&'static str, MemberShape)];

const SPEC: MemberShapes = &[
    ("cdiVersion", MemberShape::Text),
    ("kind", MemberShape::Text),
    ("annotations", MemberShape::TextMap),
    ("devices", MemberShape::Objects(DEVICE)),
    ("containerEdits", MemberShape::Object(EDITS)),
];
const DEVICE: MemberShapes = &[
    ("name", MemberShape::Text),
    ("annotations", MemberShape::TextMap),
    ("containerEdits", MemberShape::Object(EDITS)),
];
const EDITS: MemberShapes = &[
    ("env", MemberShape::Texts),
    ("deviceNodes", MemberShape::Objects(NODE)),
    ("netDevices", MemberShape::NotMade),
    ("mounts", MemberShape::Objects(MOUNT)),
    ("hooks", MemberShape::Objects(HOOK)),
    ("intelRdt", MemberShape::NotMade),
    ("additionalGids", MemberShape::Numbers),
];
const NODE: MemberShapes = &[
    ("path", MemberShape::Text),
    ("hostPath", MemberShape::Text),
    ("type", MemberShape::Text),
    ("major", MemberShape::Number),
    ("minor", MemberShape::Number),
    ("fileMode", MemberShape::Number),
    ("permissions", MemberShape::Text),
    ("uid", MemberShape::Number),
    ("gid", MemberShape::Number),
];
const MOUNT: MemberShapes = &[
    ("hostPath", MemberShape::Text),
    ("containerPath", MemberShape::Text),
    ("type", MemberShape::Text),
    ("options", MemberShape::Texts),
];
const HOOK: MemberShapes = &[
    ("hookName", MemberShape::Text),
    ("path", MemberShape::Text),
    ("args", MemberShape::Texts),
    ("env", MemberShape::Texts),
    ("timeout", MemberShape::Number),
];

/// Edits that are read and not made, and why.
const NOT_MADE: &[(&str, &str)] = &[
    ("netDevices", "network devices are not handed out"),
    ("intelRdt", "resctrl groups are not set"),
];

/// Reads a spec in YAML, and in JSON, which is YAML: engines do not go by a file's name either.
/// The error says what is wrong with it.
pub fn parse(text: &str) -> Result<Checked, String> {
    let value = first_document(text).map_err(|error| format!("it is not YAML: {error}"));
    value.and_then(check).map_err(|error| shown(&error))
}

fn check(mut value: Value) -> Result<Checked, String> {
    if value.is_null() {
        return Err("its first YAML document is empty".to_owned());
    }
    let mut found = MemberNotes::default();
    found.object(&mut value, SPEC, "")?;
    let version = version_of(&value)?;
    let mut notes = Vec::new();
    // As strict as Go's reader with a version that it knows. A later one of the same major may
    // have more members, and the old ones still mean the same.
    if let Some(first) = found.unknown.first() {
        if version <= LAST_KNOWN {
            return Err(format!("the member `{}` is unknown", shown(first)));
        }
        notes.push(format!("`{}` is unknown here and ignored", shown(&found.unknown.join("`, `"))));
    }
    for (key, why) in NOT_MADE.iter().filter(|(key, _)| found.not_made.contains(key)) {
        notes.push(format!("`{key}` is ignored: {why}"));
    }
    let devices = value.get("devices").and_then(Value::as_array).into_iter().flatten();
    let empty = devices.filter(|device| !has_edits(device)).find_map(|device| device.get("name"));
    if let Some(name) = empty.and_then(Value::as_str) {
        return Err(format!("its device `{}` has no edits", shown(name)));
    }
    let spec: CdiDocument =
        serde_path_to_error::deserialize(value).map_err(|error| error.to_string())?;
    check_document(&spec)?;
    Ok(Checked { spec, notes })
}

/// Whether a device has an edit, be it one that is not made.
fn has_edits(device: &Value) -> bool {
    let edits = device.get("containerEdits").and_then(Value::as_object);
    let is_edit = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
    edits.is_some_and(|edits| edits.values().any(is_edit))
}

/// Major and minor: 0.1 to 1.x, whatever x is.
fn version_of(value: &Value) -> Result<(u64, u64), String> {
    let text = value.get("cdiVersion").and_then(Value::as_str).unwrap_or_default();
    let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(str::parse::<u64>);
    let (major, minor) = match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_))) => (major, minor),
        _ => {
            return Err(format!(
                "`cdiVersion` is `{}`, and not a version like `0.6.0`",
                shown(text)
            ));
        }
    };
    match (major, minor) {
        (0, 1..) | (1, _) => Ok((major, minor)),
        _ => Err(format!("`cdiVersion` is `{}`; 0.1.0 to 1.x can be read", shown(text))),
    }
}

/// Gives each member the spelling and the type by which Go reads it, and notes what it meets.
#[derive(Default)]
struct MemberNotes {
    /// MemberShapes that no version up to [`LAST_KNOWN`] has, by their paths.
    unknown: Vec<String>,
    /// Keys of [`NOT_MADE`].
    not_made: Vec<&'static str>,
}

impl MemberNotes {
    /// Go takes a key in any case, and null for absent.
    fn object(&mut self, value: &mut Value, known: MemberShapes, at: &str) -> Result<(), String> {
        let Value::Object(members) = value else { return Ok(()) };
        let mut read = Map::new();
        for (key, mut member) in std::mem::take(members) {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            let Some((name, shape)) =
                known.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key))
            else {
                self.unknown.push(path);
                continue;
            };
            if read.contains_key(*name) {
                return Err(format!("the member `{}` is there in two spellings", shown(&path)));
            }
            if !member.is_null() {
                self.member(name, &mut member, shape, &path)?;
                read.insert((*name).to_owned(), member);
            }
        }
        *members = read;
        Ok(())
    }

    fn member(
        &mut self,
        name: &'static str,
        value: &mut Value,
        shape: &MemberShape,
        at: &str,
    ) -> Result<(), String> {
        match shape {
            MemberShape::Text => text(value, at),
            MemberShape::Texts => elements(value).try_for_each(|value| text(value, at)),
            MemberShape::TextMap => {
                let members = value.as_object_mut().into_iter().flatten();
                members.map(|(_, value)| value).try_for_each(|value| text(value, at))
            }
            MemberShape::Object(known) => self.object(value, known, at),
            MemberShape::Objects(known) => {
                elements(value).try_for_each(|value| self.object(value, known, at))
            }
            MemberShape::NotMade => {
                self.not_made.push(name);
                Ok(())
            }
            MemberShape::Number | MemberShape::Numbers => Ok(()),
        }
    }
}

fn elements(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// Makes a scalar the text that Go makes of it. A list or a mapping stays, to be refused.
fn text(value: &mut Value, at: &str) -> Result<(), String> {
    match (as_text(value), &value) {
        (Some(text), _) => *value = text.into(),
        (None, Value::Null) => *value = "".into(),
        (None, Value::Number(number)) => {
            let at = shown(at);
            return Err(format!("`{at}` is the number {number}; put it in quotes to make it text"));
        }
        _ => {}
    }
    Ok(())
}

fn check_document(spec: &CdiDocument) -> Result<(), String> {
    check_kind(&spec.kind)?;
    if spec.devices.is_empty() {
        return Err("it has no devices".to_owned());
    }
    check_edits(&spec.container_edits)?;
    let mut names: Vec<&str> = Vec::new();
    for device in &spec.devices {
        let name = device.name.as_str();
        check_name(name)?;
        if names.contains(&name) {
            return Err(format!("it has two devices `{name}`"));
        }
        names.push(name);
        check_edits(&device.container_edits)
            .map_err(|what| format!("its device `{name}`: {what}"))?;
    }
    Ok(())
}

/// Both parts of `vendor/class` begin with a letter and end with a letter or digit, with `_`, `-`,
/// `.` allowed between.
fn check_kind(kind: &str) -> Result<(), String> {
    let is_part =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && has_only(part, "_-.");
    match kind.split_once('/') {
        Some((vendor, class)) if is_part(vendor) && is_part(class) => Ok(()),
        _ => Err(format!("`kind` is `{}`, and not like `nvidia.com/gpu`", shown(kind))),
    }
}

/// Fails if a text cannot be a device's name: letters, digits and, between them, `_`, `-`, `.`,
/// `:`.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && has_only(name, "_-.:");
    if is_name { Ok(()) } else { Err(format!("`{}` cannot be a device's name", shown(name))) }
}

fn has_only(text: &str, marks: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn check_edits(edits: &ContainerEdits) -> Result<(), String> {
    check_env(&edits.env)?;
    for node in &edits.device_nodes {
        let path = shown(&node.path);
        if !node.path.starts_with('/') {
            return Err(format!("the device node `{path}` has no absolute path"));
        }
        let kind = node.kind.as_deref().unwrap_or_default();
        if !["", "b", "c", "u", "p"].contains(&kind) {
            return Err(format!("the device node `{path}` has the type `{}`", shown(kind)));
        }
        let allowed = node.permissions.as_deref().unwrap_or_default();
        if allowed != "none" && allowed.chars().any(|c| !"rwm".contains(c)) {
            return Err(format!("the device node `{path}` has permissions `{}`", shown(allowed)));
        }
    }
    for mount in &edits.mounts {
        if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
            let path = shown(&mount.container_path);
            return Err(format!("the mount at `{path}` has no source or no absolute path"));
        }
    }
    for hook in &edits.hooks {
        let stage = shown(&hook.hook_name);
        if hook.hook_name.parse::<HookStage>().is_err() {
            return Err(format!("a hook has the unknown stage `{stage}`"));
        }
        if !hook.path.starts_with('/') {
            return Err(format!("the hook `{}` has no absolute path", shown(&hook.path)));
        }
        check_env(&hook.env)?;
    }
    Ok(())
}

fn check_env(env: &[String]) -> Result<(), String> {
    let bad = env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0));
    bad.map_or(Ok(()), |bad| Err(format!("`{}` is not a variable like `NAME=value`", shown(bad))))
}
