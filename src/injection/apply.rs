//! Putting an [`Injection`] into a spec.

use super::document::{Document, DocumentError, Kind};
use super::fragments;
use super::target::{Fate, Target, edit_list, variable};
use super::types::{GRANTED_PREFIX, HookEntry, HookStage, Injection, ResolvedNode};
use super::undo::{Created, Undo, revert, take_granted};
use super::withhold::Withheld;
use crate::model::text::shown;
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a spec was not edited.
#[derive(Debug, Error)]
pub enum EditError {
    /// The spec has a value of the wrong kind where an edit has to be made.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An annotation to set is not under [`GRANTED_PREFIX`], so it would never be taken out again.
    #[error("annotation `{key}` is not under `{GRANTED_PREFIX}`")]
    ForeignAnnotation {
        /// Its key, safe to show.
        key: String,
    },
    /// A hook's path is not absolute (config.md, "POSIX-platform Hooks": it must be).
    #[error("hook path `{path}` is not absolute")]
    RelativeHook {
        /// The path, safe to show.
        path: String,
    },
}

/// Puts an injection into a spec, all of it or nothing, and says what was done.
///
/// # Errors
/// If the spec has a value of the wrong kind where an edit has to be made, or the injection
/// breaks its own rules. The document is then as it was, to the byte.
pub fn apply(document: &mut Document, injection: &Injection) -> Result<Undo, EditError> {
    check(injection)?;
    let mut undo = Undo::default();
    match edit(document, injection, &mut undo) {
        Ok(()) => Ok(undo),
        Err(error) => {
            revert(document, &undo);
            Err(error.into())
        }
    }
}

fn check(injection: &Injection) -> Result<(), EditError> {
    if let Some(key) = injection.annotations.keys().find(|key| !key.starts_with(GRANTED_PREFIX)) {
        return Err(EditError::ForeignAnnotation { key: shown(key) });
    }
    if let Some(hook) = injection.hooks.iter().find(|hook| !hook.path.starts_with('/')) {
        return Err(EditError::RelativeHook { path: shown(&hook.path) });
    }
    Ok(())
}

fn edit(
    document: &mut Document,
    injection: &Injection,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    let nodes = distinct_nodes(&injection.nodes);
    let withheld = Withheld::new(&injection.withhold, &nodes);
    edit_devices(document, &nodes, &withheld, undo)?;
    edit_rules(document, &nodes, &withheld, undo)?;
    edit_gids(document, &injection.gids, undo)?;
    edit_env(document, Target::Env, &injection.env, undo)?;
    edit_annotations(document, &injection.annotations, undo)?;
    for stage in [HookStage::CreateRuntime, HookStage::Poststop] {
        append_hooks(document, stage, &injection.hooks, undo)?;
    }
    Ok(())
}

/// The nodes, each path once: two entries with one path fail the start in the runtime.
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
    withheld: &Withheld<'_>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if nodes.is_empty() && withheld.is_empty() {
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
            None if withheld.has_device(entry) => Fate::Remove,
            None => Fate::Keep,
        }
    };
    edit_list(document, Target::Devices, undo, fate, |list| {
        let there: Vec<&Value> = list.iter().filter_map(|entry| entry.get("path")).collect();
        let missing = nodes.iter().filter(|node| !there.iter().any(|path| **path == node.path));
        missing.map(|node| fragments::device(node)).collect::<Vec<_>>()
    })
}

/// Ours come last, even where an equal rule stands earlier: rules apply in order, and a later one
/// that denies would win (nvidia-container-toolkit#1227).
fn edit_rules(
    document: &mut Document,
    nodes: &[&ResolvedNode],
    withheld: &Withheld<'_>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    if nodes.is_empty() && withheld.is_empty() {
        return Ok(());
    }
    let fate = |rule: &Value| if withheld.has_rule(rule) { Fate::Remove } else { Fate::Keep };
    let mut rules: Vec<Value> = Vec::with_capacity(nodes.len());
    for rule in nodes.iter().map(|node| fragments::rule(node)) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    edit_list(document, Target::Rules, undo, fate, |_| rules)
}

