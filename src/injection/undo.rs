//! Undoes an edit. A bundle that is started a second time still has the edits of the first start.
//!
//! The record is ours and is not read from the spec. The engine or a user may have edited the spec
//! since, so the undo compares values. An element that we added is removed if it is unchanged. An
//! element that we removed returns unless another has taken its place. The rest is not touched.

use super::document::Document;
use super::target::SpecList;
use super::types::GRANTED_PREFIX;
use super::{HOOK_NAME, file_name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The edits of a spec. The record has values from the spec (environment variables among them), so
/// it has to be kept as private as the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Objects and arrays that were created, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) created: Vec<CreatedValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) lists: Vec<ListUndo>,
    /// Annotations that were set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations_set: Vec<(String, String)>,
    /// Annotations that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations_removed: Vec<PlacedMember>,
}

/// An object or array that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CreatedValue {
    /// The keys that lead to it.
    path: Vec<String>,
    /// Whether a null was there.
    was_null: bool,
}

impl CreatedValue {
    pub(super) fn new(path: &[&str], was_null: bool) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), was_null }
    }
}

/// The edit of one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListUndo {
    pub(super) target: SpecList,
    /// Elements that were added, with the index in the edited list.
    pub(super) inserted: Vec<PlacedElement>,
    /// Elements that were removed, with the index in the original list.
    pub(super) removed: Vec<PlacedElement>,
}

impl ListUndo {
    pub(super) fn insert(&mut self, list: &mut Vec<Value>, value: Value) {
        self.inserted.push(PlacedElement { index: list.len(), value: value.clone(), alike: 0 });
        list.push(value);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.inserted.is_empty() && self.removed.is_empty()
    }
}

/// An element and its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlacedElement {
    /// Index in its list.
    pub(super) index: usize,
    pub(super) value: Value,
    /// For a removed element, how many elements of the same slot remained in the list. If there are
    /// more now, another one was added since.
    #[serde(default)]
    pub(super) alike: usize,
}

/// A member of an object and its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlacedMember {
    /// Index in its object.
    pub(super) index: usize,
    pub(super) key: String,
    pub(super) value: Value,
}

/// Undoes an edit. The document that the edit left becomes the original again, to the byte. In a
/// document that was edited since, the later edits stay. It does not fail: if the document is
/// another one altogether, it contains nothing of ours.
pub fn revert(document: &mut Document, undo: &Undo) {
    if let Ok(Some(annotations)) = document.object_mut(&["annotations"]) {
        for (key, value) in &undo.annotations_set {
            if annotations.get(key).and_then(Value::as_str) == Some(value) {
                annotations.shift_remove(key);
            }
        }
        for PlacedMember { index, key, value } in &undo.annotations_removed {
            if !annotations.contains_key(key) {
                annotations.shift_insert(
                    (*index).min(annotations.len()),
                    key.clone(),
                    value.clone(),
                );
            }
        }
    }
    for edit in undo.lists.iter().rev() {
        if let Ok(Some(list)) = document.list_mut(edit.target.path()) {
            revert_list(list, edit);
        }
    }
    for created in undo.created.iter().rev() {
        remove_created(document.root_mut(), created);
    }
}

fn revert_list(list: &mut Vec<Value>, edit: &ListUndo) {
    for PlacedElement { index, value, .. } in edit.inserted.iter().rev() {
        let in_place = list.get(*index).is_some_and(|element| element == value);
        let found =
            if in_place { Some(*index) } else { list.iter().rposition(|element| element == value) };
        if let Some(found) = found {
            list.remove(found);
        }
    }
    // All elements are judged before the first one returns, because a returned element would count
    // against the others.
    let target = edit.target;
    let returning: Vec<&PlacedElement> = edit
        .removed
        .iter()
        .filter(|removed| {
            let alike = list.iter().filter(|element| target.same_slot(element, &removed.value));
            alike.count() <= removed.alike
        })
        .collect();
    for PlacedElement { index, value, .. } in returning {
        list.insert((*index).min(list.len()), value.clone());
    }
}

