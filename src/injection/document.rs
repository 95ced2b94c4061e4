//! A JSON document that is edited in place and otherwise unchanged.
//!
//! The tree is a [`serde_json::Value`] that keeps the order of keys and the spelling of numbers.
//! Typed structs would lose the members that they do not have. If a key occurs twice, the last
//! value counts; a spec with such a key in a place that is read is not edited (see
//! [`super::Doubt`]). serde_json keeps a number in an object with a private key. A document that
//! has this key itself (`$serde_json::private::…`) does not parse, or has a number in place of the
//! object, and an edit there fails.
//!
//! The seccomp profile is most of the text and is never edited, so it is not in the tree: see
//! `Aside`.

use super::doubt::folds;
use super::skim;
use crate::model::spelled::spelled;
use crate::model::text::shown;
use serde_json::{Map, Value, to_vec, to_vec_pretty};
use thiserror::Error;

/// The reason why a document cannot be read or edited.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct DocumentError(pub(super) String);

impl DocumentError {
    pub(super) fn no_object() -> Self {
        Self("config.json is not an object".to_owned())
    }
}

impl From<serde_json::Error> for DocumentError {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("cannot parse config.json: {error}"))
    }
}

spelled! {
    /// The kinds of JSON values.
    pub enum JsonKind {
        Null = "null",
        Boolean = "a boolean",
        Number = "a number",
        String = "a string",
        Array = "an array",
        Object = "an object",
    }
}

impl JsonKind {
    /// The kind of a value.
    pub const fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

/// A JSON object, with the format of its file: compact or indented, with or without a newline at
/// the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    root: Value,
    aside: Option<Aside>,
    pretty: bool,
    newline: bool,
}

/// The text of a value that [`STAND_IN`] replaces in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Aside(Vec<u8>);

/// The position of the value, and the size from which on it is set aside.
const LINUX: &str = "linux";
const SECCOMP: &str = "seccomp";
const ASIDE_MIN: usize = 1024;
/// This text is its own JSON.
const STAND_IN: &[u8] = b"\"gpulease has set this value aside\"";

impl Aside {
    /// Takes the value out of the text.
    fn take(bytes: &[u8]) -> Option<(Self, Vec<u8>)> {
        let range = skim::find(bytes, LINUX, SECCOMP).filter(|range| range.len() >= ASIDE_MIN)?;
        let (before, after) = (bytes.get(..range.start)?, bytes.get(range.end..)?);
        let rest = [before, STAND_IN, after].concat();
        Some((Self(bytes.get(range)?.to_vec()), rest))
    }

    /// Puts the value back into a text. `None` if the text does not contain [`STAND_IN`] exactly
    /// once, because the document has the same words elsewhere.
    fn put_back(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let is_there = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(STAND_IN));
        let quotes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'"');
        let mut places = quotes.map(|(at, _)| at).filter(is_there);
        let (place, None) = (places.next()?, places.next()) else { return None };
        let (before, after) = (bytes.get(..place)?, bytes.get(place + STAND_IN.len()..)?);
        Some([before, &self.0, after].concat())
    }
}

