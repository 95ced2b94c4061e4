//! CRI-O: a runtime handler in a drop-in of crio.conf.
//!
//! CRI-O hands all annotations of a pod to the runtime; its `allowed_annotations` are for its own
//! experimental ones, and it does not start with a name there that it does not know.

use super::files::{self, ReadError};
use super::toml_settings::{self, Layout, Setting, SettingValue};
use super::{EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use crate::paths::Paths;
use crate::sys::programs::installed_on;
use std::path::{Path, PathBuf};
use toml::Value;

pub(super) const PROGRAM: &str = "crio";
pub(super) const UNIT: &str = "crio";
/// Where gpulease's handler is.
pub(super) const DROP_IN: &str = "/etc/crio/crio.conf.d/60-gpulease.conf";
pub(super) const BUILT_IN: &[&str] = &["crun", "runc"];

const CONFIG: &str = "/etc/crio/crio.conf";
const DROP_INS: &str = "/etc/crio/crio.conf.d";

const LAYOUT: Layout<'_> = Layout { table: &["crio", "runtime"], default: "default_runtime" };

/// crio.conf with its drop-ins.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    if installed_on(PROGRAM, paths).is_none() {
        return Ok(None);
    }
    let on_host = |path: &str| paths.on_host(Path::new(path));
    let file = on_host(CONFIG);
    let mut files = vec![file.clone()];
    files.extend(files::drop_ins(&on_host(DROP_INS), "*"));
    let table = files::read_merged(&files)?;
    let below = |key: &'static str| LAYOUT.below(&[key]);
    let runtimes = files::value_at(&table, &below("runtimes")).and_then(Value::as_table);
    let runtimes = runtimes.into_iter().flatten().map(|(name, runtime)| {
        let program = runtime.get("runtime_path").and_then(Value::as_str);
        // Without a path CRI-O looks for the name.
        let program = program.filter(|path| !path.is_empty()).unwrap_or(name);
        RuntimeEntry { name: name.clone(), programs: vec![program.to_owned()], cri: None }
    });
    let hooks_dirs = files::strings(files::value_at(&table, &below("hooks_dir")));
    Ok(Some(EngineConfig {
        engine: Engine::Crio,
        runtimes: runtimes.collect(),
        default: files::text_at(&table, &below(LAYOUT.default)),
        hooks_dirs: hooks_dirs.into_iter().map(PathBuf::from).collect(),
        file,
    }))
}

/// Adds the handler, or corrects its entry.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let ours = [("runtime_path", wiring.runtime), ("runtime_type", "oci")].map(|(key, text)| {
        let value = SettingValue::Text(text);
        Setting { table: LAYOUT.below(&["runtimes", NAME]), key, value }
    });
    let settings: Vec<_> = LAYOUT.by_default(wiring).into_iter().chain(ours).collect();
    toml_settings::wire(body, &settings)
}

pub(super) fn unwire(
    body: &str,
    before: Option<&str>,
    added: &[String],
) -> Result<EditedText, EditError> {
    toml_settings::unwire(body, before, added, &LAYOUT, |_| true)
}

pub(super) fn is_wired(body: &str) -> bool {
    toml_settings::parse(body).is_ok_and(|document| LAYOUT.is_wired(&document))
}

pub(super) fn others_with_our_default(path: &Path) -> Vec<PathBuf> {
    LAYOUT.others_with_our_default(path, "crio.conf")
}
