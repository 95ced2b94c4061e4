//! What a text must be to be a spec: the rules of the reference implementation (Go, `pkg/cdi`),
//! which engines go by.

use super::Spec;
use crate::injection::HookStage;
use crate::model::cdi::Edits;
use crate::model::text::shown;
use serde_json::{Map, Value};

/// A good spec, and what of it is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub spec: Spec,
    /// Sentences about what is ignored.
    pub notes: Vec<String>,
}

/// The last version that this reader knows every member of.
const KNOWN: (u64, u64) = (1, 1);

const SPEC: &[&str] = &["cdiVersion", "kind", "annotations", "devices", "containerEdits"];
const DEVICE: &[&str] = &["name", "annotations", "containerEdits"];
const EDITS: &[&str] =
    &["env", "deviceNodes", "netDevices", "mounts", "hooks", "intelRdt", "additionalGids"];
const NODE: &[&str] =
    &["path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"];
const MOUNT: &[&str] = &["hostPath", "containerPath", "type", "options"];
const HOOK: &[&str] = &["hookName", "path", "args", "env", "timeout"];

/// Reads a spec in JSON. The error says what is wrong with it.
pub fn parse_json(text: &str) -> Result<Checked, String> {
    check(serde_json::from_str(text).map_err(|error| shown(&format!("it is not JSON: {error}")))?)
}

/// Reads a spec in YAML. The error says what is wrong with it.
pub fn parse_yaml(text: &str) -> Result<Checked, String> {
    check(serde_norway::from_str(text).map_err(|error| shown(&format!("it is not YAML: {error}")))?)
}

fn check(mut value: Value) -> Result<Checked, String> {
    let version = version_of(&value)?;
    let mut notes = Vec::new();
    let mut unknown = Vec::new();
    take_unknown(&mut value, &mut unknown);
    // As strict as Go's reader with a version that it knows. A later one of the same major may say
    // more, and what it says in the old words still holds.
    if let Some(first) = unknown.first() {
        if version <= KNOWN {
            return Err(format!("the member `{}` is unknown", shown(first)));
        }
        notes.push(format!("`{}` is unknown here and ignored", shown(&unknown.join("`, `"))));
    }
    for (key, what) in [
        ("netDevices", "network devices are not handed out"),
        ("intelRdt", "resctrl groups are not set"),
    ] {
        if takes(&mut value, key) {
            notes.push(format!("`{key}` is ignored: {what}"));
        }
    }
    nulls_away(&mut value);
    let spec: Spec =
        serde_path_to_error::deserialize(value).map_err(|error| shown(&error.to_string()))?;
    judge(&spec)?;
    Ok(Checked { spec, notes })
}

/// Major and minor: 0.3 to 1.x, whatever x is.
fn version_of(value: &Value) -> Result<(u64, u64), String> {
    let text = value.get("cdiVersion").and_then(Value::as_str).unwrap_or_default();
    let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(str::parse::<u64>);
    let (major, minor) = match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_))) => (major, minor),
        _ => return Err(format!("`cdiVersion` is `{}`, no version like 0.6.0", shown(text))),
    };
    match (major, minor) {
        (0, 3..) | (1, _) => Ok((major, minor)),
        _ => Err(format!("`cdiVersion` is `{}`; read are 0.3.0 and later, and 1.x", shown(text))),
    }
}

/// Takes out every member that no version up to [`KNOWN`] has, and says where they were.
fn take_unknown(value: &mut Value, unknown: &mut Vec<String>) {
    let Some(spec) = value.as_object_mut() else { return };
    keep(spec, SPEC, "", unknown);
    edits(spec, "containerEdits", unknown);
    for device in objects(spec, "devices") {
        keep(device, DEVICE, "devices.", unknown);
        edits(device, "devices.containerEdits", unknown);
    }
}

