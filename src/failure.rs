//! Why something was not done, in the form in which a user hears of it: a stable code, a message,
//! a hint. Each program says it in its own way: the shim in one line to the engine, the command in
//! two to a person or as JSON.

mod engine_line;

pub use engine_line::one_line;

use crate::claim::ClaimError;
use crate::config::ConfigError;
use crate::inventory::InventoryError;
use crate::model::code::Code;
use crate::request::RequestError;
use crate::store::StoreError;
use crate::sys::PathError;
use crate::sys::checked::FileError;
use std::error::Error;

#[derive(Debug, Clone)]
pub struct Failure {
    pub code: Code,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// With a message in lower case and without a full stop.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
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
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        let hint =
            if error.is_denied() { Some("run it with sudo".to_owned()) } else { error.hint() };
        Self { hint, ..Self::of(error.code(), &error) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ClaimError::from(error).into()
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        ClaimError::from(error).into()
    }
}

impl From<&ConfigError> for Failure {
    fn from(error: &ConfigError) -> Self {
        let hint = match error {
            ConfigError::File(FileError::Insecure { path, .. }) => {
                format!("let root own `{}` and nobody else write to it", path.display())
            }
            ConfigError::Missing { .. } => "see --gpulease-config and GPULEASE_CONFIG".to_owned(),
            ConfigError::Empty { .. } => "where the defaults are meant, remove the file".to_owned(),
            ConfigError::Unsettled { .. } => {
                "start the container again once the file is written".to_owned()
            }
            _ => "gpulease-config(5) describes the file".to_owned(),
        };
        Self::of(error.code(), error).hint(hint)
    }
}

impl From<InventoryError> for Failure {
    fn from(error: InventoryError) -> Self {
        Self::of(error.code(), &error).hint(error.hint())
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Self { hint: error.hint(), ..Self::of(error.code(), &error) }
    }
}

/// An error and its causes, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
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
