//! containerd: a runtime of the CRI plugin, in config.toml.
//!
//! Where the plugin's table is depends on the version of the file. containerd 1.x reads version 1
//! and 2, containerd 2.x all, though of version 1 nothing of this plugin. A file without a version
//! is of version 1; a file that is not there is as good as an empty one.

use super::files::{self, ReadError};
use super::handler;
use super::layout::Layout;
use super::toml_settings::{self, Setting, SettingValue, spelled};
use super::{CriSettings, EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use super::{containerd_files, k3s};
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
/// The plugin in all versions.
pub(super) const PLUGINS: [&str; 3] = [V1, V2, V3];

const LAYOUTS: [Layout<'_>; 3] = [
    Layout { table: &["plugins", V1, "containerd"], default: DEFAULT },
    Layout { table: &["plugins", V2, "containerd"], default: DEFAULT },
    Layout { table: &["plugins", V3, "containerd"], default: DEFAULT },
];

/// The version of a new file: both 1.x and 2.x read it.
const NEW_VERSION: i64 = 2;
/// containerd 2.3's; the plugin's table is that of version 3.
const LAST_VERSION: i64 = 4;

pub(super) const DEFAULT: &str = "default_runtime_name";
const RUNC: &str = "runc";
const SHIM: &str = "io.containerd.runc.v2";

const OPTIONS: &str = "options";
const CGROUP_DRIVER: &str = "SystemdCgroup";
const PROGRAM_OPTION: &str = "BinaryName";
/// The lists of annotations that a runtime is given.
const ANNOTATION_LISTS: [&str; 2] = ["pod_annotations", "container_annotations"];
/// The settings of a runtime that choose its program, with those of 1.x's oldest runtime.
const OWN: &[&str] = &["runtime_type", "runtime_engine", "runtime_root", OPTIONS];

/// The configuration of the host's containerd, or else of one that k3s or RKE2 has: the main file
/// with its imports.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    let file = paths.on_host(Path::new(CONFIG));
    let hosts = installed_on(PROGRAM, paths).map(|_| file);
    for file in hosts.into_iter().chain(k3s::generated_files(paths)) {
        let read = containerd_files::read_all(&file, paths)?;
        if let Some((_, main)) = read.first().filter(|_| !read.iter().any(is_disabled)) {
            let is_generated = k3s::program_and_unit(&file).is_some();
            let template = is_generated.then(|| k3s::template_of(&file, main));
            return Ok(Some(config(file, template, &read)));
        }
    }
    Ok(None)
}

/// Whether a file turns the CRI plugin off. Docker's own containerd has it so, and no runtimes.
fn is_disabled((_, table): &(PathBuf, Table)) -> bool {
    let disabled = files::strings(table.get("disabled_plugins"));
    disabled.iter().any(|plugin| PLUGINS.contains(&plugin.as_str()))
}

fn config(file: PathBuf, template: Option<PathBuf>, read: &[(PathBuf, Table)]) -> EngineConfig {
    let mut cri = Table::new();
    read.iter().for_each(|(_, table)| files::merge(&mut cri, cri_of(table)));
    let listed = cri.get("runtimes").and_then(Value::as_table).cloned().unwrap_or_default();
    let default = cri.get(DEFAULT).and_then(Value::as_str);
    EngineConfig {
        engine: Engine::Containerd,
        runtimes: listed.iter().map(|(name, runtime)| entry(name, runtime)).collect(),
        node_runtime: node_runtime(&listed, default).map(|(name, _)| name.to_owned()),
        default: default.map(str::to_owned),
        hooks_dirs: Vec::new(),
        file: template.clone().unwrap_or(file),
        template,
    }
}

