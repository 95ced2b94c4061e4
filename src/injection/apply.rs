//! Applies an [`Injection`] to a spec.

use super::document::{Document, DocumentError, JsonKind};
use super::fragments;
use super::hidden_nodes::HiddenNodes;
use super::target::{Fate, SpecList, edit_list, variable};
use super::types::{GRANTED_PREFIX, HookEntry, HookStage, Injection, MountEntry, ResolvedNode};
use super::undo::{CreatedValue, Undo, revert, take_granted};
use crate::model::text::shown;
use serde_json::Value;
use std::collections::BTreeMap;

/// Applies all of an injection, and returns how to undo it. Fails if the spec has a value of the
/// wrong kind where an edit is needed, or if the injection breaks its own rules. The document is
/// then unchanged, to the byte.
pub fn apply(document: &mut Document, injection: &Injection) -> Result<Undo, DocumentError> {
    check(injection)?;
    let mut undo = Undo::default();
    match edit(document, injection, &mut undo) {
        Ok(()) => Ok(undo),
        Err(error) => {
            revert(document, &undo);
            Err(error)
        }
    }
}

/// Checks the injection's own rules. An annotation outside of [`GRANTED_PREFIX`] would never be
/// removed again. A hook's path must be absolute (config.md, "POSIX-platform Hooks").
fn check(injection: &Injection) -> Result<(), DocumentError> {
    if let Some(key) = injection.annotations.keys().find(|key| !key.starts_with(GRANTED_PREFIX)) {
        let key = shown(key);
        return Err(DocumentError(format!("annotation `{key}` is not under `{GRANTED_PREFIX}`")));
    }
    if let Some(hook) = injection.hooks.iter().find(|hook| !hook.path.starts_with('/')) {
        return Err(DocumentError(format!("hook path `{}` is not absolute", shown(&hook.path))));
    }
    Ok(())
}

fn edit(
    document: &mut Document,
    injection: &Injection,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    let nodes = distinct_nodes(&injection.nodes);
    let hidden = HiddenNodes::new(&injection.hidden_nodes, &nodes);
    edit_devices(document, &nodes, &hidden, undo)?;
    edit_rules(document, &nodes, &hidden, undo)?;
    edit_gids(document, &injection.gids, undo)?;
    edit_env(document, SpecList::Env, &injection.env, undo)?;
    edit_mounts(document, &injection.mounts, undo)?;
    edit_masked(document, &injection.masked, undo)?;
    edit_annotations(document, &injection.annotations, undo)?;
    for stage in HookStage::ALL {
        append_hooks(document, stage, &injection.hooks, undo)?;
    }
    Ok(())
}

/// The nodes, each path once: the runtime fails on two entries with one path.
fn distinct_nodes(nodes: &[ResolvedNode]) -> Vec<&ResolvedNode> {
    let mut distinct: Vec<&ResolvedNode> = Vec::with_capacity(nodes.len());
    for node in nodes {
        if !distinct.iter().any(|earlier| earlier.path == node.path) {
            distinct.push(node);
        }
    }
    distinct
}

fn edit_devices(
    document: &mut Document,
    nodes: &[&ResolvedNode],
    hidden: &HiddenNodes<'_>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if nodes.is_empty() && hidden.is_empty() {
        return Ok(());
    }
    let mut replaced: Vec<&str> = Vec::new();
    let fate = |entry: &Value| {
        let path = entry.get("path").and_then(Value::as_str);
        match nodes.iter().find(|node| Some(node.path.as_str()) == path) {
            Some(node) if replaced.contains(&node.path.as_str()) => Fate::Remove,
            Some(node) => {
                replaced.push(&node.path);
                Fate::Replace(fragments::device(node))
            }
            None if hidden.has_device(entry) => Fate::Remove,
            None => Fate::Keep,
        }
    };
    edit_list(document, SpecList::Devices, undo, fate, |list| {
        let there: Vec<&Value> = list.iter().filter_map(|entry| entry.get("path")).collect();
        let missing = nodes.iter().filter(|node| !there.iter().any(|path| **path == node.path));
        missing.map(|node| fragments::device(node)).collect::<Vec<_>>()
    })
}

/// Adds the rules of our nodes at the end, even if an equal rule comes earlier. Rules apply in
/// order, and a later rule that denies would win (nvidia-container-toolkit#1227).
fn edit_rules(
    document: &mut Document,
    nodes: &[&ResolvedNode],
    hidden: &HiddenNodes<'_>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if nodes.is_empty() && hidden.is_empty() {
        return Ok(());
    }
    let fate = |rule: &Value| if hidden.has_rule(rule) { Fate::Remove } else { Fate::Keep };
    let mut rules: Vec<Value> = Vec::with_capacity(nodes.len());
    let allowed = nodes.iter().filter(|node| !node.access.is_empty());
    for rule in allowed.map(|node| fragments::rule(node)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    edit_list(document, SpecList::Rules, undo, fate, |_| rules)
}

