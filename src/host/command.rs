//! Runs the `gpulease` command, which does what takes long or needs more code than a container
//! start should load.

use super::Host;
use crate::failure::{ChildAnswer, Failure};
use crate::sys::ask::{AskError, run_with_deadline};
use crate::sys::programs;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

/// More than the longest answer, which is the list of a node's processes.
const ANSWER_MAX: usize = 1 << 20;

impl Host {
    /// The command's JSON output for these words. Fails with the command's complaint in the words
    /// of `failure`, and with its own code and hint if it has them.
    pub fn ask_command(
        &self,
        words: &[&OsStr],
        deadline: Duration,
        failure: impl FnOnce(&str) -> Failure,
    ) -> Result<Vec<u8>, Failure> {
        let answer = match programs::command() {
            Some(program) => ask(&program, &self.own_arguments(), words, deadline),
            None => Err(ChildAnswer::new("the `gpulease` command is not installed")),
        };
        answer.map_err(|told| told.within(failure))
    }
}

/// The JSON output of `program`, which reads the configuration that `own` names.
pub fn ask(
    program: &Path,
    own: &[OsString],
    words: &[&OsStr],
    deadline: Duration,
) -> Result<Vec<u8>, ChildAnswer> {
    let mut args: Vec<&OsStr> = own.iter().map(OsString::as_os_str).collect();
    args.extend(words);
    args.push(OsStr::new("--json"));
    match run_with_deadline(program, &args, deadline, ANSWER_MAX) {
        Ok(answer) if answer.status.success() => Ok(answer.stdout),
        Ok(answer) => Err(ChildAnswer::read(&answer.stdout, &answer.stderr)),
        Err(AskError::Io(error)) => {
            Err(ChildAnswer::new(format!("`{}`: {error}", program.display())))
        }
        Err(error) => Err(ChildAnswer::new(error.to_string())),
    }
}