fn entry(name: &str, runtime: &Value) -> RuntimeEntry {
    let none = Table::new();
    let runtime = runtime.as_table().unwrap_or(&none);
    let options = handler::option(runtime, OPTIONS).and_then(Value::as_table).unwrap_or(&none);
    let program = handler::option(options, PROGRAM_OPTION).and_then(Value::as_str);
    // Without a name it is runc.
    let program = program.filter(|path| !path.is_empty()).unwrap_or(RUNC);
    let is_systemd = handler::option(options, CGROUP_DRIVER).and_then(Value::as_bool);
    let settings = CriSettings {
        pod_annotations: files::strings(handler::option(runtime, "pod_annotations")),
        has_systemd_cgroup: is_systemd.unwrap_or(false),
    };
    RuntimeEntry { name: name.to_owned(), programs: vec![program.to_owned()], cri: Some(settings) }
}

/// The CRI plugin's table of runtimes in a file of any version.
pub(super) fn cri_of(table: &Table) -> Table {
    let mut cri = Table::new();
    for plugin in PLUGINS {
        let found = files::value_at(table, &["plugins", plugin, "containerd"]);
        if let Some(found) = found.and_then(Value::as_table) {
            files::merge(&mut cri, found.clone());
        }
    }
    cri
}

/// The runtime that the node uses: the default one, or else runc. One that is no kind of runc, such
/// as kata, has settings that say nothing about ours.
fn node_runtime<'a>(runtimes: &'a Table, default: Option<&str>) -> Option<(&'a str, &'a Table)> {
    fn is_runc(runtime: &Table) -> bool {
        let text = |key| handler::option(runtime, key).and_then(Value::as_str);
        let shim = text("runtime_path").map(Path::new).and_then(Path::file_name);
        text("runtime_type").is_none_or(|shim| shim.starts_with("io.containerd.runc."))
            && shim.is_none_or(|shim| shim.to_string_lossy().contains("shim-runc"))
    }
    handler::first_of(runtimes, &[default.filter(|name| *name != NAME), Some(RUNC)], is_runc)
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
        // 1.x finds the plugin of a version 1 by its short name alone, 2.1 by no name at all. The
        // long one is a mistake to correct: another table would only hide it.
        0 | 1 if toml_settings::find(document, &["plugins", V2]).is_some() => Ok(V2),
        0 | 1 => Ok(V1),
        version => plugin_of(version),
    }
}

fn plugin_of(version: i64) -> Result<&'static str, EditError> {
    match version {
        0 | 1 => Ok(V1),
        2 => Ok(V2),
        3..=LAST_VERSION => Ok(V3),
        _ => {
            Err(EditError::Shape { key: "`version`".to_owned(), expected: "a number from 1 to 4" })
        }
    }
}

/// Adds the runtime, or corrects its entry.
pub(super) fn wire(path: &Path, body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    if k3s::is_template(path) {
        return wire_template(path, body, wiring);
    }
    let document = toml_settings::parse(body)?;
    let own: Table = body.parse().unwrap_or_default();
    k3s::check_not_generated(path, body, &own)?;
    let others = containerd_files::Others::of(path, &own);
    let is_empty = document.as_table().is_empty();
    // containerd refuses a drop-in of a higher version than that of the main file.
    let new_version = others.main_version.unwrap_or(NEW_VERSION);
    let plugin = if is_empty { plugin_of(new_version)? } else { plugin(&document)? };
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };

    let mut settings = Vec::new();
    if is_empty && new_version > 1 {
        let value = SettingValue::Number(new_version);
        settings.push(Setting { table: Vec::new(), key: "version", value });
    }
    settings.extend(layout.by_default(wiring));
    let mut cri = Table::new();
    others.before.iter().for_each(|(_, table)| files::merge(&mut cri, cri_of(table)));
    let runc = files::value_at(&cri, &["runtimes", RUNC, "runtime_type"]);
    let is_other_runc = runc.is_some_and(|shim| shim.as_str() != Some(SHIM));
    let runtimes = toml_settings::find(&document, &layout.below(&["runtimes"]));
    if runtimes.is_none_or(|table| table.is_empty()) && !is_other_runc {
        // In containerd 1.x the runtimes of the file replace the built-in ones: with ours alone
        // there would be no runc any more, and without its default the plugin does not load.
        let (table, value) = (layout.below(&["runtimes", RUNC]), SettingValue::Text(SHIM));
        settings.push(Setting { table, key: "runtime_type", value });
    }
    files::merge(&mut cri, cri_of(&own));
    others.after.iter().for_each(|(_, table)| files::merge(&mut cri, cri_of(table)));
    let entry = HandlerEntry::of(&cri);
    settings.extend(entry.settings(&layout, &document, wiring));
    let mut edit = toml_settings::wire(body, &settings)?;
    edit.notes = notes(&document, plugin, &others, wiring);
    Ok(edit)
}

