//! What a check found.

use crate::model::spelled::spelled;
use crate::model::text::{one_line, shown};
use std::fmt::Display;
use std::path::Path;

/// The code for what could not be looked at.
pub(super) const UNCHECKED: &str = "unchecked";

spelled! {
    /// How bad it is.
    pub(super) enum Level {
        /// As it should be.
        Ok = "ok",
        /// Worth knowing; nothing is wrong.
        Note = "note",
        /// It works now, and will surprise somebody.
        Warning = "warning",
        /// Containers with a request are refused, or get what they should not.
        Fault = "fault",
    }
}

/// One check and its outcome.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    pub(super) level: Level,
    /// One line, in lower case, without a full stop.
    pub(super) message: String,
    /// What to do about it, where there is something to do.
    pub(super) fix: Option<String>,
}

/// All that was found, in the order of the checks.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
}

impl Findings {
    pub(super) fn ok(&mut self, code: &'static str, message: impl Into<String>) {
        let message = one_line(&message.into());
        self.list.push(Finding { code, level: Level::Ok, message, fix: None });
    }

    pub(super) fn note(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Note, code, message.into(), fix.into());
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Warning, code, message.into(), fix.into());
    }

    pub(super) fn fault(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Fault, code, message.into(), fix.into());
    }

    /// For what could not be looked at: neither good nor bad.
    pub(super) fn unchecked(&mut self, path: &Path, why: &dyn Display) {
        let text = format!("{} was not checked: {why}", quoted(path));
        self.note(UNCHECKED, text, "run `gpulease doctor` as root, and see that it can be read");
    }

    pub(super) fn add(&mut self, level: Level, code: &'static str, message: String, fix: String) {
        let (message, fix) = (one_line(&message), Some(one_line(&fix)));
        self.list.push(Finding { code, level, message, fix });
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.list.iter().filter(|finding| finding.level == level).count()
    }

    /// Whether a check since the first `since` has found more than a note.
    pub(super) fn is_clean_since(&self, since: usize) -> bool {
        self.list.iter().skip(since).all(|finding| finding.level <= Level::Note)
    }
}

/// `/dev/nvidia0` in a message, and how many there are besides.
pub(super) fn first_and_more(paths: &[&str]) -> String {
    let first = shown(paths.first().copied().unwrap_or_default());
    match paths.len() {
        0 | 1 => format!("`{first}`"),
        count => format!("`{first}` and {} more", count - 1),
    }
}

/// A path in a message.
pub(super) fn quoted(path: &Path) -> String {
    format!("`{}`", plain(path))
}

/// A path in a command.
pub(super) fn plain(path: &Path) -> String {
    path.display().to_string()
}
