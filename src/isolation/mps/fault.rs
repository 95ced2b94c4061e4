//! Why something could not be done with a daemon.

use crate::sys::PathError;
use crate::sys::checked::FileError;
use crate::sys::lock::LockError;
use std::error::Error;
use thiserror::Error;

/// What failed, in lower case and without a full stop, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Fault {
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// This one, and what went wrong while its traces were removed.
    #[must_use]
    pub fn and(mut self, other: Option<Self>) -> Self {
        if let Some(other) = other {
            self.message = format!("{}; and then {}", self.message, other.message);
            self.hint = self.hint.or(other.hint);
        }
        self
    }
}

fn of(error: &dyn Error) -> Fault {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Fault::new(text)
}

impl From<PathError> for Fault {
    fn from(error: PathError) -> Self {
        of(&error)
    }
}

impl From<LockError> for Fault {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Path(error) => error.into(),
            error @ LockError::Timeout { .. } => of(&error),
        }
    }
}

impl From<FileError> for Fault {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error.into(),
            error => of(&error).hint("let root own it and nobody else write to it"),
        }
    }
}
