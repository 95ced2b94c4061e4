//! containerd: a runtime of the CRI plugin, in config.toml.
//!
//! Where the plugin's table is depends on the version of the file. containerd 1.x reads version 1
//! and 2, containerd 2.x all, though of version 1 nothing of this plugin; a file without a
//! version is of version 1, a file that is not there is as good as one with nothing in it.
//! Imported files are left alone.

use super::files::{self, ReadError};
use super::toml_settings::{self, Layout, Setting, SettingValue};
use super::{CriSettings, EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use crate::paths::Paths;
use crate::sys::programs::installed_on;
use std::path::{Path, PathBuf};
use toml::{Table, Value};
use toml_edit::{DocumentMut, Item};

pub(super) const PROGRAM: &str = "containerd";
pub(super) const UNIT: &str = "containerd";
pub(super) const CONFIG: &str = "/etc/containerd/config.toml";
pub(super) const BUILT_IN: &[&str] = &["runc"];

/// The annotations that containerd is to hand on: those that are read. In its patterns `*` stops
/// at a `/`; the second one is for `CONTAINER.gpulease/count`.
const ANNOTATIONS: &[&str] = &["gpulease/*", "*.gpulease/*", "kaiwo.ai/gpu-*"];

const V1: &str = "cri";
const V2: &str = "io.containerd.grpc.v1.cri";
const V3: &str = "io.containerd.cri.v1.runtime";

/// What a file without anything in it is made: both 1.x and 2.x read it.
const NEW_VERSION: i64 = 2;
/// containerd 2.3's; the plugin's table is that of version 3.
const LAST_VERSION: i64 = 4;

const DEFAULT: &str = "default_runtime_name";
const RUNC: &str = "runc";
const SHIM: &str = "io.containerd.runc.v2";

/// config.toml with its imports. Without a file, or with its CRI plugin turned off, it is Docker's
/// own containerd, which has no runtimes.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    let file = paths.on_host(Path::new(CONFIG));
    if installed_on(PROGRAM, paths).is_none() {
        return Ok(None);
    }
    let Some(mut table) = files::read_table(&file)? else { return Ok(None) };
    for import in imports(&table, &file, paths) {
        if let Some(more) = files::read_table(&import)? {
            files::merge(&mut table, more);
        }
    }
    let disabled = files::strings(table.get("disabled_plugins"));
    let plugins = [V3, V2, V1];
    if disabled.iter().any(|plugin| plugins.contains(&plugin.as_str())) {
        return Ok(None);
    }
    let cri = plugins
        .iter()
        .find_map(|plugin| files::value_at(&table, &["plugins", plugin, "containerd"]));
    let cri = cri.and_then(Value::as_table).cloned().unwrap_or_default();
    let listed = cri.get("runtimes").and_then(Value::as_table);
    let runtimes = listed.into_iter().flatten().map(|(name, runtime)| entry(name, runtime));
    Ok(Some(EngineConfig {
        engine: Engine::Containerd,
        runtimes: runtimes.collect(),
        default: cri.get(DEFAULT).and_then(Value::as_str).map(str::to_owned),
        hooks_dirs: Vec::new(),
        file,
    }))
}

fn entry(name: &str, runtime: &Value) -> RuntimeEntry {
    let options = runtime.get("options").or_else(|| runtime.get("Options"));
    let option = |key: &str| options.and_then(|options| options.get(key));
    // Without a name it is runc.
    let program = option("BinaryName").and_then(Value::as_str).filter(|path| !path.is_empty());
    let settings = CriSettings {
        pod_annotations: files::strings(runtime.get("pod_annotations")),
        has_systemd_cgroup: option("SystemdCgroup").and_then(Value::as_bool).unwrap_or(false),
    };
    let programs = vec![program.unwrap_or(RUNC).to_owned()];
    RuntimeEntry { name: name.to_owned(), programs, cri: Some(settings) }
}

/// Absolute, or beside the file; the last part may have stars.
fn imports(table: &Table, file: &Path, paths: &Paths) -> Vec<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for import in files::strings(table.get("imports")) {
        let path = if import.starts_with('/') {
            paths.on_host(Path::new(&import))
        } else {
            beside.join(&import)
        };
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(dir), Some(name)) if name.contains('*') => {
                found.extend(files::drop_ins(dir, name));
            }
            _ => found.push(path),
        }
    }
    found
}

fn version(document: &DocumentMut) -> i64 {
    document.get("version").map_or(1, |item| item.as_integer().unwrap_or(-1))
}

