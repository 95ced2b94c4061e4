//! The engines that are installed, and whether they call gpulease.
//!
//! Each engine's file is read into the same few facts, and these are judged here. A file that the
//! engine itself could not read is a fault: the engine does not start with it.

mod containerd;
mod docker;
mod files;
mod toml_engines;

pub(super) use files::{drop_ins, text as read_text};

use super::finding::{Findings, quoted};
use crate::cli::install::{self, precreate::calls};
use crate::host::Host;
use crate::injection::HOOK_NAME;
use crate::model::text::shown;
use crate::paths::Paths;
use crate::start::lowlevel::{installed_on, vendor_of};
use crate::sys::programs::SHIM_NAME;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The name of the engine that knows `precreate`.
pub(super) const PODMAN: &str = "Podman";

/// What the other checks need of the engines.
#[derive(Debug, Default)]
pub(super) struct Wired {
    /// The shims that they name, as found from here.
    pub(super) shims: BTreeSet<PathBuf>,
    /// The directories from which each takes hooks, as on the host.
    pub(super) hooks_dirs: Vec<(&'static str, PathBuf)>,
    /// Podman calls the hook, so that no shim is needed.
    pub(super) by_precreate: bool,
}

#[derive(Debug)]
struct Engine {
    name: &'static str,
    /// The file in which runtimes are listed.
    file: PathBuf,
    runtimes: Vec<Runtime>,
    /// What starts the containers that name no runtime.
    default: Option<String>,
    /// What can be named without being listed.
    built_in: &'static [&'static str],
    hooks_dirs: Vec<PathBuf>,
    /// What `gpulease install` calls it.
    install: install::Engine,
}

/// A runtime that an engine lists.
#[derive(Debug)]
struct Runtime {
    name: String,
    /// Absolute, or a name for the system directories. Of several the first that is there counts.
    programs: Vec<String>,
}

impl Runtime {
    /// The program, as found from here.
    fn program(&self, paths: &Paths) -> Option<PathBuf> {
        self.programs.iter().find_map(|program| find(program, paths))
    }

    fn is_ours(&self) -> bool {
        self.programs.iter().any(|program| Path::new(program).ends_with(SHIM_NAME))
    }

    fn is_vendors(&self) -> bool {
        self.programs.iter().any(|program| vendor_of(Path::new(program)).is_some())
    }
}

fn find(program: &str, paths: &Paths) -> Option<PathBuf> {
    if !program.starts_with('/') {
        return installed_on(program, paths).filter(|_| !program.contains('/'));
    }
    Some(paths.on_host(Path::new(program))).filter(|path| path.is_file())
}

pub(super) fn check(host: &Host, found: &mut Findings) -> Wired {
    let readers = [docker::read, containerd::read, toml_engines::podman, toml_engines::crio];
    let mut wired = Wired::default();
    let mut unwired = Vec::new();
    let (mut is_doubtful, mut is_any) = (false, false);
    for read in readers {
        let before = found.list.len();
        let Some(engine) = read(host, found) else {
            // What could not be read may well name gpulease.
            is_doubtful |= found.list.len() > before;
            continue;
        };
        is_any = true;
        let ours: Vec<&Runtime> =
            engine.runtimes.iter().filter(|runtime| runtime.is_ours()).collect();
        engine.judge(host, found);
        let hook = precreate_of(&engine, host);
        if let Some(file) = &hook {
            wired.by_precreate = true;
            found.ok("engine", format!("{} calls {HOOK_NAME} by {}", engine.name, quoted(file)));
        }
        if ours.is_empty() && hook.is_none() {
            unwired.push((engine.name, engine.install));
        }
        for runtime in ours {
            match runtime.program(&host.paths) {
                Some(program) => {
                    if found.is_clean_since(before) {
                        let (path, runtime) = (quoted(&program), shown(&runtime.name));
                        let text =
                            format!("{} calls {path} as its runtime `{runtime}`", engine.name);
                        found.ok("engine", text);
                    }
                    wired.shims.insert(program);
                }
                None => engine.missing(runtime, found),
            }
        }
        wired.hooks_dirs.extend(engine.hooks_dirs.into_iter().map(|dir| (engine.name, dir)));
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
        let names: Vec<&str> = unwired.iter().map(|(name, _)| *name).collect();
        let fixes =
            unwired.iter().map(|(name, engine)| format!("for {name} `{}`", engine.command()));
        found.warning(
            "no-engine-wired",
            format!("no engine calls {SHIM_NAME}; installed: {}", names.join(", ")),
            fixes.collect::<Vec<_>>().join(", "),
        );
    } else {
        for (name, _) in unwired {
            found.ok("engine", format!("{name} is installed and does not use gpulease"));
        }
    }
    wired
}

/// The file that has Podman call `gpulease-hook precreate`.
fn precreate_of(engine: &Engine, host: &Host) -> Option<PathBuf> {
    let dirs = engine.hooks_dirs.iter().filter(|_| engine.name == PODMAN);
    let mut files = dirs.flat_map(|dir| drop_ins(&host.paths.on_host(dir), "*.json"));
    files.find(|file| {
        let text = read_text(engine.name, file, host, &mut Findings::default());
        text.is_ok_and(|text| text.is_some_and(|text| calls(&text).is_some()))
    })
}

impl Engine {
    fn judge(&self, host: &Host, found: &mut Findings) {
        let Some(default) = &self.default else { return };
        let (name, file, shown) = (self.name, quoted(&self.file), shown(default));
        let listed = self.runtimes.iter().find(|runtime| runtime.name == *default);
        let built_in = self.built_in.contains(&default.as_str())
            || default.starts_with("io.containerd.")
            || (default.starts_with('/') && find(default, &host.paths).is_some());
        if listed.is_none() && !built_in {
            found.fault(
                "engine-default-unknown",
                format!(
                    "{name} is told to use the runtime `{shown}` by default, which is not listed"
                ),
                format!("list it in {file}, or take the default out"),
            );
        }
        if listed.is_some_and(Runtime::is_vendors) {
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

    fn missing(&self, runtime: &Runtime, found: &mut Findings) {
        let program = shown(runtime.programs.first().map_or("", String::as_str));
        let (engine, name) = (self.name, shown(&runtime.name));
        found.fault(
            "engine-runtime-missing",
            format!("{engine} calls `{program}` as its runtime `{name}`, which is not there"),
            format!("install {SHIM_NAME} there, or correct {}", quoted(&self.file)),
        );
    }
}
