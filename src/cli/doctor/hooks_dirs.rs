//! The directories from which Podman, CRI-O and Buildah take hooks.
//!
//! The pitfalls, all seen: a `precreate` stage, which only `podman run` knows, in a directory
//! that `podman build` and CRI-O read too; a hook whose program is missing, which Podman leaves
//! out without a word, as it does a hook in a directory that nothing names; and the hook of another
//! toolkit, which puts its GPUs into our containers.

use super::configuration::foreign;
use super::engines::unreadable;
use super::finding::{Findings, quoted};
use super::programs;
use crate::engines::{
    DEFAULT_HOOKS_DIRS, Engine, OWN_HOOKS_DIR, calls_our_hook, drop_ins, is_own_hooks_dir,
    read_text,
};
use crate::host::Host;
use crate::injection::{HOOK_NAME, is_vendor_hook};
use crate::model::text::shown;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// `configured` are the directories that each engine is told to read.
pub(super) fn check(host: &Host, configured: &[(Engine, PathBuf)], found: &mut Findings) {
    let before = found.list.len();
    let mut dirs: BTreeSet<&Path> = DEFAULT_HOOKS_DIRS.iter().map(Path::new).collect();
    dirs.insert(Path::new(OWN_HOOKS_DIR));
    dirs.extend(configured.iter().map(|(_, dir)| dir.as_path()));
    let has_podman = configured.iter().any(|(engine, _)| *engine == Engine::Podman);
    for dir in dirs {
        let is_default = DEFAULT_HOOKS_DIRS.iter().any(|default| Path::new(default) == dir);
        let is_read_by = |is_podman: bool| {
            let mut engines = configured.iter().filter(|(_, configured)| configured == dir);
            engines.any(|(engine, _)| (*engine == Engine::Podman) == is_podman)
        };
        let readers = HooksDirReaders {
            has_others: is_default || is_read_by(false),
            lacks_podman: has_podman && !is_default && !is_read_by(true),
        };
        let mut has_precreate = false;
        for file in drop_ins(&host.paths.on_host(dir), "*.json") {
            has_precreate |= one_file(&file, &readers, host, found);
        }
        if is_own_hooks_dir(dir) && !has_precreate && is_read_by(true) {
            let dir = quoted(dir);
            found.fault(
                "hooks-file-missing",
                format!(
                    "Podman is told to take hooks from {dir}, and gpulease's is not there: \
                     containers start without it, and nothing says so"
                ),
                "`gpulease install podman --precreate`, or `gpulease uninstall podman --precreate`",
            );
        }
    }
    if found.is_clean_since(before) {
        found.ok("hooks-dirs", "no hook in the directories of engines stands in the way");
    }
}

/// The engines that read a directory of hooks.
struct HooksDirReaders {
    /// Engines other than Podman, which know no stage `precreate`.
    has_others: bool,
    /// Podman is installed, and does not read it.
    lacks_podman: bool,
}

/// Checks one file of hooks. Returns whether it has Podman call gpulease's hook.
fn one_file(file: &Path, readers: &HooksDirReaders, host: &Host, found: &mut Findings) -> bool {
    let text = match read_text(file) {
        Ok(Some(text)) => text,
        Ok(None) => return false,
        Err(error) => {
            unreadable(Engine::Podman.title(), &error, host, found);
            return false;
        }
    };
    let shown_file = quoted(file);
    let hook: Value = match serde_json::from_str(&text) {
        Ok(hook) => hook,
        Err(error) => {
            let why = foreign(&error.to_string());
            found.warning(
                "hooks-invalid",
                format!("{shown_file} is not JSON ({why}): engines that read it start nothing"),
                format!("correct {shown_file}, or remove it"),
            );
            return false;
        }
    };
    let program = hook.get("hook").and_then(|hook| hook.get("path")?.as_str()).unwrap_or_default();
    let texts = |list: Option<&Value>| -> Vec<String> {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let args = texts(hook.get("hook").and_then(|hook| hook.get("args")));
    let stages = texts(hook.get("stages"));
    let has = |stage: &str| stages.iter().any(|value| value == stage);
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == HOOK_NAME {
        if has("precreate") && readers.has_others {
            found.fault(
                "hooks-precreate",
                format!(
                    "{shown_file} has the stage `precreate` in a directory that others than \
                     Podman read: `podman build` fails and CRI-O does not start"
                ),
                format!(
                    "remove {shown_file}, then `gpulease install podman --precreate`, which puts \
                     it into a directory of its own"
                ),
            );
        }
        if has("precreate") && readers.lacks_podman {
            found.fault(
                "hooks-dir-unread",
                format!(
                    "{shown_file} is in a directory that Podman is not told to read: containers \
                     start without it, and nothing says so"
                ),
                "`gpulease install podman --precreate`, or `gpulease uninstall podman --precreate`",
            );
        }
        let on_host = host.paths.on_host(Path::new(program));
        if on_host.is_file() {
            programs::check_precreate(&on_host, found);
        } else {
            found.fault(
                "hooks-program-missing",
                format!(
                    "{shown_file} names `{}`, which is not there: Podman starts containers \
                     without it and says nothing",
                    shown(program)
                ),
                format!("install {HOOK_NAME} at that path, or remove {shown_file}"),
            );
        }
    } else if is_vendor_hook(program, &args) && (has("prestart") || has("createRuntime")) {
        found.warning(
            "hooks-vendor",
            format!(
                "{shown_file} is the hook of another toolkit: it also puts GPUs into containers \
                 with a lease, by a device rule that systemd does not know"
            ),
            format!("remove {shown_file}, or limit its `when` to containers without a lease"),
        );
    }
    calls_our_hook(&text).is_some()
}