fn remove_created(root: &mut Value, created: &CreatedValue) {
    let Some((last, parents)) = created.path.split_last() else { return };
    let parent = parents.iter().try_fold(root, |here, key| here.get_mut(key));
    let Some(parent) = parent.and_then(Value::as_object_mut) else { return };
    let Some(value) = parent.get_mut(last) else { return };
    let is_empty = match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    if is_empty && created.was_null {
        *value = Value::Null;
    } else if is_empty {
        parent.shift_remove(last);
    }
}

/// Removes the recognisable parts of an edit whose [`Undo`] is lost: hooks with our file name, at
/// any stage, and annotations under [`GRANTED_PREFIX`]. Devices and rules are not recognisable and
/// stay. Returns whether anything was removed.
pub fn strip_our_hooks(document: &mut Document) -> bool {
    let mut changed = strip_granted(document);
    if let Ok(Some(hooks)) = document.object_mut(&["hooks"]) {
        for stage in hooks.values_mut().filter_map(Value::as_array_mut) {
            let before = stage.len();
            stage.retain(|hook| {
                hook.get("path").and_then(Value::as_str).map(file_name) != Some(HOOK_NAME)
            });
            changed |= stage.len() != before;
        }
    }
    changed
}

/// Removes every annotation under [`GRANTED_PREFIX`], so that a container without a request cannot
/// pretend to have a grant. Returns whether there was any.
pub fn strip_granted(document: &mut Document) -> bool {
    match document.object_mut(&["annotations"]) {
        Ok(Some(annotations)) => !take_granted(annotations).is_empty(),
        _ => false,
    }
}

