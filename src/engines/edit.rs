//! The input and the result of an edit of an engine's file.

use super::NAME;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::shown_line;
use std::path::Path;
use thiserror::Error;

/// The programs and settings that are put into a file.
#[derive(Debug, Clone, Copy)]
pub struct Wiring<'a> {
    /// The path of gpulease-runtime.
    pub runtime: &'a str,
    /// Whether containers that name no runtime use it.
    pub default_runtime: bool,
    /// The path of gpulease-hook.
    pub hook: &'a str,
    /// The directory of the file that has Podman call the hook.
    pub hooks_dir: &'a str,
}

/// A file's new text.
#[derive(Debug, Default)]
pub struct EditedText {
    pub text: String,
    /// The parts of it that were appended, by which they are found when they are taken out.
    pub added: Vec<String>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl EditedText {
    pub(super) fn new(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// Why a file is not edited.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum EditError {
    #[error("line {line}, column {column}: {message}")]
    Syntax { line: usize, column: usize, message: String },
    #[error("{key} is not {expected}")]
    Shape { key: String, expected: &'static str },
    #[error("{why}")]
    Refused { why: String, hint: String },
}

impl EditError {
    pub fn in_file(&self, path: &Path) -> Failure {
        let text = match self {
            Self::Syntax { .. } => format!("cannot parse `{}`: {self}", path.display()),
            Self::Shape { .. } | Self::Refused { .. } => {
                format!("cannot edit `{}`: {self}", path.display())
            }
        };
        let hint = match self {
            Self::Refused { hint, .. } => hint,
            _ => "nothing was changed; correct the file and try again",
        };
        Failure::new(Code::BadConfig, shown_line(&text)).hint(hint)
    }
}

/// The note for a file that made gpulease the default.
pub(super) fn default_restored(was: Option<&str>) -> String {
    match was.filter(|was| *was != NAME) {
        Some(was) => format!("the default runtime is `{}` again", shown_line(was)),
        None => "the default runtime is the engine's own again".to_owned(),
    }
}
