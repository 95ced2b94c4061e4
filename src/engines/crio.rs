//! CRI-O: a runtime handler in a drop-in of crio.conf.
//!
//! CRI-O hands all annotations of a pod to the runtime; its `allowed_annotations` are for its own
//! experimental ones, and it does not start with a name there that it does not know.

use super::files::{self, ReadError};
use super::handler;
use super::layout::Layout;
use super::toml_settings::{self, Setting, SettingValue, spelled};
use super::{EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use crate::paths::Paths;
use crate::sys::programs::installed_on;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub(super) const PROGRAM: &str = "crio";
pub(super) const UNIT: &str = "crio";
/// Where gpulease's handler is.
pub(super) const DROP_IN: &str = "/etc/crio/crio.conf.d/60-gpulease.conf";
pub(super) const BUILT_IN: &[&str] = &["crun", "runc"];

const CONFIG: &str = "/etc/crio/crio.conf";
/// The name of the main file, above the directory of drop-ins.
pub(super) const MAIN: &str = "crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";

pub(super) const LAYOUT: Layout<'_> =
    Layout { table: &["crio", "runtime"], default: "default_runtime" };

const RUNTIMES: &str = "runtimes";
const MONITOR: &str = "monitor_path";
/// The settings of a handler that choose its program. `inherit_default_runtime` takes that of the
/// default runtime in its place, `platform_runtime_paths` another one for images of some platforms.
const OWN: &[&str] = &[
    "runtime_path",
    "runtime_type",
    "runtime_config_path",
    "inherit_default_runtime",
    "platform_runtime_paths",
];
/// Where CRI-O's own packages keep conmon, which CRI-O looks for on its PATH alone; without it, it
/// does not start (github.com/NVIDIA/nvidia-container-toolkit, issue 681).
const PACKAGED_MONITOR: &str = "/usr/libexec/crio/conmon";

/// crio.conf with its drop-ins.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    if installed_on(PROGRAM, paths).is_none() {
        return Ok(None);
    }
    let on_host = |path: &str| paths.on_host(Path::new(path));
    let file = on_host(CONFIG);
    let mut table = Table::new();
    for path in [vec![file.clone()], files::drop_ins(&on_host(DROP_INS), "*")].concat() {
        put_over(&mut table, files::read_table(&path)?.unwrap_or_default());
    }
    let below = |key: &'static str| LAYOUT.below(&[key]);
    let runtimes = files::value_at(&table, &below(RUNTIMES)).and_then(Value::as_table);
    let runtimes = runtimes.into_iter().flatten().map(|(name, runtime)| {
        let program = runtime.as_table().and_then(|it| handler::option(it, "runtime_path"));
        // Without a path CRI-O looks for the name.
        let program = program.and_then(Value::as_str).filter(|path| !path.is_empty());
        let programs = vec![program.unwrap_or(name).to_owned()];
        RuntimeEntry { name: name.clone(), programs, cri: None }
    });
    let hooks_dirs = files::strings(files::value_at(&table, &below("hooks_dir")));
    Ok(Some(EngineConfig {
        engine: Engine::Crio,
        runtimes: runtimes.collect(),
        default: files::text_at(&table, &below(LAYOUT.default)),
        node_runtime: None,
        template: None,
        hooks_dirs: hooks_dirs.into_iter().map(PathBuf::from).collect(),
        file,
    }))
}

/// Puts a later file over those before it. A handler takes the place of the one of its name: CRI-O
/// does not merge the two (`BurntSushi/toml` makes each value of a map anew).
fn put_over(base: &mut Table, over: Table) {
    let named = files::value_at(&over, &LAYOUT.below(&[RUNTIMES])).and_then(Value::as_table);
    let named: Vec<String> = named.into_iter().flat_map(Table::keys).cloned().collect();
    let below = base.get_mut("crio").and_then(|crio| crio.get_mut("runtime")?.get_mut(RUNTIMES));
    if let Some(runtimes) = below.and_then(Value::as_table_mut) {
        runtimes.retain(|name, _| !named.iter().any(|own| own == name));
    }
    files::merge(base, over);
}

