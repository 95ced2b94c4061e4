//! Why something was not done, in the form in which a user hears of it: a stable code, a message,
//! a hint, and, of a refusal, a reason per device. Each program says it in its own way: the shim in
//! one line to the engine, the command in two to a person or as JSON.

mod child_answer;
mod engine_line;

pub use child_answer::ChildAnswer;
pub use engine_line::one_line;

use crate::allocator::{Refusal, Verdict, grouped_text};
use crate::model::code::Code;
use crate::model::id::IdError;
use crate::request::RequestError;
use crate::sys::PathError;
use crate::sys::checked::FileError;
use crate::sys::lock::LockError;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    /// The error, in lower case and without a full stop.
    pub message: String,
    /// A way to set it right.
    pub hint: Option<String>,
    /// Of what the allocator refuses, why each device was not granted.
    pub details: Option<Vec<Verdict>>,
}

impl Failure {
    /// With a message in lower case and without a full stop.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: None }
    }

    /// From an error: its text and those of its causes.
    pub fn of(code: Code, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what went wrong besides, behind the hint if there is one.
    #[must_use]
    pub fn and(mut self, besides: &str) -> Self {
        let before = self.hint.map_or_else(String::new, |hint| format!("{hint}; "));
        self.hint = Some(format!("{before}and {besides}"));
        self
    }

    pub fn verdicts(&self) -> &[Verdict] {
        self.details.as_deref().unwrap_or_default()
    }

    /// The message and the devices behind it, for people. A node may have many devices.
    #[must_use]
    pub fn with_details(&self) -> String {
        const DETAILS_MAX: usize = 1400;
        format!("{}{}", self.message, grouped_text(self.verdicts(), DETAILS_MAX))
    }

    /// Adds what failed after it, while its traces were removed.
    #[must_use]
    pub fn then(mut self, next: Option<Self>) -> Self {
        if let Some(next) = next {
            self.message = format!("{}; and then {}", self.message, next.message);
            self.hint = self.hint.or(next.hint);
        }
        self
    }
}

/// The message alone.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::of(Code::BadRequest, &error)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self { hint: error.hint, ..Self::new(error.code, error.message) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, summary: message, verdicts, hint } = refusal;
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        Self { code, message, hint, details: Some(verdicts) }
    }
}

/// An action that the user may not do is as a rule allowed to root.
impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        let failure = Self::of(Code::StateUnavailable, &error);
        match error.source.kind() {
            ErrorKind::PermissionDenied => failure.hint("run it with sudo"),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => {
                failure.hint("see whether the file system is full or read-only")
            }
            _ => failure,
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error.into(),
            error => Self::of(Code::StateUnavailable, &error)
                .hint("give it to root and let only root write to it"),
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Path(error) => error.into(),
            LockError::Timeout { ref holders, .. } => {
                Self { hint: holders.way_out(), ..Self::of(Code::LockTimeout, &error) }
            }
        }
    }
}

/// An error and its causes, joined by `: `.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A transparent error repeats its source's text.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