/// Group 0 is not handed out: it is root's, and a node that only root's group may use is not
/// meant for a container's user.
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
        Target::Gids,
        undo,
        |_| Fate::Keep,
        |list| {
            wanted.retain(|gid| !list.contains(gid));
            wanted
        },
    )
}

/// Sets and removes variables: each is there once afterwards, at its first place, or not at all.
/// With two of a name, a C library finds the first and a shell may take the last.
pub(super) fn edit_env(
    document: &mut Document,
    target: Target,
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

fn edit_annotations(
    document: &mut Document,
    annotations: &BTreeMap<String, String>,
    undo: &mut Undo,
) -> Result<(), DocumentError> {
    let path = ["annotations"];
    if !annotations.is_empty() {
        document.create(&path, Kind::Object, |path, was_null| {
            undo.created.push(Created::new(path, was_null));
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
mod tests {
    use super::*;
    use crate::injection::HostNode;
    use serde_json::json;

    fn document(value: &Value) -> Document {
        Document::parse(value.to_string().as_bytes()).unwrap()
    }

    fn node(path: &str, minor: u32) -> ResolvedNode {
        ResolvedNode { path: path.to_owned(), major: 195, minor, file_mode: 0o666, uid: 0, gid: 0 }
    }

    fn host(path: &str, numbers: Option<(u32, u32)>) -> HostNode {
        HostNode { path: path.to_owned(), numbers }
    }

    #[test]
    fn gpus_that_are_not_granted_go_by_path_and_by_number() {
        let mut spec = document(&json!({"linux": {
            "devices": [
                {"path": "/dev/nvidia0", "type": "c", "major": 195, "minor": 7},
                {"path": "/dev/nvidia1", "type": "c", "major": 195, "minor": 1},
                {"path": "/dev/x", "type": "c", "major": 195, "minor": 1},
                {"path": "/dev/y", "type": "b", "major": 195, "minor": 1},
                {"path": "/dev/z", "type": "c", "major": 195, "minor": 0},
                {"path": "/dev/nvidia2"}
            ],
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 195, "minor": 1, "access": "rwm"},
                {"allow": true, "type": "c", "major": 195, "minor": 0, "access": "rwm"},
                {"allow": true, "type": "c", "major": 195, "access": "rwm"},
                {"allow": false, "type": "c", "major": 195, "minor": 1, "access": "rwm"}
            ]}
        }}));
        let injection = Injection {
            nodes: vec![node("/dev/nvidia0", 0), node("/dev/nvidia0", 9)],
            withhold: vec![
                host("/dev/nvidia0", Some((195, 0))),
                host("/dev/nvidia1", Some((195, 1))),
                host("/dev/nvidia2", None),
            ],
            ..Injection::default()
        };
        apply(&mut spec, &injection).unwrap();
        let linux = &spec.tree()["linux"];
        let paths: Vec<_> =
            linux["devices"].as_array().unwrap().iter().map(|d| d["path"].clone()).collect();
        assert_eq!(paths, ["/dev/nvidia0", "/dev/y", "/dev/z"]);
        assert_eq!(linux["devices"][0], fragments::device(&node("/dev/nvidia0", 0)));
        let rules = linux["resources"]["devices"].as_array().unwrap();
        assert_eq!(rules.len(), 5);
        assert_eq!(rules.last(), Some(&fragments::rule(&node("", 0))));
        assert!(!rules.iter().any(|r| r["allow"] == true && r["minor"] == 1));
    }

    #[test]
    fn a_variable_is_there_once_or_not_at_all() {
        let mut spec = document(&json!({"process": {"env": ["A=1", "B=1", "A=2", "B", "BB=1"]}}));
        let env = [("A", Some("3")), ("B", None), ("C", Some("4")), ("D", None)];
        let env = env.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
        apply(&mut spec, &Injection { env, ..Injection::default() }).unwrap();
        assert_eq!(spec.tree(), json!({"process": {"env": ["A=3", "BB=1", "C=4"]}}));
    }

    #[test]
    fn only_what_is_needed_is_created() {
        let mut spec = document(&json!({"process": null}));
        let env = [("A".to_owned(), None)].into();
        let injection = Injection {
            env,
            gids: vec![0],
            withhold: vec![host("/dev/kfd", None)],
            ..Injection::default()
        };
        assert!(apply(&mut spec, &injection).unwrap().is_empty());
        assert_eq!(spec.tree(), json!({"process": null}));
    }

    #[test]
    fn groups_are_added_once_and_never_root() {
        let mut spec = document(&json!({"process": {"user": {"additionalGids": [10, 44]}}}));
        let gids = vec![0, 44, 109, 109];
        apply(&mut spec, &Injection { gids, ..Injection::default() }).unwrap();
        assert_eq!(spec.tree()["process"]["user"]["additionalGids"], json!([10, 44, 109]));
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let hook = HookEntry {
            stage: HookStage::Poststop,
            path: "/usr/libexec/gpulease-hook".to_owned(),
            args: vec!["gpulease-hook".to_owned()],
            env: Vec::new(),
            timeout: 5,
        };
        let injection = Injection {
            nodes: vec![node("/dev/nvidia0", 0)],
            gids: vec![44],
            env: [("A".to_owned(), Some("1".to_owned()))].into(),
            annotations: [("gpulease.granted/lease".to_owned(), "l-1".to_owned())].into(),
            hooks: vec![hook],
            ..Injection::default()
        };
        for (bad, pointer) in [
            (json!({"linux": 1}), "/linux"),
            (json!({"linux": {"devices": {}}}), "/linux/devices"),
            (json!({"linux": {"devices": [1]}}), "/linux/devices/0"),
            (json!({"linux": {"resources": {"devices": [{}, []]}}}), "/linux/resources/devices/1"),
            (
                json!({"process": {"user": {"additionalGids": ["1"]}}}),
                "/process/user/additionalGids/0",
            ),
            (json!({"process": {"env": {"A": "1"}}}), "/process/env"),
            (json!({"annotations": []}), "/annotations"),
            (
                json!({"annotations": {"gpulease.granted/a": "x", "b": "c"}, "linux": null,
                "hooks": {"poststop": "no"}}),
                "/hooks/poststop",
            ),
        ] {
            let mut spec = document(&bad);
            let error = apply(&mut spec, &injection).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{pointer}` must be ")), "{error}");
            assert_eq!(spec.to_bytes(), bad.to_string().as_bytes());
        }
    }

    #[test]
    fn annotations_named_like_serde_jsons_number_are_refused() {
        let bytes = br#"{"annotations":{"$serde_json::private::Number":"5"}}"#;
        let mut spec = Document::parse(bytes).unwrap();
        let annotations = [("gpulease.granted/a".to_owned(), "b".to_owned())].into();
        apply(&mut spec, &Injection { annotations, ..Injection::default() }).unwrap_err();
    }

    #[test]
    fn an_injection_that_breaks_its_own_rules_is_refused() {
        let mut spec = document(&json!({}));
        let annotations = [("gpulease/count".to_owned(), "1".to_owned())].into();
        let error =
            apply(&mut spec, &Injection { annotations, ..Injection::default() }).unwrap_err();
        assert!(matches!(error, EditError::ForeignAnnotation { .. }));
        let hook = HookEntry {
            stage: HookStage::CreateRuntime,
            path: "gpulease-hook".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            timeout: 5,
        };
        let error = apply(&mut spec, &Injection { hooks: vec![hook], ..Injection::default() });
        assert!(matches!(error, Err(EditError::RelativeHook { .. })));
    }
}