/// The configuration that CRI-O reads with `body` at `path`: the drop-ins of one directory over the
/// main file above it, or the main file below the drop-ins beside it.
fn all_files(path: &Path, body: &str) -> Table {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let is_drop_in = dir.extension().is_some_and(|extension| extension == "d");
    let (main, drop_ins) = if is_drop_in {
        (dir.with_extension(""), dir.to_owned())
    } else {
        (path.to_owned(), PathBuf::from(format!("{}.d", path.display())))
    };
    let mut paths: Vec<PathBuf> = files::drop_ins(&drop_ins, "*");
    if is_drop_in {
        paths.retain(|other| other != path);
        paths.push(path.to_owned());
        paths.sort();
    }
    paths.insert(0, main);
    let mut all = Table::new();
    for other in paths {
        let table = if other == path {
            body.parse().unwrap_or_default()
        } else {
            // A file that CRI-O cannot read either keeps it from starting; doctor says so.
            files::read_table(&other).ok().flatten().unwrap_or_default()
        };
        put_over(&mut all, table);
    }
    all
}

/// Adds the handler, or corrects its entry. Settings that it lacks are taken from the runtime that
/// the node uses: the default one, or else runc or crun.
pub(super) fn wire(path: &Path, body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let document = toml_settings::parse(body)?;
    let node = all_files(path, body);
    let none = Table::new();
    let listed = files::value_at(&node, &LAYOUT.below(&[RUNTIMES])).and_then(Value::as_table);
    let listed = listed.unwrap_or(&none);
    let default = files::text_at(&node, &LAYOUT.below(&[LAYOUT.default]));
    let names = [default.as_deref().filter(|name| *name != NAME), Some("runc"), Some("crun")];
    // Once gpulease is the default, the runtime that was is not known any more, and the entry has
    // its settings, in this file or in one whose entry this file replaces.
    let ours = listed.get(NAME).and_then(Value::as_table);
    let ours = ours.filter(|_| default.as_deref() == Some(NAME));
    let of_node = || handler::first_of(listed, &names, is_oci).map(|(_, runtime)| runtime);
    let mut copied = ours.or_else(of_node).map(|it| handler::copied(it, OWN)).unwrap_or_default();
    if ours.is_none() && !copied.iter().any(|(key, _)| key.eq_ignore_ascii_case(MONITOR)) {
        copied.extend(monitor(&node, listed).map(|path| (MONITOR.to_owned(), path)));
    }

    let table = LAYOUT.below(&[RUNTIMES, NAME]);
    let setting = |key, value| {
        let key = spelled(&document, &table, key);
        Setting { table: table.clone(), key, value }
    };
    let mut settings: Vec<_> = LAYOUT.by_default(wiring).into_iter().collect();
    for (key, text) in [("runtime_path", wiring.runtime), ("runtime_type", "oci")] {
        settings.push(setting(key, SettingValue::Text(text)));
    }
    settings.extend(copied.iter().map(|(key, value)| setting(key, SettingValue::UnlessSet(value))));
    toml_settings::wire(body, &settings)
}

/// Whether a handler is a runtime like runc, and not one for virtual machines.
fn is_oci(handler: &Table) -> bool {
    let kind = handler::option(handler, "runtime_type").and_then(Value::as_str);
    kind.is_none_or(|kind| kind.is_empty() || kind == "oci")
}

/// The conmon of another handler, or that of CRI-O's packages where the PATH has none. `None` where
/// the old setting for all handlers names one.
fn monitor(node: &Table, listed: &Table) -> Option<toml_edit::Value> {
    let of_all = files::text_at(node, &LAYOUT.below(&["conmon"]));
    if of_all.is_some() {
        return None;
    }
    let named = |handler: &Value| {
        let path = handler::option(handler.as_table()?, MONITOR)?.as_str()?;
        Some(path.to_owned()).filter(|path| !path.is_empty())
    };
    let packaged = || {
        let is_needed = installed_on("conmon", &Paths::default())
            .is_none_or(|path| path == Path::new(PACKAGED_MONITOR));
        let is_there = Path::new(PACKAGED_MONITOR).is_file();
        (is_needed && is_there).then(|| PACKAGED_MONITOR.to_owned())
    };
    listed.values().find_map(named).or_else(packaged).map(toml_edit::Value::from)
}
