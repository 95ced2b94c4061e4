//! Docker: `runtimes` and `default-runtime` in daemon.json, which is strict JSON.

use super::edit::default_restored;
use super::files::{ReadError, read_bytes};
use super::text::utf8;
use super::{EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use crate::config::position;
use crate::model::encoding::Encoding;
use crate::paths::Paths;
use crate::sys::programs::installed_on;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;
use std::path::Path;

pub(super) const PROGRAM: &str = "dockerd";
pub(super) const UNIT: &str = "docker";
pub(super) const CONFIG: &str = "/etc/docker/daemon.json";
pub(super) const BUILT_IN: &[&str] = &["runc"];

const RUNTIMES: &str = "runtimes";
const DEFAULT: &str = "default-runtime";
const PATH: &str = "path";

/// The text that dockerd takes an empty file for.
const EMPTY: &str = "{}\n";

/// The text of a daemon.json. dockerd goes by a byte order mark, as Windows writes one, and reads
/// UTF-8 without (moby, `getConflictFreeConfiguration`).
pub(super) fn decode(bytes: Vec<u8>) -> Result<(String, Encoding), EditError> {
    match Encoding::decode(&bytes) {
        Ok((text, encoding @ (Encoding::Utf16Le | Encoding::Utf16Be))) => Ok((text, encoding)),
        // The mark of UTF-8 stays in the text.
        _ => Ok((utf8(bytes)?, Encoding::Utf8)),
    }
}

/// Reads daemon.json; a dockerd without one has its defaults.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    let file = paths.on_host(Path::new(CONFIG));
    let bytes = read_bytes(&file)?;
    if bytes.is_none() && installed_on(PROGRAM, paths).is_none() {
        return Ok(None);
    }
    let decoded = Encoding::decode(&bytes.unwrap_or_default());
    let (text, _) = decoded.map_err(|why| ReadError::invalid(&file, why))?;
    let text = if text.trim().is_empty() { EMPTY } else { &text };
    let daemon: Value = match serde_json::from_str(text) {
        Ok(daemon @ Value::Object(_)) => daemon,
        Ok(_) => return Err(ReadError::invalid(&file, "it is not a JSON object")),
        Err(error) => return Err(ReadError::invalid(&file, error)),
    };
    let listed = daemon.get(RUNTIMES).and_then(Value::as_object);
    let runtimes = listed.into_iter().flatten().map(|(name, runtime)| {
        // Either a program, or containerd's shim with the program among its options.
        let program = runtime.get(PATH).or_else(|| runtime.get("options")?.get("BinaryName"));
        let programs = program.and_then(Value::as_str).map(str::to_owned);
        RuntimeEntry { name: name.clone(), programs: programs.into_iter().collect(), cri: None }
    });
    Ok(Some(EngineConfig {
        engine: Engine::Docker,
        runtimes: runtimes.collect(),
        default: daemon.get(DEFAULT).and_then(Value::as_str).map(str::to_owned),
        node_runtime: None,
        template: None,
        hooks_dirs: Vec::new(),
        file,
    }))
}

/// Adds the runtime, or corrects its entry.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let (root, top) = parse(if body.trim().is_empty() { EMPTY } else { body })?;
    let runtimes = match set_property(&top, RUNTIMES)? {
        Some(runtimes) => object(&runtimes, RUNTIMES)?,
        None => top.object_value_or_set(RUNTIMES),
    };
    if let Some(entry) = set_property(&runtimes, NAME)? {
        let entry = object(&entry, "runtimes.gpulease")?;
        // dockerd refuses an entry that has a path and one of these.
        for other in ["runtimeType", "options"].into_iter().filter_map(|other| entry.get(other)) {
            other.remove();
        }
        set(&entry, PATH, wiring.runtime)?;
    } else {
        let path = CstInputValue::String(wiring.runtime.to_owned());
        runtimes.append(NAME, CstInputValue::Object(vec![(PATH.to_owned(), path)]));
    }
    if wiring.default_runtime {
        set(&top, DEFAULT, NAME)?;
    }
    Ok(EditedText::new(root.to_string()))
}

