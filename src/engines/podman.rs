//! Podman: a runtime in a drop-in of containers.conf.
//!
//! `runtime_supports_json` is left as it is. With it Podman reads errors out of a log in which
//! there must be exactly one JSON object; without it Podman passes on the runtime's stderr, which
//! says the same. To set it would also replace Podman's own list: Podman before 4.8 cannot append
//! to it.

use super::files::{self, ReadError};
use super::layout::Layout;
use super::toml_settings::{self, Setting, SettingValue};
use super::{EditError, EditedText, Engine, EngineConfig, NAME, RuntimeEntry, Wiring};
use crate::paths::Paths;
use crate::sys::programs::installed_on;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub(super) const PROGRAM: &str = "podman";
/// Where gpulease's runtime is listed.
pub(super) const DROP_IN: &str = "/etc/containers/containers.conf.d/60-gpulease.conf";

/// Read in this order, and then the drop-ins (containers.conf(5)).
const PACKAGED: &str = "/usr/share/containers/containers.conf";
const CONFIG: &str = "/etc/containers/containers.conf";
/// The name of the main file, above the directory of drop-ins.
pub(super) const MAIN: &str = "containers.conf";
const DROP_INS: &str = "/etc/containers/containers.conf.d";

/// containers.conf(5): the runtimes that Podman knows without being told.
pub(super) const BUILT_IN: &[&str] =
    &["crun", "crun-vm", "crun-wasm", "kata", "krun", "ocijail", "runc", "runj", "runsc", "youki"];

/// The directory from which Podman takes hooks unless one is configured.
const HOOKS_DIR: &str = "/usr/share/containers/oci/hooks.d";
/// The directories from which Podman, CRI-O and Buildah of any version take hooks unless one is
/// configured.
pub const DEFAULT_HOOKS_DIRS: &[&str] = &[HOOKS_DIR, "/etc/containers/oci/hooks.d"];

pub(super) const LAYOUT: Layout<'_> = Layout { table: &["engine"], default: "runtime" };

/// containers.conf with its drop-ins. The files are CRI-O's and Buildah's too: without Podman
/// their runtimes are not used.
pub(super) fn read(paths: &Paths) -> Result<Option<EngineConfig>, ReadError> {
    if installed_on(PROGRAM, paths).is_none() {
        return Ok(None);
    }
    let on_host = |path: &str| paths.on_host(Path::new(path));
    let file = on_host(CONFIG);
    let mut files = vec![on_host(PACKAGED), file.clone()];
    files.extend(files::drop_ins(&on_host(DROP_INS), "*.conf"));
    let mut tables = Vec::new();
    for path in &files {
        tables.extend(files::read_table(path)?);
    }
    let hooks_dirs = hooks_dirs(&tables);
    let mut table = Table::new();
    tables.into_iter().for_each(|over| files::merge(&mut table, over));
    let runtimes = files::value_at(&table, &["engine", "runtimes"]).and_then(Value::as_table);
    let runtimes = runtimes.into_iter().flatten().map(|(name, programs)| RuntimeEntry {
        name: name.clone(),
        programs: files::strings(Some(programs)),
        cri: None,
    });
    Ok(Some(EngineConfig {
        engine: Engine::Podman,
        runtimes: runtimes.collect(),
        default: files::text_at(&table, &["engine", "runtime"]),
        node_runtime: None,
        template: None,
        hooks_dirs,
        file,
    }))
}

/// The directories that Podman reads hooks from. A file's list takes the place of the lists before
/// it, or, from the first file on that sets `{append = true}`, is appended to them
/// (containers.conf(5), "Appending to String Arrays").
fn hooks_dirs(files: &[Table]) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from(HOOKS_DIR)];
    let mut appends = false;
    for table in files {
        let Some(list) = files::value_at(table, &["engine", "hooks_dir"]) else { continue };
        let attribute = |value: &Value| value.as_table()?.get("append")?.as_bool();
        appends = list.as_array().and_then(|l| l.iter().find_map(attribute)).unwrap_or(appends);
        if !appends {
            dirs.clear();
        }
        dirs.extend(files::strings(Some(list)).into_iter().map(PathBuf::from));
    }
    dirs
}

/// Adds the runtime, or corrects its entry.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<EditedText, EditError> {
    let table = LAYOUT.below(&["runtimes"]);
    // A list of paths to look for the program.
    let runtime = Setting { table, key: NAME, value: SettingValue::Only(wiring.runtime) };
    let settings: Vec<_> = LAYOUT.by_default(wiring).into_iter().chain([runtime]).collect();
    toml_settings::wire(body, &settings)
}
