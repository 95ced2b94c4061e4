//! The engines that are installed, and whether they call gpulease.
//!
//! `engines` reads the files of each into an `EngineConfig`, which is judged here.

use super::configuration::foreign;
use super::finding::{Findings, quoted};
use crate::engines::{
    CriSettings, Engine, EngineConfig, ReadError, RuntimeEntry, Unreadable, calls_our_hook,
    drop_ins, read_text,
};
use crate::host::Host;
use crate::injection::HOOK_NAME;
use crate::model::text::{glob, shown};
use crate::paths::Paths;
use crate::start::lowlevel::vendor_of;
use crate::sys::programs::{SHIM_NAME, installed_on};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The facts of the engines that the other checks need.
#[derive(Debug, Default)]
pub(super) struct Wired {
    /// The shims that they name, as found from here.
    pub(super) shims: BTreeSet<PathBuf>,
    /// The directories from which each takes hooks, as on the host.
    pub(super) hooks_dirs: Vec<(Engine, PathBuf)>,
    /// Podman calls the hook, so that no shim is needed.
    pub(super) by_precreate: bool,
}

pub(super) fn check(host: &Host, found: &mut Findings) -> Wired {
    let mut wired = Wired::default();
    let mut unwired = Vec::new();
    let (mut is_doubtful, mut is_any) = (false, false);
    for engine in Engine::ALL.iter().copied() {
        let before = found.list.len();
        let config = match engine.read(&host.paths) {
            Ok(Some(config)) => config,
            Ok(None) => continue,
            Err(error) => {
                unreadable(engine.title(), &error, host, found);
                // The file may well name gpulease.
                is_doubtful = true;
                continue;
            }
        };
        is_any = true;
        let ours: Vec<&RuntimeEntry> =
            config.runtimes.iter().filter(|runtime| is_ours(runtime)).collect();
        ours.iter().for_each(|runtime| check_entry(&config, runtime, found));
        check_default(&config, host, found);
        let hook = file_of_our_hook(&config, host);
        if let Some(file) = &hook {
            wired.by_precreate = true;
            let text = format!("{} calls {HOOK_NAME} by {}", engine.title(), quoted(file));
            found.ok("engine", text);
        }
        if ours.is_empty() && hook.is_none() {
            unwired.push((engine, config.install_command()));
        }
        for runtime in ours {
            let Some(program) = program_of(runtime, &host.paths) else {
                missing(&config, runtime, found);
                continue;
            };
            if found.is_clean_since(before) {
                let (path, runtime) = (quoted(&program), shown(&runtime.name));
                let text = format!("{} calls {path} as its runtime `{runtime}`", engine.title());
                found.ok("engine", text);
            }
            wired.shims.insert(program);
        }
        wired.hooks_dirs.extend(config.hooks_dirs.into_iter().map(|dir| (engine, dir)));
    }
    if !is_any && !is_doubtful {
        found.note(
            "no-engine",
            "no engine was found: neither Docker, Podman, CRI-O nor containerd with a configuration",
            format!(
                "install one, then run `gpulease install ENGINE`; or have {SHIM_NAME} called in \
                 place of runc"
            ),
        );
    }
    let none_is_wired = wired.shims.is_empty()
        && !wired.by_precreate
        && found.list.iter().all(|f| f.code != "engine-runtime-missing");
    if none_is_wired && !is_doubtful && !unwired.is_empty() {
        let names: Vec<&str> = unwired.iter().map(|(engine, _)| engine.title()).collect();
        let fixes =
            unwired.iter().map(|(engine, command)| format!("for {} `{command}`", engine.title()));
        found.warning(
            "no-engine-wired",
            format!("no engine calls {SHIM_NAME}; installed: {}", names.join(", ")),
            fixes.collect::<Vec<_>>().join(", "),
        );
    } else {
        for (engine, _) in unwired {
            let text = format!("{} is installed and does not use gpulease", engine.title());
            found.ok("engine", text);
        }
    }
    wired
}

/// The program of a runtime, as found from here.
fn program_of(runtime: &RuntimeEntry, paths: &Paths) -> Option<PathBuf> {
    runtime.programs.iter().find_map(|program| find(program, paths))
}

fn find(program: &str, paths: &Paths) -> Option<PathBuf> {
    if !program.starts_with('/') {
        return installed_on(program, paths).filter(|_| !program.contains('/'));
    }
    Some(paths.on_host(Path::new(program))).filter(|path| path.is_file())
}

fn is_ours(runtime: &RuntimeEntry) -> bool {
    runtime.programs.iter().any(|program| Path::new(program).ends_with(SHIM_NAME))
}

