//! The lists of a spec that are edited, and the record of an edit.

use super::document::{Document, DocumentError, JsonKind, expect};
use super::types::HookStage;
use super::undo::{CreatedValue, ListUndo, PlacedElement, Undo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A list in the spec that is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SpecList {
    Devices,
    Rules,
    Gids,
    Env,
    /// The `env` of a bare process, as in `exec --process`.
    BareEnv,
    Mounts,
    Masked,
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl From<HookStage> for SpecList {
    fn from(stage: HookStage) -> Self {
        match stage {
            HookStage::Prestart => Self::Prestart,
            HookStage::CreateRuntime => Self::CreateRuntime,
            HookStage::CreateContainer => Self::CreateContainer,
            HookStage::StartContainer => Self::StartContainer,
            HookStage::Poststart => Self::Poststart,
            HookStage::Poststop => Self::Poststop,
        }
    }
}

impl SpecList {
    pub(super) const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Devices => &["linux", "devices"],
            Self::Rules => &["linux", "resources", "devices"],
            Self::Gids => &["process", "user", "additionalGids"],
            Self::Env => &["process", "env"],
            Self::BareEnv => &["env"],
            Self::Mounts => &["mounts"],
            Self::Masked => &["linux", "maskedPaths"],
            Self::Prestart => &["hooks", "prestart"],
            Self::CreateRuntime => &["hooks", "createRuntime"],
            Self::CreateContainer => &["hooks", "createContainer"],
            Self::StartContainer => &["hooks", "startContainer"],
            Self::Poststart => &["hooks", "poststart"],
            Self::Poststop => &["hooks", "poststop"],
        }
    }

    const fn element(self) -> JsonKind {
        match self {
            Self::Gids => JsonKind::Number,
            Self::Env | Self::BareEnv | Self::Masked => JsonKind::String,
            _ => JsonKind::Object,
        }
    }

    /// Whether two elements exclude each other: they set the same variable, have the same path, or
    /// are rules for the same numbers.
    pub(super) fn same_slot(self, a: &Value, b: &Value) -> bool {
        let same = |keys: &[&str]| keys.iter().all(|key| a.get(key) == b.get(key));
        match self {
            Self::Devices => same(&["path"]),
            Self::Rules => same(&["allow", "type", "major", "minor"]),
            Self::Env | Self::BareEnv => variable(a).is_some() && variable(a) == variable(b),
            Self::Mounts => same(&["destination"]),
            _ => a == b,
        }
    }
}

/// The name of the variable that an element of `process.env` sets.
pub(super) fn variable(element: &Value) -> Option<&str> {
    let text = element.as_str()?;
    Some(text.split_once('=').map_or(text, |(name, _)| name))
}

/// The fate of an element in an edit.
pub(super) enum Fate {
    Keep,
    Remove,
    /// Replace it by this one.
    Replace(Value),
    /// Insert these before it.
    Follow(Vec<Value>),
}

/// Edits a list: `fate` decides on each element, then the result of `append` is added. The list is
/// created only if an element is added. The edit is recorded in `undo`. Fails if the list, a value
/// on the way to it, or one of its elements is not of the specified kind; then nothing is changed.
pub(super) fn edit_list<Append: IntoIterator<Item = Value>>(
    document: &mut Document,
    target: SpecList,
    undo: &mut Undo,
    mut fate: impl FnMut(&Value) -> Fate,
    append: impl FnOnce(&[Value]) -> Append,
) -> Result<(), DocumentError> {
    let none = &mut Vec::new();
    let old = document.list_mut(target.path())?.unwrap_or(none);
    for (index, element) in old.iter().enumerate() {
        let pointer = || format!("/{}/{index}", target.path().join("/"));
        expect(element, target.element(), pointer)?;
    }

    let mut edit = ListUndo { target, inserted: Vec::new(), removed: Vec::new() };
    let mut new = Vec::with_capacity(old.len());
    for (index, element) in std::mem::take(old).into_iter().enumerate() {
        match fate(&element) {
            Fate::Keep => new.push(element),
            Fate::Follow(values) => {
                for value in values {
                    edit.insert(&mut new, value);
                }
                new.push(element);
            }
            Fate::Remove => edit.removed.push(PlacedElement { index, value: element, alike: 0 }),
            Fate::Replace(value) => {
                edit.removed.push(PlacedElement { index, value: element, alike: 0 });
                edit.insert(&mut new, value);
            }
        }
    }
    for removed in &mut edit.removed {
        removed.alike = new
            .iter()
            .enumerate()
            .filter(|(index, element)| {
                target.same_slot(element, &removed.value)
                    && !edit.inserted.iter().any(|inserted| inserted.index == *index)
            })
            .count();
    }
    for value in append(&new) {
        edit.insert(&mut new, value);
    }
    if !edit.inserted.is_empty() {
        document.create(target.path(), JsonKind::Array, |path, was_null| {
            undo.created.push(CreatedValue::new(path, was_null));
        })?;
    }
    if let Some(list) = document.list_mut(target.path())? {
        *list = new;
    }
    if !edit.is_empty() {
        undo.lists.push(edit);
    }
    Ok(())
}
