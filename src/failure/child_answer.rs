//! The `gpulease` command's answer to another of our programs.

use super::Failure;
use crate::model::code::Code;
use crate::model::text::{one_line, shown_line};
use serde_json::Value;

/// An answer of the `gpulease` command to another of our programs. It may be of another version.
#[derive(Debug, PartialEq, Eq)]
pub struct ChildAnswer {
    /// `None` for one that this version does not know, or where there is none.
    pub code: Option<Code>,
    pub message: String,
    pub hint: Option<String>,
}

impl ChildAnswer {
    /// From its two outputs. Where it has ended without JSON, as one that was killed or crashed does,
    /// the first line of its stderr is all there is.
    #[must_use]
    pub fn read(stdout: &[u8], stderr: &str) -> Self {
        Self::of_json(stdout).unwrap_or_else(|| match shown_line(stderr).as_str() {
            "" => Self::new("the `gpulease` command fails and does not say why"),
            line => Self::new(line),
        })
    }

    pub fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), hint: None }
    }

    fn of_json(stdout: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(stdout).ok()?;
        let error = answer.get("error")?;
        let text = |key| error.get(key).and_then(Value::as_str);
        Some(Self {
            code: text("code").and_then(|word| word.parse().ok()),
            message: one_line(text("message")?),
            hint: text("hint").map(one_line),
        })
    }

    /// In a failure's words: its code and its hint, where it has them, in the place of the failure's.
    #[must_use]
    pub fn within(self, failure: impl FnOnce(&str) -> Failure) -> Failure {
        let failure = failure(&self.message);
        Failure {
            code: self.code.unwrap_or(failure.code),
            hint: self.hint.or(failure.hint),
            ..failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(told: ChildAnswer) -> Failure {
        told.within(|what| {
            Failure::new(Code::IsolationFailed, format!("no place: {what}")).hint("look there")
        })
    }

    #[test]
    fn a_childs_error_keeps_code_message_and_hint() {
        let json = r#"{"version": 1, "error": {"code": "bad-inventory", "message": "in `/x`: hint: no\u001b",
                       "hint": "correct it", "details": null}}"#;
        let failure = within(ChildAnswer::read(json.as_bytes(), "gpulease: whatever"));
        assert_eq!(failure.code, Code::BadInventory);
        assert_eq!(failure.message, "no place: in `/x`: hint: no\\u{1b}");
        assert_eq!(failure.hint.as_deref(), Some("correct it"));
    }

    #[test]
    fn a_childs_answer_of_another_version_is_read() {
        for (stdout, stderr, message) in [
            (r#"{"error": {"code": "of-later", "message": "gone", "new": 1}}"#, "x", "gone"),
            (r#"{"error": {"message": "gone"}}"#, "", "gone"),
            (r#"{"error": {"code": "stale-hook"}}"#, "\n a line\nb", "a line"),
            ("{\"error\":", "thread 'main' panicked", "thread 'main' panicked"),
            ("", "", "the `gpulease` command fails and does not say why"),
        ] {
            let failure = within(ChildAnswer::read(stdout.as_bytes(), stderr));
            let expected = format!("no place: {message}");
            assert_eq!((failure.code, failure.message), (Code::IsolationFailed, expected));
            assert_eq!(failure.hint.as_deref(), Some("look there"), "{stdout}");
        }
    }
}
