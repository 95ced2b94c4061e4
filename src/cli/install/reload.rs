//! Having the engine read its configuration.

use super::Engine;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use crate::paths::Paths;
use crate::start::lowlevel::installed_on;
use crate::sys::ask::{Finished, ask_bounded, run_bounded};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// systemd itself gives a service 90 s to start and as long to stop (systemd-system.conf(5)); a
/// restart may take both.
const DEADLINE: Duration = Duration::from_secs(200);
const ANSWER: Duration = Duration::from_secs(10);

/// What is to be done, or was done.
#[derive(Debug, Serialize)]
pub(super) struct Reload {
    command: Option<String>,
    done: bool,
}

impl Reload {
    /// Runs the command if it is wanted. An engine that does not run needs none: it reads its
    /// file when it starts.
    pub(super) fn after_change(engine: Engine, wanted: bool) -> Result<Self, Failure> {
        let none = Self { command: None, done: false };
        let Some(words) = engine.reload() else { return Ok(none) };
        let command = words.join(" ");
        if wanted && let Err(why) = run(words) {
            if is_inactive(engine) {
                return Ok(none);
            }
            let text = format!("the file is written, but `{command}` failed: {why}");
            return Err(Failure::new(Code::StateUnavailable, text)
                .hint(format!("see `systemctl status {}`", engine.name())));
        }
        Ok(Self { command: Some(command), done: wanted })
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        match &self.command {
            None => "next: nothing; the file is read when it is needed\n".to_owned(),
            Some(command) if self.done => format!("done: {command}\n"),
            Some(command) => format!("next: {command}\n"),
        }
    }
}

/// Whether systemd knows that the engine does not run.
fn is_inactive(engine: Engine) -> bool {
    let question = ["show", "--property=ActiveState", "--value", engine.name()];
    let answer = find("systemctl").map(|systemctl| ask_bounded(&systemctl, &question, ANSWER));
    answer.is_some_and(|answer| answer.is_ok_and(|state| state.trim() == "inactive"))
}

fn run(words: &[&str]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let finished = run_bounded(&find(program).ok_or("it is not there")?, arguments, DEADLINE);
    match finished.map_err(|error| error.to_string())? {
        Finished { success: true, .. } => Ok(()),
        Finished { stderr, .. } => Err(shown_line(stderr.trim())),
    }
}

/// What to say of an engine that is not installed where anybody would look for it.
pub(super) fn absent(engine: Engine) -> Option<String> {
    let name = engine.program();
    let is_there = find(name).is_some() || installed_on(name, &Paths::default()).is_some();
    (!is_there)
        .then(|| format!("{name} is not installed here: nothing reads the file before it is"))
}

/// A program, as a shell would find it. It gets a PATH of the system's directories only.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|at| at.is_file())
}