fn is_vendors(runtime: &RuntimeEntry) -> bool {
    runtime.programs.iter().any(|program| vendor_of(Path::new(program)).is_some())
}

/// The finding for a file that cannot be read. A file that its engine cannot read either is a
/// fault: the engine does not start with it.
pub(super) fn unreadable(reader: &str, error: &ReadError, host: &Host, found: &mut Findings) {
    let ReadError { path, why } = error;
    if let Unreadable::Io(error) = why
        && error.kind() == ErrorKind::PermissionDenied
        && !host.is_root()
    {
        return found.unchecked(path, error);
    }
    let (path, why) = (quoted(path), foreign(&why.to_string()));
    let text = format!("{reader} cannot read {path}: {why}");
    found.fault("engine-config-invalid", text, format!("correct {path}"));
}

/// The file that has Podman call `gpulease-hook precreate`.
fn file_of_our_hook(config: &EngineConfig, host: &Host) -> Option<PathBuf> {
    let dirs = config.hooks_dirs.iter().filter(|_| config.engine == Engine::Podman);
    let mut files = dirs.flat_map(|dir| drop_ins(&host.paths.on_host(dir), "*.json"));
    files.find(|file| {
        let text = read_text(file).ok().flatten();
        text.is_some_and(|text| calls_our_hook(&text).is_some())
    })
}

fn check_default(config: &EngineConfig, host: &Host, found: &mut Findings) {
    let Some(default) = &config.default else { return };
    let (name, file, shown) = (config.engine.title(), quoted(&config.file), shown(default));
    let listed = config.runtimes.iter().find(|runtime| runtime.name == *default);
    let built_in = config.engine.built_in_runtimes().contains(&default.as_str())
        || default.starts_with("io.containerd.")
        || (default.starts_with('/') && find(default, &host.paths).is_some());
    if listed.is_none() && !built_in {
        found.fault(
            "engine-default-unknown",
            format!("{name} is told to use the runtime `{shown}` by default, which is not listed"),
            format!("list it in {file}, or take the default out"),
        );
    }
    if listed.is_some_and(is_vendors) {
        found.warning(
            "engine-vendor-default",
            format!(
                "{name} uses the vendor's runtime `{shown}` by default: containers that do not \
                 name gpulease get GPUs that others have leased"
            ),
            format!("make gpulease the default in {file}, or runc"),
        );
    }
}

fn missing(config: &EngineConfig, runtime: &RuntimeEntry, found: &mut Findings) {
    let program = shown(runtime.programs.first().map_or("", String::as_str));
    let (engine, name) = (config.engine.title(), shown(&runtime.name));
    found.fault(
        "engine-runtime-missing",
        format!("{engine} calls `{program}` as its runtime `{name}`, which is not there"),
        format!("install {SHIM_NAME} there, or correct {}", quoted(&config.file)),
    );
}

/// Checks that containerd's entry for gpulease has all that pods need.
fn check_entry(config: &EngineConfig, runtime: &RuntimeEntry, found: &mut Findings) {
    let Some(CriSettings { pod_annotations, has_systemd_cgroup }) = &runtime.cri else { return };
    // A kubelet gives a container none of its pod's annotations: those are the sandbox's alone.
    let is_dropped = |key: &&str| !pod_annotations.iter().any(|pattern| passes(pattern, key));
    let (name, file) = (shown(&runtime.name), quoted(&config.file));
    if let Some(key) = ["gpulease/count", "NAME.gpulease/count"].into_iter().find(is_dropped) {
        found.warning(
            "engine-annotations-dropped",
            format!(
                "containerd does not pass a pod's annotation `{key}` to its runtime `{name}`: \
                 such a request is not seen, and the container starts without a GPU"
            ),
            format!(
                "add `pod_annotations = [\"gpulease/*\", \"*.gpulease/*\"]` to its entry in {file}"
            ),
        );
    }
    let node = config.node_runtime.as_ref().filter(|name| **name != runtime.name);
    let node = config.runtimes.iter().find(|other| Some(&other.name) == node);
    let Some(RuntimeEntry { name: other, cri: Some(cri), .. }) = node else { return };
    if cri.has_systemd_cgroup != *has_systemd_cgroup {
        let other = shown(other);
        found.warning(
            "engine-cgroup-driver",
            format!(
                "containerd's runtimes `{other}` and `{name}` differ in SystemdCgroup: the kubelet \
                 kills pods whose cgroup it does not find"
            ),
            format!("set `SystemdCgroup = {}` for it in {file}", cri.has_systemd_cgroup),
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
