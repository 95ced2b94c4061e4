//! Podman's `containers.conf` and CRI-O's `crio.conf`, with their drop-ins.

use super::super::finding::Findings;
use super::{Engine, PODMAN, Runtime, files};
use crate::cli::install;
use crate::host::Host;
use crate::start::lowlevel::installed_on;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// containers.conf(5): what Podman knows without being told.
const PODMAN_RUNTIMES: &[&str] =
    &["crun", "crun-vm", "crun-wasm", "kata", "krun", "ocijail", "runc", "runj", "runsc", "youki"];

pub(super) fn podman(host: &Host, found: &mut Findings) -> Option<Engine> {
    let on_host = |path: &str| host.paths.on_host(Path::new(path));
    let file = on_host("/etc/containers/containers.conf");
    let mut files = vec![on_host("/usr/share/containers/containers.conf"), file.clone()];
    files.extend(files::drop_ins(&on_host("/etc/containers/containers.conf.d"), "*.conf"));
    // The file is also CRI-O's and Buildah's; without Podman it lists runtimes for nobody.
    installed_on("podman", &host.paths)?;
    let table = files::merged(PODMAN, &files, host, found).ok()?.unwrap_or_default();
    let runtimes = files::at(&table, &["engine", "runtimes"]).and_then(Value::as_table);
    let runtimes = runtimes.into_iter().flatten().map(|(name, programs)| Runtime {
        name: name.clone(),
        programs: files::strings(Some(programs)),
    });
    Some(Engine {
        name: PODMAN,
        runtimes: runtimes.collect(),
        default: string(&table, &["engine", "runtime"]),
        built_in: PODMAN_RUNTIMES,
        hooks_dirs: podman_hooks_dirs(&files, host),
        install: install::Engine::Podman,
        file,
    })
}

pub(super) fn crio(host: &Host, found: &mut Findings) -> Option<Engine> {
    let on_host = |path: &str| host.paths.on_host(Path::new(path));
    let file = on_host("/etc/crio/crio.conf");
    let mut files = vec![file.clone()];
    files.extend(files::drop_ins(&on_host("/etc/crio/crio.conf.d"), "*"));
    installed_on("crio", &host.paths)?;
    let table = files::merged("CRI-O", &files, host, found).ok()?.unwrap_or_default();
    let runtimes = files::at(&table, &["crio", "runtime", "runtimes"]).and_then(Value::as_table);
    let runtimes = runtimes.into_iter().flatten().map(|(name, runtime)| {
        let program = runtime.get("runtime_path").and_then(Value::as_str);
        // Without a path the name is looked for.
        let program = program.filter(|path| !path.is_empty()).unwrap_or(name);
        Runtime { name: name.clone(), programs: vec![program.to_owned()] }
    });
    Some(Engine {
        name: "CRI-O",
        runtimes: runtimes.collect(),
        default: string(&table, &["crio", "runtime", "default_runtime"]),
        built_in: &["crun", "runc"],
        hooks_dirs: directories(&table, &["crio", "runtime", "hooks_dir"]),
        install: install::Engine::Crio,
        file,
    })
}

/// The directories that Podman reads hooks from: what a file says takes the place of what the files
/// before it say, or, from the first on that sets `{append = true}`, is appended to it
/// (containers.conf(5), "Appending to String Arrays").
fn podman_hooks_dirs(files: &[PathBuf], host: &Host) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/usr/share/containers/oci/hooks.d")];
    let mut appends = false;
    for file in files {
        // What is wrong with it has been said.
        let table = files::table(PODMAN, file, host, &mut Findings::default());
        let Ok(Some(table)) = table else { continue };
        let Some(list) = files::at(&table, &["engine", "hooks_dir"]) else { continue };
        let attribute = |value: &Value| value.as_table()?.get("append")?.as_bool();
        appends = list.as_array().and_then(|l| l.iter().find_map(attribute)).unwrap_or(appends);
        if !appends {
            dirs.clear();
        }
        dirs.extend(files::strings(Some(list)).into_iter().map(PathBuf::from));
    }
    dirs
}

fn string(table: &Table, keys: &[&str]) -> Option<String> {
    files::at(table, keys)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn directories(table: &Table, keys: &[&str]) -> Vec<PathBuf> {
    files::strings(files::at(table, keys)).into_iter().map(PathBuf::from).collect()
}