impl Document {
    /// Reads a document. Of a long seccomp profile only the outermost brackets are checked. Fails
    /// if the text is not JSON or not an object. For serde_json, lone surrogates and more than 128
    /// levels are not JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        match Aside::take(bytes) {
            Some((aside, rest)) => Ok(Self { aside: Some(aside), ..Self::parse_all(&rest)? }),
            None => Self::parse_all(bytes),
        }
    }

    fn parse_all(bytes: &[u8]) -> Result<Self, DocumentError> {
        let root: Value = serde_json::from_slice(bytes)?;
        if !root.is_object() {
            return Err(DocumentError::no_object());
        }
        // A file counts as indented if its line ends after the first brace.
        let after_brace = bytes.iter().skip_while(|byte| **byte != b'{').skip(1);
        let pretty =
            after_brace.take_while(|byte| byte.is_ascii_whitespace()).any(|byte| *byte == b'\n');
        Ok(Self { root, aside: None, pretty, newline: bytes.ends_with(b"\n") })
    }

    /// The document as a file's contents. A compact file stays compact. An indented one is indented
    /// by two spaces.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = self.write(&self.root);
        match &self.aside {
            None => text,
            Some(aside) => aside.put_back(&text).unwrap_or_else(|| self.write(&self.tree())),
        }
    }

    fn write(&self, root: &Value) -> Vec<u8> {
        // `Display` has the same result, but writes through `fmt`, which checks each piece of text.
        let written = if self.pretty { to_vec_pretty(root) } else { to_vec(root) };
        let mut text = written.unwrap_or_else(|_| root.to_string().into_bytes());
        if self.newline {
            text.push(b'\n');
        }
        text
    }

    pub fn tree(&self) -> Value {
        let mut root = self.root.clone();
        if let Some(aside) = &self.aside
            && let Some(place) = root.get_mut(LINUX).and_then(|linux| linux.get_mut(SECCOMP))
            && let Ok(value) = serde_json::from_slice(&aside.0)
        {
            *place = value;
        }
        root
    }

    /// Refuses a member of the root that some runtimes treat as this one.
    pub(super) fn refuse_other_spellings(&self, meant: &str) -> Result<(), DocumentError> {
        let mut keys = self.root.as_object().into_iter().flat_map(Map::keys);
        match keys.find(|key| *key != meant && folds(key, meant)) {
            Some(key) => {
                let key = shown(key);
                Err(DocumentError(format!("some runtimes read the key `{key}` as `{meant}`")))
            }
            None => Ok(()),
        }
    }

    pub(super) const fn root_mut(&mut self) -> &mut Value {
        &mut self.root
    }

    /// The array at `path`; `None` if the array, or an object on the way, is absent or null. Fails
    /// if a value on the way is of another kind.
    pub(super) fn list_mut(
        &mut self,
        path: &[&str],
    ) -> Result<Option<&mut Vec<Value>>, DocumentError> {
        Ok(self.find(path, JsonKind::Array)?.and_then(Value::as_array_mut))
    }

    /// The object at `path`; otherwise like [`Self::list_mut`].
    pub(super) fn object_mut(
        &mut self,
        path: &[&str],
    ) -> Result<Option<&mut Map<String, Value>>, DocumentError> {
        Ok(self.find(path, JsonKind::Object)?.and_then(Value::as_object_mut))
    }

    fn find(&mut self, path: &[&str], kind: JsonKind) -> Result<Option<&mut Value>, DocumentError> {
        let mut here = &mut self.root;
        for (depth, key) in path.iter().enumerate() {
            let Some(next) = here.get_mut(*key) else { return Ok(None) };
            if next.is_null() {
                return Ok(None);
            }
            expect(next, kind_at(path, depth, kind), || pointer(path, depth))?;
            here = next;
        }
        Ok(Some(here))
    }

    /// Creates objects that are absent or null on the way to `path`, and an empty array or object
    /// at `path`. Calls `created` for each of them, outermost first, with its path and whether
    /// there was a null. Fails if a value on the way is of another kind; then nothing is created.
    pub(super) fn create(
        &mut self,
        path: &[&str],
        kind: JsonKind,
        mut created: impl FnMut(&[&str], bool),
    ) -> Result<(), DocumentError> {
        let mut here = &mut self.root;
        for (depth, key) in path.iter().enumerate() {
            let kind = kind_at(path, depth, kind);
            let Some(object) = here.as_object_mut() else { return Ok(()) };
            let was_there = object.contains_key(*key);
            let next = object.entry(*key).or_insert(Value::Null);
            if next.is_null() {
                *next = match kind {
                    JsonKind::Array => Value::Array(Vec::new()),
                    _ => Value::Object(Map::new()),
                };
                created(path.get(..=depth).unwrap_or(path), was_there);
            }
            expect(next, kind, || pointer(path, depth))?;
            here = next;
        }
        Ok(())
    }
}