/// The plugin whose table has the runtimes.
fn plugin(document: &DocumentMut) -> Result<&'static str, EditError> {
    if document.as_table().is_empty() {
        return Ok(V2);
    }
    match version(document) {
        // 1.x finds the plugin of a version 1 by its short name alone, 2.1 by no name at all. With
        // the long one somebody has a mistake to find: another table would only hide it.
        0 | 1 if toml_settings::find(document, &["plugins", V2]).is_some() => Ok(V2),
        0 | 1 => Ok(V1),
        2 => Ok(V2),
        3..=LAST_VERSION => Ok(V3),
        _ => {
            Err(EditError::Shape { key: "`version`".to_owned(), expected: "a number from 1 to 4" })
        }
    }
}

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let document = toml_settings::parse(body)?;
    let plugin = plugin(&document)?;
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };
    let setting =
        |table: &[&'static str], key, value| Setting { table: layout.below(table), key, value };

    let mut settings = Vec::new();
    if document.as_table().is_empty() {
        let value = SettingValue::Number(NEW_VERSION);
        settings.push(Setting { table: Vec::new(), key: "version", value });
    }
    settings.extend(layout.by_default(wiring));
    let runtimes = toml_settings::find(&document, &layout.below(&["runtimes"]));
    if runtimes.is_none_or(|table| table.is_empty()) {
        // In containerd 1.x the runtimes of the file replace the built-in ones: with ours alone
        // there would be no runc any more, and without its default the plugin does not load.
        settings.push(setting(&["runtimes", RUNC], "runtime_type", SettingValue::Text(SHIM)));
    }
    settings.push(setting(&["runtimes", NAME], "runtime_type", SettingValue::Text(SHIM)));
    for key in ["pod_annotations", "container_annotations"] {
        settings.push(setting(&["runtimes", NAME], key, SettingValue::Includes(ANNOTATIONS)));
    }
    let options = &["runtimes", NAME, "options"];
    settings.push(setting(options, "BinaryName", SettingValue::Text(wiring.runtime)));
    // A runtime whose cgroup driver is not the kubelet's has its pods killed over and over.
    let of_runc = toml_settings::find(&document, &layout.below(&["runtimes", RUNC, "options"]));
    if let Some(is_systemd) = of_runc.and_then(|table| table.get("SystemdCgroup")?.as_bool()) {
        settings.push(setting(options, "SystemdCgroup", SettingValue::Bool(is_systemd)));
    }
    let mut edit = toml_settings::wire(body, &settings)?;
    edit.notes = notes(&document, plugin);
    Ok(edit)
}

fn notes(document: &DocumentMut, plugin: &str) -> Vec<String> {
    let list = |key: &str| document.get(key).and_then(Item::as_array);
    let mut notes = Vec::new();
    let is_cri = |name: &str| [V1, V2, V3].contains(&name);
    if list("disabled_plugins").is_some_and(|l| l.iter().filter_map(|v| v.as_str()).any(is_cri)) {
        notes.push(
            "`disabled_plugins` turns the CRI plugin off, and with it the runtime".to_owned(),
        );
    }
    if list("imports").is_some_and(|imports| !imports.is_empty()) {
        notes.push(format!(
            "`imports` is not followed; in containerd 1.x an imported `plugins.\"{plugin}\"` \
             replaces the one of this file"
        ));
    }
    if matches!(version(document), 0 | 1) && !document.as_table().is_empty() {
        notes.push(if plugin == V1 {
            format!("the file is of version 1: containerd 2 does not look at its `plugins.{V1}`")
        } else {
            format!("the file has no `version`: containerd does not look at its `plugins.\"{V2}\"`")
        });
    }
    notes
}

pub(super) fn unwire(
    body: &str,
    before: Option<&str>,
    added: &[String],
) -> Result<EditedText, EditError> {
    let plugin = plugin(&toml_settings::parse(body)?)?;
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };
    let runtimes = layout.below(&["runtimes"]);
    let mut edit = toml_settings::unwire(body, before, added, &layout, keeps_runc)?;
    // The runc that was added for containerd 1.x, where nobody has come to need it.
    let is_lone = |document: &DocumentMut| {
        let runc = toml_settings::find(document, &layout.below(&["runtimes", RUNC]));
        toml_settings::find(document, &runtimes).is_some_and(|table| table.len() == 1)
            && runc.is_some_and(|table| table.len() == 1 && table.contains_key("runtime_type"))
    };
    let was = before.and_then(|before| toml_settings::parse(before).ok());
    let had_none = was.is_some_and(|was| toml_settings::find(&was, &runtimes).is_none());
    if had_none && is_lone(&toml_settings::parse(&edit.text)?) {
        edit.text = toml_settings::take_out(&edit.text, before, &runtimes, RUNC)?;
    }
    Ok(edit)
}

/// Whether runc is still there for those who have put a runtime beside it.
fn keeps_runc(document: &DocumentMut) -> bool {
    [V1, V2, V3].iter().all(|plugin| {
        toml_settings::find(document, &["plugins", plugin, "containerd", "runtimes"])
            .is_none_or(|runtimes| runtimes.is_empty() || runtimes.contains_key(RUNC))
    })
}

/// Whether a file has the runtime.
pub(super) fn is_wired(body: &str) -> bool {
    let Ok(document) = toml_settings::parse(body) else { return false };
    [V1, V2, V3].iter().any(|plugin| {
        Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT }.is_wired(&document)
    })
}
