//! Docker, by what its `/etc/docker/daemon.json` says.

use super::super::finding::Findings;
use super::{Engine, Runtime, files};
use crate::cli::install;
use crate::host::Host;
use crate::start::lowlevel::installed_on;
use serde_json::Value;
use std::path::Path;

const NAME: &str = "Docker";

pub(super) fn read(host: &Host, found: &mut Findings) -> Option<Engine> {
    let file = host.paths.on_host(Path::new("/etc/docker/daemon.json"));
    let text = files::text(NAME, &file, host, found).ok()?;
    if text.is_none() && installed_on("dockerd", &host.paths).is_none() {
        return None;
    }
    // An empty file is as good as none: dockerd takes it.
    let text = text.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".to_owned());
    let daemon: Value = match serde_json::from_str(&text) {
        Ok(daemon @ Value::Object(_)) => daemon,
        Ok(_) => {
            files::invalid(NAME, &file, "it is not a JSON object", found);
            return None;
        }
        Err(error) => {
            files::invalid(NAME, &file, &error.to_string(), found);
            return None;
        }
    };
    let listed = daemon.get("runtimes").and_then(Value::as_object);
    let runtimes = listed.into_iter().flatten().map(|(name, runtime)| {
        // Either a program, or containerd's shim with the program among its options.
        let program = runtime.get("path").or_else(|| runtime.get("options")?.get("BinaryName"));
        let programs = program.and_then(Value::as_str).map(str::to_owned);
        Runtime { name: name.clone(), programs: programs.into_iter().collect() }
    });
    Some(Engine {
        name: NAME,
        runtimes: runtimes.collect(),
        default: daemon.get("default-runtime").and_then(Value::as_str).map(str::to_owned),
        built_in: &["runc"],
        hooks_dirs: Vec::new(),
        install: install::Engine::Docker,
        file,
    })
}
