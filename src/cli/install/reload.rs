//! Having the engine read its configuration.

use super::Engine;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use crate::sys::exec::{Finished, run_bounded};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::time::Duration;

/// systemd itself gives a service 90 s to start and as long to stop (systemd-system.conf(5)); a
/// restart may take both.
const DEADLINE: Duration = Duration::from_secs(200);

/// What is to be done, or was done.
#[derive(Debug)]
pub(super) struct Reload {
    command: Option<String>,
    done: bool,
}

impl Reload {
    /// Runs the command if it is wanted.
    pub(super) fn after_change(engine: Engine, wanted: bool) -> Result<Self, Failure> {
        let Some(words) = engine.reload() else { return Ok(Self { command: None, done: false }) };
        let command = words.join(" ");
        if wanted {
            run(words).map_err(|why| {
                let text = format!("the file is written, but `{command}` failed: {why}");
                Failure::new(Code::StateUnavailable, text)
                    .hint(format!("see `systemctl status {}`", engine.name()))
            })?;
        }
        Ok(Self { command: Some(command), done: wanted })
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        match &self.command {
            None => "next: nothing; it is read for each command\n".to_owned(),
            Some(command) if self.done => format!("done: {command}\n"),
            Some(command) => format!("next: {command}\n"),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "command": self.command, "done": self.done })
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    // As a shell would find it; the program itself gets a PATH of the system's directories only.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|at| at.is_file());
    let finished = run_bounded(&program.ok_or("it is not there")?, &arguments, DEADLINE);
    match finished.map_err(|error| error.to_string())? {
        Finished { success: true, .. } => Ok(()),
        Finished { stderr, .. } => Err(shown_line(stderr.trim())),
    }
}