pub(super) fn take_granted(annotations: &mut Map<String, Value>) -> Vec<PlacedMember> {
    if !annotations.keys().any(|key| key.starts_with(GRANTED_PREFIX)) {
        return Vec::new();
    }
    let mut taken = Vec::new();
    for (index, (key, value)) in std::mem::take(annotations).into_iter().enumerate() {
        if key.starts_with(GRANTED_PREFIX) {
            taken.push(PlacedMember { index, key, value });
        } else {
            annotations.insert(key, value);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{
        HookEntry, HookStage, HostNode, Injection, MountEntry, ResolvedNode, apply,
    };

    fn injection() -> Injection {
        let text = str::to_owned;
        let node = |path: &str, minor| ResolvedNode {
            path: path.to_owned(),
            major: 195,
            minor,
            file_mode: 0o660,
            uid: Some(0),
            gid: Some(44),
            access: text("rw"),
        };
        Injection {
            nodes: vec![node("/dev/nvidia0", 0), node("/dev/nvidiactl", 255)],
            gids: vec![44],
            env: [(text("A"), Some(text("new"))), (text("B"), None)].into(),
            annotations: [(text("gpulease.granted/lease"), text("l-1"))].into(),
            hooks: vec![HookEntry {
                stage: HookStage::CreateRuntime,
                path: text("/usr/libexec/gpulease-hook"),
                args: vec![text("gpulease-hook")],
                env: Vec::new(),
                timeout: Some(5),
            }],
            mounts: vec![MountEntry {
                source: text("/usr/lib/libcuda.so.1"),
                destination: text("/usr/lib64/libcuda.so.1"),
                kind: text("bind"),
                options: vec![text("ro"), text("bind")],
            }],
            masked: vec![text("/proc/driver/nvidia/gpus/0000:02:00.0")],
            hidden_nodes: vec![HostNode { path: text("/dev/nvidia1"), numbers: Some((195, 1)) }],
        }
    }

    const SPEC: &str = concat!(
        r#"{"annotations":{"gpulease.granted/x":"y","z":"1"},"process":{"user":null,"#,
        r#""env":["A=1","B=1","C=1","A=2"]},"linux":{"devices":[{"path":"/dev/nvidia1"},"#,
        r#"{"path":"/dev/d","type":"c","major":195,"minor":1},{"path":"/dev/d"},"#,
        r#"{"path":"/dev/nvidia0"},{"path":"/dev/fuse"},{"path":"/dev/nvidia0"}],"#,
        r#""resources":{"devices":[{"allow":true,"type":"c","major":195,"minor":1},"#,
        r#"{"allow":false},{"allow":true,"type":"c","major":195,"minor":1}]}}}"#,
    );

    fn applied() -> (Document, Undo) {
        let mut document = Document::parse(SPEC.as_bytes()).unwrap();
        let undo = apply(&mut document, &injection()).unwrap();
        // The record is serialised, as in a file.
        let undo = serde_json::from_str(&serde_json::to_string(&undo).unwrap()).unwrap();
        (document, undo)
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> Value {
        let (mut document, undo) = applied();
        edit(document.root_mut());
        revert(&mut document, &undo);
        document.tree()
    }

    #[test]
    fn an_untouched_document_is_restored_to_the_byte() {
        let (mut document, undo) = applied();
        assert_ne!(document.to_bytes(), SPEC.as_bytes());
        assert_ne!(undo, Undo::default());
        revert(&mut document, &undo);
        assert_eq!(document.to_bytes(), SPEC.as_bytes());
    }

    #[test]
    fn what_was_put_in_and_changed_since_stays() {
        let spec = edited(|spec| {
            spec["process"]["env"][0] = "A=theirs".into();
            spec["annotations"]["gpulease.granted/lease"] = "theirs".into();
            spec["hooks"]["createRuntime"][0]["timeout"] = 9.into();
            spec["linux"]["devices"][1]["minor"] = 3.into();
        });
        assert_eq!(spec["process"]["env"], serde_json::json!(["A=theirs", "B=1", "C=1"]));
        assert_eq!(spec["annotations"]["gpulease.granted/lease"], "theirs");
        assert_eq!(spec["hooks"]["createRuntime"][0]["timeout"], 9);
        let devices = spec["linux"]["devices"].as_array().unwrap();
        let of_nvidia0 = devices.iter().filter(|d| d["path"] == "/dev/nvidia0");
        assert_eq!(of_nvidia0.map(|d| d["minor"].clone()).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn an_element_that_was_put_back_is_not_doubled() {
        let spec = edited(|spec| {
            spec["process"]["env"].as_array_mut().unwrap().insert(0, "B=theirs".into());
            spec["annotations"]["gpulease.granted/x"] = "theirs".into();
            let device = serde_json::json!({"path": "/dev/nvidia1", "major": 9});
            spec["linux"]["devices"].as_array_mut().unwrap().insert(0, device);
        });
        let env = spec["process"]["env"].as_array().unwrap();
        assert_eq!(env.iter().filter(|e| e.as_str().unwrap().starts_with("B=")).count(), 1);
        assert!(env.contains(&"A=1".into()) && !env.contains(&"A=new".into()));
        assert_eq!(spec["annotations"]["gpulease.granted/x"], "theirs");
        let devices = spec["linux"]["devices"].as_array().unwrap();
        assert_eq!(devices.iter().filter(|d| d["path"] == "/dev/nvidia1").count(), 1);
    }

    #[test]
    fn what_was_created_stays_if_it_is_in_use() {
        let spec = edited(|spec| {
            spec["hooks"]["poststop"] = serde_json::json!([]);
            spec["process"]["user"]["uid"] = 5.into();
        });
        assert_eq!(spec["hooks"], serde_json::json!({"poststop": []}));
        assert_eq!(spec["process"]["user"], serde_json::json!({"uid": 5}));
    }

    #[test]
    fn any_other_document_survives() {
        let (_, undo) = applied();
        for text in ["{}", r#"{"linux":1,"process":[],"hooks":{"createRuntime":{}}}"#] {
            let mut document = Document::parse(text.as_bytes()).unwrap();
            revert(&mut document, &undo);
            assert!(Document::parse(&document.to_bytes()).is_ok());
        }
    }

    #[test]
    fn hooks_are_recognised_without_a_record() {
        let text = r#"{"annotations":{"gpulease.granted/a":1,"gpulease/count":"1"},"hooks":{
            "createRuntime":[{"path":"/a/gpulease-hook"},{"path":"/a/gpulease-hook2"},{}],
            "new":[{"path":"gpulease-hook"},7],"odd":3}}"#;
        let mut document = Document::parse(text.as_bytes()).unwrap();
        assert!(strip_our_hooks(&mut document));
        let expected = r#"{"annotations":{"gpulease/count":"1"},"hooks":{"createRuntime":[{"path":"/a/gpulease-hook2"},{}],"new":[7],"odd":3}}"#;
        assert_eq!(document.tree().to_string(), expected);
        assert!(!strip_our_hooks(&mut document));
        assert!(!strip_granted(&mut Document::parse(br#"{"annotations":[]}"#).unwrap()));
    }
}