/// Group 0 is not given: it is root's, and a node that is only open to root's group is not meant
/// for a container's user.
fn edit_gids(document: &mut Document, gids: &[u32], undo: &mut Undo) -> Result<(), DocumentError> {
    let mut wanted: Vec<Value> = Vec::with_capacity(gids.len());
    for gid in gids.iter().filter(|gid| **gid != 0).map(|gid| Value::from(*gid)) {
        if !wanted.contains(&gid) {
            wanted.push(gid);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    edit_list(
        document,
        SpecList::Gids,
        undo,
        |_| Fate::Keep,
        |list| {
            wanted.retain(|gid| !list.contains(gid));
            wanted
        },
    )
}

/// Sets and removes variables. Afterwards each is present once, at its first position, or not at
/// all. If a name is set twice, a C library finds the first and a shell may take the last.
pub(super) fn edit_env(
    document: &mut Document,
    target: SpecList,
    env: &BTreeMap<String, Option<String>>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if env.is_empty() {
        return Ok(());
    }
    let mut unset = env.clone();
    unset.retain(|_, value| value.is_some());
    let fate = |entry: &Value| {
        let Some(name) = variable(entry).filter(|name| env.contains_key(*name)) else {
            return Fate::Keep;
        };
        match unset.remove(name) {
            Some(Some(value)) => Fate::Replace(format!("{name}={value}").into()),
            _ => Fate::Remove,
        }
    };
    edit_list(document, target, undo, fate, |list| {
        let missing = env.iter().filter_map(|(name, value)| {
            let there = list.iter().any(|entry| variable(entry) == Some(name));
            value.as_ref().filter(|_| !there).map(|value| format!("{name}={value}").into())
        });
        missing.collect::<Vec<Value>>()
    })
}

/// The runtime mounts in the order of the list, and a later mount hides an earlier one at the same
/// place. Each of our mounts comes after all mounts that it lies on or in, and before those that
/// lie in it, because it would hide them. In most specs that is the end of the list.
fn edit_mounts(
    document: &mut Document,
    mounts: &[MountEntry],
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if mounts.is_empty() {
        return Ok(());
    }
    // Parents first. There are few mounts, and another sort function would add 4 KB to the shim.
    let mut ours: Vec<&MountEntry> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let depth = |mount: &MountEntry| parts(&mount.destination).count();
        let deeper = ours.iter().position(|other| depth(other) > depth(mount));
        ours.insert(deeper.unwrap_or(ours.len()), mount);
    }
    let none = &mut Vec::new();
    let there = document.list_mut(SpecList::Mounts.path())?.unwrap_or(none);
    let there: Vec<&str> = there.iter().map(destination).collect();
    let mut before: Vec<Vec<Value>> = vec![Vec::new(); there.len()];
    let mut last = Vec::new();
    for mount in ours {
        let own = mount.destination.as_str();
        let first = there.iter().rposition(|other| lies_in(own, other)).map_or(0, |at| at + 1);
        let hidden = there.iter().enumerate().skip(first).find(|(_, other)| lies_in(other, own));
        match hidden.and_then(|(at, _)| before.get_mut(at)) {
            Some(place) => place.push(fragments::mount(mount)),
            None => last.push(fragments::mount(mount)),
        }
    }
    let mut before = before.into_iter();
    let fate = |_: &Value| match before.next() {
        Some(values) if !values.is_empty() => Fate::Follow(values),
        _ => Fate::Keep,
    };
    edit_list(document, SpecList::Mounts, undo, fate, |_| last)
}

fn destination(mount: &Value) -> &str {
    mount.get("destination").and_then(Value::as_str).unwrap_or_default()
}

/// The names in a path, so that `/a//b/.` equals `/a/b`.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// Whether a path is `other` or lies below it. An empty path contains nothing.
fn lies_in(path: &str, other: &str) -> bool {
    let mut path = parts(path);
    !other.is_empty() && parts(other).all(|part| path.next() == Some(part))
}

fn edit_masked(
    document: &mut Document,
    masked: &[String],
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if masked.is_empty() {
        return Ok(());
    }
    let missing = |list: &[Value]| {
        let is_missing = |path: &&String| !list.iter().any(|there| there == path.as_str());
        masked.iter().filter(is_missing).map(|path| path.clone().into()).collect::<Vec<Value>>()
    };
    edit_list(document, SpecList::Masked, undo, |_| Fate::Keep, missing)
}

fn edit_annotations(
    document: &mut Document,
    annotations: &BTreeMap<String, String>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    let path = ["annotations"];
    if !annotations.is_empty() {
        document.create(&path, JsonKind::Object, |path, was_null| {
            undo.created.push(CreatedValue::new(path, was_null));
        })?;
    }
    if let Some(object) = document.object_mut(&path)? {
        undo.annotations_removed = take_granted(object);
        for (key, value) in annotations {
            object.insert(key.clone(), value.clone().into());
            undo.annotations_set.push((key.clone(), value.clone()));
        }
    }
    Ok(())
}

fn append_hooks(
    document: &mut Document,
    stage: HookStage,
    hooks: &[HookEntry],
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    let ours: Vec<Value> =
        hooks.iter().filter(|hook| hook.stage == stage).map(fragments::hook).collect();
    if ours.is_empty() {
        return Ok(());
    }
    edit_list(document, stage.into(), undo, |_| Fate::Keep, |_| ours)
}

#[cfg(test)]
mod tests;