/// gpulease's entry among the runtimes, with what it takes from the one that the node uses.
struct HandlerEntry {
    settings: Vec<(String, toml_edit::Value)>,
    options: Vec<(String, toml_edit::Value)>,
    annotations: [Vec<String>; 2],
    /// The node's cgroup driver, if it is set.
    cgroup_driver: Option<SettingValue<'static>>,
}

impl HandlerEntry {
    fn of(cri: &Table) -> Self {
        let none = Table::new();
        let listed = cri.get("runtimes").and_then(Value::as_table).unwrap_or(&none);
        let default = cri.get(DEFAULT).and_then(Value::as_str);
        // Once gpulease is the default, the runtime that was is not known any more, and the entry
        // has its settings, in this file or in another one.
        let ours = listed.get(NAME).and_then(Value::as_table).filter(|_| default == Some(NAME));
        let node = || node_runtime(listed, default).map(|(_, runtime)| runtime);
        let runtime = ours.or_else(node).unwrap_or(&none);
        let options = handler::option(runtime, OPTIONS).and_then(Value::as_table).unwrap_or(&none);
        let annotations = ANNOTATION_LISTS.map(|key| {
            let mut list = files::strings(handler::option(runtime, key));
            let new = ANNOTATIONS.iter().filter(|pattern| !list.iter().any(|old| old == *pattern));
            list.extend(new.map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>());
            list
        });
        Self {
            settings: handler::copied(runtime, &[OWN, &ANNOTATION_LISTS].concat()),
            options: handler::copied(options, &[PROGRAM_OPTION, CGROUP_DRIVER]),
            annotations,
            cgroup_driver: handler::option(options, CGROUP_DRIVER)
                .and_then(Value::as_bool)
                .map(SettingValue::Bool),
        }
    }

    /// The settings that `document` is to have. Keys that it has in another case are used as they
    /// are: to containerd both are one.
    fn settings<'a>(
        &'a self,
        layout: &Layout<'a>,
        document: &'a DocumentMut,
        wiring: &Wiring<'a>,
    ) -> Vec<Setting<'a>> {
        let table = layout.below(&["runtimes", NAME]);
        let options = [&table[..], &[spelled(document, &table, OPTIONS)]].concat();
        let setting = |table: &Vec<&'a str>, key: &'a str, value| {
            let key = spelled(document, table, key);
            Setting { table: table.clone(), key, value }
        };
        let mut settings = vec![setting(&table, "runtime_type", SettingValue::Text(SHIM))];
        for (key, list) in ANNOTATION_LISTS.into_iter().zip(&self.annotations) {
            settings.push(setting(&table, key, SettingValue::Includes(list)));
        }
        let copied = |(key, value): &'a (String, toml_edit::Value)| {
            (key.as_str(), SettingValue::UnlessSet(value))
        };
        settings.extend(
            self.settings.iter().map(copied).map(|(key, value)| setting(&table, key, value)),
        );
        let program = SettingValue::Text(wiring.runtime);
        settings.push(setting(&options, PROGRAM_OPTION, program));
        // The kubelet kills pods whose cgroup it does not find, over and over.
        if let Some(driver) = self.cgroup_driver {
            settings.push(setting(&options, CGROUP_DRIVER, driver));
        }
        settings.extend(
            self.options.iter().map(copied).map(|(key, value)| setting(&options, key, value)),
        );
        settings
    }
}

