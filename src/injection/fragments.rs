//! The JSON values that are put into a spec. `tests/spec_edits.rs` compares each with oci-spec's
//! type of the same name.

use super::types::{HookEntry, MountEntry, ResolvedNode};
use serde_json::{Map, Value};

/// An entry of `linux.devices` (config-linux.md, "Devices").
pub fn device(node: &ResolvedNode) -> Value {
    let mut value = object([
        ("path", node.path.clone().into()),
        ("type", "c".into()),
        ("major", node.major.into()),
        ("minor", node.minor.into()),
        ("fileMode", node.file_mode.into()),
    ]);
    if let Value::Object(members) = &mut value {
        let owners = [("uid", node.uid), ("gid", node.gid)].into_iter();
        members.extend(owners.filter_map(|(key, id)| Some((key.to_owned(), id?.into()))));
    }
    value
}

/// A rule of `linux.resources.devices` (config-linux.md, "Allowed Device list"). It never has `m`:
/// the runtime makes the node, and the container does not need to make another.
pub fn rule(node: &ResolvedNode) -> Value {
    object([
        ("allow", true.into()),
        ("type", "c".into()),
        ("major", node.major.into()),
        ("minor", node.minor.into()),
        ("access", node.access.clone().into()),
    ])
}

/// A mount (config.md, "Mounts").
pub fn mount(mount: &MountEntry) -> Value {
    object([
        ("destination", mount.destination.clone().into()),
        ("type", mount.kind.clone().into()),
        ("source", mount.source.clone().into()),
        ("options", mount.options.clone().into()),
    ])
}

/// A hook (config.md, "POSIX-platform Hooks").
pub fn hook(hook: &HookEntry) -> Value {
    let mut value = object([
        ("path", hook.path.clone().into()),
        ("args", hook.args.clone().into()),
        ("env", hook.env.clone().into()),
    ]);
    if let (Some(timeout), Value::Object(members)) = (hook.timeout, &mut value) {
        members.insert("timeout".to_owned(), timeout.into());
    }
    value
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(
        members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
    )
}
