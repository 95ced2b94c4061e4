//! Having the engine read its configuration.

use super::Engine;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

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
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, shown_line(said.trim())))
}
