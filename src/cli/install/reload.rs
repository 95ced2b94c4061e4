//! Having the engine read its configuration.

use crate::engines::EngineFile;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use crate::paths::Paths;
use crate::sys::ask::{Finished, ask_bounded, run_bounded};
use crate::sys::programs::installed_on;
use crate::view::install::EngineReload;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// systemd itself gives a service 90 s to start and as long to stop (systemd-system.conf(5)); a
/// restart may take both.
const DEADLINE: Duration = Duration::from_secs(200);
const ANSWER: Duration = Duration::from_secs(10);

const SYSTEMCTL: &str = "systemctl";

/// Runs the command that makes the engine read its file, if that is wanted. An engine that does not
/// run needs none: it reads its file when it starts.
pub(super) fn after_change(
    file: EngineFile,
    path: &Path,
    wanted: bool,
) -> Result<EngineReload, Failure> {
    let none = EngineReload { command: None, done: false };
    let Some((verb, unit)) = file.reload(path) else { return Ok(none) };
    let command = format!("{SYSTEMCTL} {verb} {unit}");
    if wanted && let Err(why) = systemctl(verb, unit) {
        if does_not_run(unit, verb) {
            return Ok(none);
        }
        let text = format!("the file is written, but `{command}` failed: {why}");
        return Err(Failure::new(Code::StateUnavailable, text)
            .hint(format!("see `{SYSTEMCTL} status {unit}`")));
    }
    Ok(EngineReload { command: Some(command), done: wanted })
}

/// Whether systemd knows that the unit does not run. A reload changes no unit's state, so a unit that
/// is `failed` after one failed before it. A restart that fails leaves that state itself.
fn does_not_run(unit: &str, verb: &str) -> bool {
    let question = ["show", "--property=ActiveState", "--value", unit];
    let answer = find(SYSTEMCTL).and_then(|program| ask_bounded(&program, &question, ANSWER).ok());
    answer.is_some_and(|state| match state.trim() {
        "inactive" => true,
        "failed" => verb == "reload",
        _ => false,
    })
}

fn systemctl(verb: &str, unit: &str) -> Result<(), String> {
    let program = find(SYSTEMCTL).ok_or("it is not there")?;
    match run_bounded(&program, &[verb, unit], DEADLINE).map_err(|error| error.to_string())? {
        Finished { success: true, .. } => Ok(()),
        Finished { stderr, .. } => Err(shown_line(stderr.trim())),
    }
}

/// The note for an engine that is installed neither on the caller's PATH nor in a system
/// directory.
pub(super) fn absent(file: EngineFile, path: &Path) -> Option<String> {
    let name = file.program(path);
    if find(name).is_some() || installed_on(name, &Paths::default()).is_some() {
        return None;
    }
    let other = file.file_of_another_kind().filter(|_| name == file.engine().program());
    let other = other.map(|path| format!("; k3s and RKE2 read `{}`", path.display()));
    let other = other.unwrap_or_default();
    Some(format!("{name} is not installed here: nothing reads the file before it is{other}"))
}

/// A program, as a shell would find it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os(crate::model::variables::PATH).unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|at| at.is_file())
}