/// Every step of a path but the last leads through an object.
const fn kind_at(path: &[&str], depth: usize, last: JsonKind) -> JsonKind {
    if depth + 1 == path.len() { last } else { JsonKind::Object }
}

fn pointer(path: &[&str], depth: usize) -> String {
    path.iter().take(depth + 1).flat_map(|key| ["/", key]).collect()
}

/// Fails if the value is of another kind.
pub(super) fn expect(
    value: &Value,
    expected: JsonKind,
    pointer: impl FnOnce() -> String,
) -> Result<(), DocumentError> {
    let found = JsonKind::of(value);
    if found == expected {
        return Ok(());
    }
    let pointer = pointer();
    Err(DocumentError(format!("`{pointer}` must be {expected}, but is {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_look() {
        for text in [
            r#"{"b":1,"a":[18446744073709551616,1.50,-0.0,{}],"ü":"\n"}"#,
            "{\"a\":1}\n",
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": {},\n  \"c\": []\n}\n",
            "{}",
        ] {
            assert_eq!(Document::parse(text.as_bytes()).unwrap().to_bytes(), text.as_bytes());
        }
    }

    /// A document with a long profile.
    fn with_profile(rest: &str) -> String {
        let names: Vec<String> = (0..200).map(|number| format!("\"call_{number}\"")).collect();
        format!("{{\"linux\":{{\"seccomp\":{{\"names\": [{}] }}}}{rest}}}", names.join(" ,"))
    }

    #[test]
    fn a_long_profile_is_not_touched() {
        let text = with_profile(",\"a\": [ 1 ]");
        let mut document = Document::parse(text.as_bytes()).unwrap();
        assert!(document.aside.is_some());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document.tree(), value);
        // The rest is reformatted, but the profile is not.
        let expected = text.replace("\"a\": [ 1 ]", "\"a\":[1]");
        assert_eq!(document.to_bytes(), expected.as_bytes());
        document.create(&["linux", "devices"], JsonKind::Array, |_, _| ()).unwrap();
        let edited: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
        assert_eq!(edited["linux"]["seccomp"], value["linux"]["seccomp"]);
        assert_eq!(edited["linux"]["devices"], Value::Array(Vec::new()));
    }

    #[test]
    fn a_document_with_our_words_gets_them_back() {
        let text = with_profile(&format!(",\"b\":{0},{0}:1", str::from_utf8(STAND_IN).unwrap()));
        let document = Document::parse(text.as_bytes()).unwrap();
        assert!(document.aside.is_some());
        let written: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        let document = Document::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(document.to_bytes(), br#"{"a":3,"b":2}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "null", "\"a\""] {
            let error = Document::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "config.json is not an object", "{text}");
        }
        for text in ["", "{", "{}x", r#"{"a":"\ud800"}"#] {
            let error = Document::parse(text.as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("cannot parse config.json: "), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_kind_is_named_with_its_place() {
        let mut document = Document::parse(br#"{"linux":{"resources":[]}}"#).unwrap();
        let error = document.list_mut(&["linux", "resources", "devices"]).unwrap_err();
        assert_eq!(error.to_string(), "`/linux/resources` must be an object, but is an array");
        let before = document.clone();
        document
            .create(&["linux", "resources", "devices"], JsonKind::Array, |_, _| ())
            .unwrap_err();
        assert_eq!(document, before);
    }

    #[test]
    fn absent_and_null_are_created() {
        let mut document = Document::parse(br#"{"linux":null,"a":1}"#).unwrap();
        assert!(document.list_mut(&["linux", "devices"]).unwrap().is_none());
        let mut created = Vec::new();
        document
            .create(&["linux", "devices"], JsonKind::Array, |path, was_null| {
                created.push((path.join("/"), was_null));
            })
            .unwrap();
        assert_eq!(created, [("linux".to_owned(), true), ("linux/devices".to_owned(), false)]);
        assert_eq!(document.to_bytes(), br#"{"linux":{"devices":[]},"a":1}"#);
    }
}
