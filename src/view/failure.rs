//! Why something was not done.

use crate::allocator::Verdict;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::text::one_line;
use serde::Serialize;

/// The answer in the place of what was asked for.
#[derive(Debug, Serialize)]
pub struct ErrorAnswer<'a> {
    error: FailureView<'a>,
}

/// A failure, or the refusal of a request. Its texts have one line.
#[derive(Debug, Serialize)]
pub struct FailureView<'a> {
    code: Code,
    message: String,
    hint: Option<String>,
    /// Of a request that is refused, the reason for each device.
    details: Option<&'a [Verdict]>,
}

impl<'a> ErrorAnswer<'a> {
    pub fn of(failure: &'a Failure) -> Self {
        Self { error: FailureView::of(failure) }
    }
}

impl<'a> FailureView<'a> {
    pub fn of(failure: &'a Failure) -> Self {
        Self {
            code: failure.code,
            message: one_line(&failure.message),
            hint: failure.hint.as_deref().map(one_line),
            details: failure.details.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::ChildAnswer;
    use crate::view::to_json;

    #[test]
    fn a_child_that_fails_is_understood() {
        let failure =
            Failure::new(Code::BadInventory, "in `/x`: hint: no\u{1b}").hint("correct it");
        let json = to_json(&ErrorAnswer::of(&failure)).to_string();
        let read = ChildAnswer::read(json.as_bytes(), "gpulease: whatever");
        let expected = ChildAnswer {
            code: Some(Code::BadInventory),
            message: "in `/x`: hint: no\\u{1b}".into(),
            hint: Some("correct it".into()),
        };
        assert_eq!(read, expected);
    }
}
