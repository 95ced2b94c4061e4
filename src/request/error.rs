//! The reasons for which a request is refused before any device is looked at.

use super::keys::{KEYS, Key, Support};
use super::raw::{MAX_ITEMS, RequestWord};
use crate::model::code::Code;
use crate::model::text::shown;
use thiserror::Error;

/// A refused request. Keys and values in it are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct RequestError {
    pub code: Code,
    pub message: String,
    /// The way out for the user, if there is more to say than in the message.
    pub hint: Option<String>,
}

impl RequestError {
    pub(super) const fn new(message: String) -> Self {
        Self { code: Code::BadRequest, message, hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For a key that has our prefix but is not in the table. `nearest` is the most similar known
    /// key, in the same form (annotation or variable).
    pub(super) fn unknown(key: &str, nearest: Option<&str>) -> Self {
        let error = Self::new(format!("`{}` is not a known key", shown(key)));
        match nearest {
            Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
            None => {
                let known: Vec<&str> = KEYS.iter().map(Key::short).collect();
                error.hint(format!("the keys after `gpulease/` are: {}", known.join(", ")))
            }
        }
    }

    /// For a value, or an item of a list, that the key does not accept.
    pub(super) fn value(key: &str, value: &str, reason: &str, allowed: &str) -> Self {
        Self::new(format!("`{key}` is `{value}`, {reason}; allowed is {allowed}"))
    }

    pub(super) fn too_many(key: &str) -> Self {
        Self::new(format!("`{key}` lists more than {MAX_ITEMS} items"))
    }

    pub(super) fn duplicate(key: &str, item: &str) -> Self {
        Self::new(format!("`{key}` lists `{item}` twice"))
    }

    /// For two spellings of one key that have different values.
    pub(super) fn differ(first: &RequestWord<'_>, second: &RequestWord<'_>) -> Self {
        let (one, other) = (first.shown_key(), second.shown_key());
        Self::new(format!("{}, but {}", first.said(), second.said()))
            .hint(format!("they contradict each other: keep `{one}` or `{other}`"))
    }

    /// For a valid value that this version does not support.
    pub(super) fn not_yet(word: &RequestWord<'_>) -> Self {
        let spelled = word.shown_key();
        let instead = match word.key.support {
            Support::Only([only]) => format!("leave `{spelled}` out or set it to `{only}`"),
            Support::Only(_) => format!("leave `{spelled}` out"),
            Support::Full | Support::Except(_) => {
                let honoured = word.key.honoured().unwrap_or_default().join("`, `");
                format!("leave `{spelled}` out or set it to one of `{honoured}`")
            }
        };
        let message = format!("{}, which is not supported yet", word.said());
        Self { code: Code::NotSupportedYet, ..Self::new(message) }.hint(instead)
    }
}
