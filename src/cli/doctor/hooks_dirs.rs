//! The directories from which Podman, CRI-O and Buildah take hooks.
//!
//! Three pitfalls, all seen: a `precreate` stage, which only `podman run` knows, in a directory
//! that `podman build` and CRI-O read too; a hook whose program is missing, which Podman leaves
//! out without a word; and the hook of another toolkit, which puts its GPUs into our containers.

use super::configuration::foreign;
use super::engines::{drop_ins, read_text};
use super::finding::{Findings, plain, quoted};
use super::subject::Subject;
use crate::injection::{HOOK_NAME, VENDOR_HOOKS};
use crate::model::text::shown;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is read unless another directory is configured.
const DEFAULT_DIRS: &[&str] = &["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];

pub(super) fn check(subject: &Subject, configured: &[PathBuf], found: &mut Findings) {
    let before = found.list.len();
    let mut dirs: BTreeSet<&Path> = DEFAULT_DIRS.iter().map(Path::new).collect();
    dirs.extend(configured.iter().map(PathBuf::as_path));
    for dir in dirs {
        let is_default = DEFAULT_DIRS.iter().any(|default| Path::new(default) == dir);
        for file in drop_ins(&subject.paths.on_host(dir), "*.json") {
            one_file(&file, is_default, subject, found);
        }
    }
    if found.is_clean_since(before) {
        found.ok("hooks-dirs", "no hook in the directories of engines stands in the way");
    }
}

fn one_file(file: &Path, is_default: bool, subject: &Subject, found: &mut Findings) {
    let Ok(Some(text)) = read_text("Podman", file, subject, found) else { return };
    let hook: Value = match serde_json::from_str(&text) {
        Ok(hook) => hook,
        Err(error) => {
            return found.warning(
                "hooks-invalid",
                format!(
                    "{} is not JSON ({}): engines that read it start nothing",
                    quoted(file),
                    foreign(&error.to_string())
                ),
                format!("correct {}, or remove it", quoted(file)),
            );
        }
    };
    let program = hook.get("hook").and_then(|hook| hook.get("path")?.as_str()).unwrap_or_default();
    let stages =
        hook.get("stages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |stage: &str| stages.iter().any(|value| value.as_str() == Some(stage));
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == HOOK_NAME {
        if has("precreate") && is_default {
            found.fault(
                "hooks-precreate",
                format!(
                    "{} has the stage `precreate` in a default directory: `podman build` fails \
                     and CRI-O does not start",
                    quoted(file)
                ),
                format!(
                    "move `{}` into a directory of its own, and name that beside the default \
                     one in `hooks_dir` of /etc/containers/containers.conf.d/gpulease.conf",
                    plain(file)
                ),
            );
        }
        if !subject.paths.on_host(Path::new(program)).is_file() {
            found.fault(
                "hooks-program-missing",
                format!(
                    "{} names `{}`, which is not there: Podman starts containers without it and \
                     says nothing",
                    quoted(file),
                    shown(program)
                ),
                format!("install {HOOK_NAME} at that path, or remove `{}`", plain(file)),
            );
        }
    } else if VENDOR_HOOKS.contains(&name) && (has("prestart") || has("createRuntime")) {
        found.warning(
            "hooks-vendor",
            format!(
                "{} is the hook of another toolkit: it also puts GPUs into containers with a \
                 lease, by a device rule that systemd does not know",
                quoted(file)
            ),
            format!("remove `{}`, or limit its `when` to containers without a lease", plain(file)),
        );
    }
}