/// A template of k3s or RKE2: what its `base` says is known from the file that was made of it.
fn wire_template(path: &Path, body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    if wiring.default_runtime {
        return Err(EditError::Refused {
            why: "k3s and RKE2 have an option of their own for the default runtime".to_owned(),
            hint: "leave --default-runtime out, and write `default-runtime: gpulease` into \
                   /etc/rancher/k3s/config.yaml or /etc/rancher/rke2/config.yaml"
                .to_owned(),
        });
    }
    let generated = containerd_files::read_all(&k3s::generated_beside(path), &Paths::default());
    let mut cri = Table::new();
    for (_, table) in generated.unwrap_or_default() {
        files::merge(&mut cri, cri_of(&table));
    }
    // The default is an option of k3s, and the template's runc stays its own.
    if cri.get(DEFAULT).and_then(Value::as_str) == Some(NAME) {
        cri.remove(DEFAULT);
    }
    let mut entry = HandlerEntry::of(&cri);
    if k3s::has_cgroup_driver(body) {
        entry.cgroup_driver = Some(SettingValue::Text(k3s::CGROUP_DRIVER));
    }
    let plugin = plugin_of(k3s::version_of_template(path))?;
    let layout = Layout { table: &["plugins", plugin, "containerd"], default: DEFAULT };
    let empty = DocumentMut::new();
    k3s::wire(body, &entry.settings(&layout, &empty, wiring))
}

fn notes(
    document: &DocumentMut,
    plugin: &str,
    others: &containerd_files::Others,
    wiring: &Wiring<'_>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let disabled = document.get("disabled_plugins").and_then(Item::as_array);
    let is_cri = |value: &toml_edit::Value| value.as_str().is_some_and(|v| PLUGINS.contains(&v));
    if disabled.is_some_and(|list| list.iter().any(is_cri)) {
        notes.push(
            "`disabled_plugins` turns the CRI plugin off, and with it the runtime".to_owned(),
        );
    }
    notes.extend(others.notes(plugin, wiring.default_runtime));
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
    path: &Path,
    body: &str,
    before: Option<&str>,
    added: &[String],
) -> Result<EditedText, EditError> {
    if k3s::is_template(path) {
        return k3s::unwire(body, added);
    }
    let document = toml_settings::parse(body)?;
    plugin(&document)?;
    let mut edit = EditedText::new(body.to_owned());
    // The version of the file may be another one than at the time of `install`.
    for layout in LAYOUTS.iter().filter(|layout| layout.is_wired(&document)) {
        let EditedText { text, notes, .. } = unwire_plugin(layout, &edit.text, before, added)?;
        edit.text = text;
        edit.notes.extend(notes);
    }
    Ok(edit)
}

fn unwire_plugin(
    layout: &Layout<'_>,
    body: &str,
    before: Option<&str>,
    added: &[String],
) -> Result<EditedText, EditError> {
    let runtimes = layout.below(&["runtimes"]);
    let mut edit = toml_settings::unwire(body, before, added, layout, keeps_runc)?;
    // The runc that was added for containerd 1.x goes, unless another runtime needs it by now.
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

/// Whether runc is still listed where other runtimes are.
fn keeps_runc(document: &DocumentMut) -> bool {
    LAYOUTS.iter().all(|layout| {
        toml_settings::find(document, &layout.below(&["runtimes"]))
            .is_none_or(|runtimes| runtimes.is_empty() || runtimes.contains_key(RUNC))
    })
}

/// Whether a file has the runtime.
pub(super) fn is_wired(path: &Path, body: &str) -> bool {
    if k3s::is_template(path) {
        return k3s::is_wired(body);
    }
    let Ok(document) = toml_settings::parse(body) else { return false };
    LAYOUTS.iter().any(|layout| layout.is_wired(&document))
}