/// Removes the runtime; `before` is the file as it was before it was added.
pub(super) fn unwire(body: &str, before: Option<&str>) -> Result<EditedText, EditError> {
    if body.trim().is_empty() {
        return Ok(EditedText::new(body.to_owned()));
    }
    let (root, top) = parse(body)?;
    let was = before.map(lenient).unwrap_or_default();
    let mut edit = EditedText::default();
    if let Some(runtimes) = property(&top, RUNTIMES)?.filter(|found| !is_null(found)) {
        let entries = object(&runtimes, RUNTIMES)?;
        if let Some(entry) = property(&entries, NAME)? {
            entry.remove();
            match was.get(RUNTIMES) {
                _ if !entries.properties().is_empty() => {}
                None => runtimes.remove(),
                Some(Value::Null) => runtimes.set_value(CstInputValue::Null),
                Some(_) => {}
            }
        }
    }
    if let Some(default) = property(&top, DEFAULT)?
        && text(&default).as_deref() == Some(NAME)
    {
        match was.get(DEFAULT).and_then(Value::as_str).filter(|was| *was != NAME) {
            Some(was) => set(&top, DEFAULT, was)?,
            None => default.remove(),
        }
        edit.notes.push(default_restored(was.get(DEFAULT).and_then(Value::as_str)));
    }
    edit.text = root.to_string();
    Ok(edit)
}

/// The text with Docker's own default spelled out, if gpulease was the default and the file would
/// name none: a dockerd that is only reloaded would go on with a program that is about to be gone.
pub(super) fn with_default_named(old: &str, new: &str) -> Result<Option<String>, EditError> {
    if !loses_our_default(&lenient(old), &lenient(new)) {
        return Ok(None);
    }
    let (root, top) = parse(if new.trim().is_empty() { EMPTY } else { new })?;
    set(&top, DEFAULT, "runc")?;
    Ok(Some(root.to_string()))
}

/// The note for settings that dockerd keeps after a reload: it sets those that the file names, and
/// keeps the value of those that the file names no more (moby, `daemon/reload_unix.go`).
pub(super) fn kept_by_reload(old: &str, new: Option<&str>) -> Option<String> {
    let (old, new) = (lenient(old), new.map(lenient).unwrap_or_default());
    let what = if loses_our_default(&old, &new) {
        "uses gpulease for containers that name no runtime"
    } else if has_runtime(&old) && new.get(RUNTIMES).is_none() {
        "knows the runtime `gpulease`"
    } else {
        return None;
    };
    Some(format!(
        "dockerd {what} until it is restarted, and a reload does not help: `systemctl restart docker` \
         before gpulease-runtime is removed"
    ))
}

/// Whether gpulease was the default of a file that names none any more.
fn loses_our_default(old: &Value, new: &Value) -> bool {
    is_default(old) && new.get(DEFAULT).is_none()
}

