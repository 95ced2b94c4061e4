//! containerd, for Kubernetes and `ctr`: `/etc/containerd/config.toml` and what it imports.

use super::super::finding::{Findings, quoted};
use super::{Engine, Runtime, files};
use crate::cli::install;
use crate::host::Host;
use crate::model::text::{glob, shown};
use crate::start::lowlevel::installed_on;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const NAME: &str = "containerd";

/// Where the CRI plugin's settings are, in the file's versions 3, 2 and 1.
const PLUGINS: &[&str] = &["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"];

pub(super) fn read(host: &Host, found: &mut Findings) -> Option<Engine> {
    let file = host.paths.on_host(Path::new("/etc/containerd/config.toml"));
    installed_on("containerd", &host.paths)?;
    // Without a file it has no Kubernetes to serve; Docker brings one without runtimes.
    let mut table = files::table(NAME, &file, host, found).ok()??;
    for import in imports(&table, &file, host) {
        if let Some(more) = files::table(NAME, &import, host, found).ok()? {
            files::merge(&mut table, more);
        }
    }
    let disabled = files::strings(table.get("disabled_plugins"));
    if disabled.iter().any(|plugin| PLUGINS.contains(&plugin.as_str())) {
        return None;
    }
    let cri =
        PLUGINS.iter().find_map(|plugin| files::at(&table, &["plugins", plugin, "containerd"]));
    let cri = cri.and_then(Value::as_table).cloned().unwrap_or_default();
    let listed = cri.get("runtimes").and_then(Value::as_table).cloned().unwrap_or_default();
    let runtimes = listed.iter().map(|(name, runtime)| {
        let program = options(runtime).and_then(|options| options.get("BinaryName"));
        // Without a name it is runc.
        let program = program.and_then(Value::as_str).filter(|path| !path.is_empty());
        Runtime { name: name.clone(), programs: vec![program.unwrap_or("runc").to_owned()] }
    });
    let engine = Engine {
        name: NAME,
        runtimes: runtimes.collect(),
        default: cri.get("default_runtime_name").and_then(Value::as_str).map(str::to_owned),
        built_in: &["runc"],
        hooks_dirs: Vec::new(),
        install: install::Engine::Containerd,
        file,
    };
    for runtime in engine.runtimes.iter().filter(|runtime| runtime.is_ours()) {
        if let Some(settings) = listed.get(&runtime.name) {
            entry(&engine, &runtime.name, settings, &listed, found);
        }
    }
    Some(engine)
}

/// Absolute, or beside the file; the last part may have stars.
fn imports(table: &Table, file: &Path, host: &Host) -> Vec<PathBuf> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let mut paths = Vec::new();
    for import in files::strings(table.get("imports")) {
        let path = if import.starts_with('/') {
            host.paths.on_host(Path::new(&import))
        } else {
            beside.join(&import)
        };
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(dir), Some(name)) if name.contains('*') => {
                paths.extend(files::drop_ins(dir, name))
            }
            _ => paths.push(path),
        }
    }
    paths
}

fn options(runtime: &Value) -> Option<&Value> {
    runtime.get("options").or_else(|| runtime.get("Options"))
}

/// What must be said in our entry beside the program.
fn entry(engine: &Engine, name: &str, settings: &Value, listed: &Table, found: &mut Findings) {
    // A kubelet gives a container none of its pod's annotations: those are the sandbox's alone.
    let patterns = files::strings(settings.get("pod_annotations"));
    let is_dropped = |key: &&str| !patterns.iter().any(|pattern| passes(pattern, key));
    let (shown, file) = (shown(name), quoted(&engine.file));
    if let Some(key) = ["gpulease/count", "NAME.gpulease/count"].into_iter().find(is_dropped) {
        found.warning(
            "engine-annotations-dropped",
            format!(
                "containerd does not pass a pod's annotation `{key}` to its runtime `{shown}`: \
                 such a request is not seen, and the container starts without a GPU"
            ),
            format!(
                "add `pod_annotations = [\"gpulease/*\", \"*.gpulease/*\"]` to its entry in {file}"
            ),
        );
    }
    let by_systemd = |runtime: &Value| {
        options(runtime)
            .and_then(|options| options.get("SystemdCgroup")?.as_bool())
            .unwrap_or(false)
    };
    let runc = listed.get("runc").filter(|_| name != "runc").map(by_systemd);
    if let Some(runc) = runc.filter(|runc| *runc != by_systemd(settings)) {
        found.warning(
            "engine-cgroup-driver",
            format!(
                "containerd's runtimes `runc` and `{shown}` differ in SystemdCgroup: the kubelet \
                 kills pods whose cgroup it does not find"
            ),
            format!("set `SystemdCgroup = {runc}` for it in {file}"),
        );
    }
}

/// containerd matches by Go's `path.Match`, in which a star does not stand for a slash.
fn passes(pattern: &str, key: &str) -> bool {
    let (Some((domain, name)), Some(key)) = (pattern.split_once('/'), key.split_once('/')) else {
        return false;
    };
    glob(domain, key.0) && glob(name, key.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_does_not_stand_for_a_slash() {
        let whole = |pattern| passes(pattern, "gpulease/count");
        assert!(whole("gpulease/*") && whole("*/*") && whole("gpulease/count"));
        assert!(!whole("*") && !whole("gpulease*") && !whole("cri/*") && !whole("*.gpulease/*"));
        let narrowed = |pattern| passes(pattern, "main.gpulease/count");
        assert!(narrowed("*.gpulease/*") && narrowed("*/*") && !narrowed("gpulease/*"));
    }
}