fn edits(owner: &mut Map<String, Value>, at: &str, unknown: &mut Vec<String>) {
    let Some(edits) = owner.get_mut("containerEdits").and_then(Value::as_object_mut) else {
        return;
    };
    keep(edits, EDITS, &format!("{at}."), unknown);
    for (key, known) in [("deviceNodes", NODE), ("mounts", MOUNT), ("hooks", HOOK)] {
        for entry in objects(edits, key) {
            keep(entry, known, &format!("{at}.{key}."), unknown);
        }
    }
}

fn objects<'a>(
    owner: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = owner.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn keep(object: &mut Map<String, Value>, known: &[&str], at: &str, unknown: &mut Vec<String>) {
    object.retain(|key, _| {
        let keep = known.contains(&key.as_str());
        if !keep {
            unknown.push(format!("{at}{key}"));
        }
        keep
    });
}

/// Takes an edit out of the spec's and of all devices', and says whether it was anywhere.
fn takes(value: &mut Value, key: &str) -> bool {
    let take = |owner: &mut Map<String, Value>| {
        let edits = owner.get_mut("containerEdits").and_then(Value::as_object_mut);
        edits.and_then(|edits| edits.shift_remove(key)).is_some_and(|value| !value.is_null())
    };
    let Some(spec) = value.as_object_mut() else { return false };
    let mut found = take(spec);
    for device in objects(spec, "devices") {
        found |= take(device);
    }
    found
}

/// A key with nothing after it is null in YAML, and to Go as good as absent.
fn nulls_away(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(nulls_away);
        }
        Value::Array(elements) => elements.iter_mut().for_each(nulls_away),
        _ => {}
    }
}

fn judge(spec: &Spec) -> Result<(), String> {
    check_kind(&spec.kind)?;
    if spec.devices.is_empty() {
        return Err("it has no devices".to_owned());
    }
    judge_edits(&spec.container_edits)?;
    let mut names: Vec<&str> = Vec::new();
    for device in &spec.devices {
        let name = device.name.as_str();
        check_name(name)?;
        if names.contains(&name) {
            return Err(format!("it has two devices `{name}`"));
        }
        names.push(name);
        if device.container_edits.is_empty() {
            return Err(format!("its device `{name}` has no edits"));
        }
        judge_edits(&device.container_edits)
            .map_err(|what| format!("its device `{name}`: {what}"))?;
    }
    Ok(())
}

/// `vendor/class`: a vendor begins with a letter, ends with a letter or digit and has `_`, `-`, `.`
/// between; a class the same.
fn check_kind(kind: &str) -> Result<(), String> {
    let is_part =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && has_only(part, "_-.");
    match kind.split_once('/') {
        Some((vendor, class)) if is_part(vendor) && is_part(class) => Ok(()),
        _ => Err(format!("`kind` is `{}`, nothing like nvidia.com/gpu", shown(kind))),
    }
}

/// Whether a text can be a device's name: letters, digits and, between them, `_`, `-`, `.`, `:`.
/// The error says that it cannot.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && has_only(name, "_-.:");
    if is_name { Ok(()) } else { Err(format!("`{}` cannot be a device's name", shown(name))) }
}

fn has_only(text: &str, marks: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn judge_edits(edits: &Edits) -> Result<(), String> {
    judge_env(&edits.env)?;
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
            return Err(format!("the mount at `{path}` lacks a source or an absolute path"));
        }
    }
    for hook in &edits.hooks {
        let stage = shown(&hook.hook_name);
        if hook.hook_name.parse::<HookStage>().is_err() {
            return Err(format!("a hook is at `{stage}`, no stage of the runtime specification"));
        }
        if !hook.path.starts_with('/') {
            return Err(format!("the hook `{}` has no absolute path", shown(&hook.path)));
        }
        judge_env(&hook.env)?;
    }
    Ok(())
}

fn judge_env(env: &[String]) -> Result<(), String> {
    let bad = env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0));
    bad.map_or(Ok(()), |bad| Err(format!("`{}` is no variable like NAME=value", shown(bad))))
}