/// A file as far as it can be read.
fn lenient(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether a daemon.json names the runtime.
pub(super) fn is_wired(body: &str) -> bool {
    let json = lenient(body);
    has_runtime(&json) || is_default(&json)
}

fn has_runtime(json: &Value) -> bool {
    json.get(RUNTIMES).and_then(|runtimes| runtimes.get(NAME)).is_some()
}

fn is_default(json: &Value) -> bool {
    json.get(DEFAULT).and_then(Value::as_str) == Some(NAME)
}

fn parse(body: &str) -> Result<(CstRootNode, CstObject), EditError> {
    // dockerd reads with Go's parser. serde_json is as strict; the editor's own parser is not.
    serde_json::from_str::<Value>(body).map_err(|error| {
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or_default().to_owned();
        EditError::Syntax { line: error.line(), column: error.column(), message }
    })?;
    let root = CstRootNode::parse(body, &ParseOptions::default()).map_err(|error| {
        let (line, column) = position(body, error.range().start);
        EditError::Syntax { line, column, message: error.kind().to_string() }
    })?;
    let top = root
        .object_value()
        .ok_or(EditError::Shape { key: "the file".to_owned(), expected: "an object, `{…}`" })?;
    Ok((root, top))
}

/// A property. Fails if two have the name: dockerd takes the last one and the editor the first, so
/// a person has to decide.
fn property(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, EditError> {
    let mut found = object
        .properties()
        .into_iter()
        .filter(|property| property.decoded_name().as_deref() == Some(name));
    let first = found.next();
    match found.next() {
        Some(_) => Err(EditError::Shape { key: format!("`{name}`"), expected: "there only once" }),
        None => Ok(first),
    }
}

/// A property, as [`property`]. One that is `null` is taken out: dockerd takes it for absent.
fn set_property(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, EditError> {
    match property(object, name)? {
        Some(found) if is_null(&found) => {
            found.remove();
            Ok(None)
        }
        found => Ok(found),
    }
}

fn is_null(property: &CstObjectProp) -> bool {
    property.value().is_some_and(|value| value.as_null_keyword().is_some())
}

fn object(property: &CstObjectProp, name: &str) -> Result<CstObject, EditError> {
    let expected = "an object, `{…}`";
    property.object_value().ok_or_else(|| EditError::Shape { key: format!("`{name}`"), expected })
}

fn text(property: &CstObjectProp) -> Option<String> {
    property.value()?.as_string_lit()?.decoded_value().ok()
}

fn set(object: &CstObject, name: &str, value: &str) -> Result<(), EditError> {
    let new = CstInputValue::String(value.to_owned());
    match property(object, name)? {
        Some(old) if text(&old).as_deref() == Some(value) => {}
        Some(old) => old.set_value(new),
        None => drop(object.append(name, new)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRING: Wiring<'_> = Wiring {
        runtime: "/opt/gpulease-runtime",
        default_runtime: false,
        hook: "",
        hooks_dir: "",
    };

    #[test]
    fn an_empty_file_becomes_the_smallest_one() {
        let text = wire("", &WIRING).unwrap().text;
        let expected = "{\n  \"runtimes\": {\n    \"gpulease\": {\n      \
                        \"path\": \"/opt/gpulease-runtime\"\n    }\n  }\n}\n";
        assert_eq!(text, expected);
        assert_eq!(unwire(&text, None).unwrap().text.trim(), "{}");
        for none in ["", " \n"] {
            assert_eq!(wire(none, &WIRING).unwrap().text, text, "{none:?}");
            assert_eq!(unwire(none, None).unwrap().text, none);
        }
    }

    #[test]
    fn null_is_absent_as_for_dockerd() {
        let expected =
            serde_json::json!({"debug": true, "runtimes": {"gpulease": {"path": WIRING.runtime}}});
        for text in [
            r#"{"runtimes": null, "debug": true}"#,
            r#"{"debug": true, "runtimes": {"gpulease": null}}"#,
        ] {
            let wired = wire(text, &WIRING).unwrap().text;
            assert_eq!(serde_json::from_str::<Value>(&wired).unwrap(), expected, "{wired}");
        }
        let null = r#"{"runtimes": null}"#;
        assert_eq!(unwire(null, None).unwrap().text, null);
        assert!(!is_wired(null));
    }

    #[test]
    fn a_file_that_dockerd_refuses_is_refused() {
        let wrong = |text: &str| wire(text, &WIRING).unwrap_err().to_string();
        assert_eq!(wrong("{\n  \"debug\": true,\n}"), "line 3, column 1: trailing comma");
        assert!(wrong("// x\n{}").starts_with("line 1, column 1: "));
        assert_eq!(wrong("[]"), "the file is not an object, `{…}`");
        assert!(wrong("{\"runtimes\": []}").contains("`runtimes` is not an object"));
        assert!(wrong("{\"runtimes\": {}, \"runtimes\": {}}").contains("only once"));
    }

    #[test]
    fn settings_kept_by_a_reload_are_told() {
        let runtime = r#"{"runtimes": {"gpulease": {"path": "/x"}}}"#;
        let default =
            r#"{"runtimes": {"gpulease": {"path": "/x"}}, "default-runtime": "gpulease"}"#;
        let told = |old, new| {
            let text = kept_by_reload(old, new).unwrap_or_default();
            (text.contains("knows the runtime"), text.contains("that name no runtime"))
        };
        assert_eq!(told(runtime, None), (true, false));
        assert_eq!(told(runtime, Some("{}")), (true, false));
        assert_eq!(told(default, Some("{}")), (false, true));
        assert_eq!(told(default, Some(r#"{"runtimes": {"x": {}}}"#)), (false, true));
        // A reload sets the settings anew that the file names.
        assert_eq!(told(runtime, Some(r#"{"runtimes": {"x": {}}}"#)), (false, false));
        let other = r#"{"runtimes": {}, "default-runtime": "runc"}"#;
        assert_eq!(told(default, Some(other)), (false, false));
        assert_eq!(told("{}", Some("{}")), (false, false));
    }

    #[test]
    fn an_entry_of_another_kind_becomes_ours() {
        let old = r#"{"runtimes": {"gpulease": {"runtimeType": "x", "options": {}, "runtimeArgs": ["a"]}}}"#;
        let json: Value = serde_json::from_str(&wire(old, &WIRING).unwrap().text).unwrap();
        let entry = serde_json::json!({"runtimeArgs": ["a"], "path": WIRING.runtime});
        assert_eq!(json["runtimes"]["gpulease"], entry);
    }
}
