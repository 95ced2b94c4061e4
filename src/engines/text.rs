//! A configuration file in the form that its editors need, and back in its own.

use super::EditError;
use crate::config::position;

const BOM: &str = "\u{feff}";

/// A file's text, and its body: without byte order mark, with `\n` at the ends of lines.
#[derive(Debug, Clone)]
pub(super) struct Text<'a> {
    file: &'a str,
    pub(super) body: String,
    has_bom: bool,
    is_dos: bool,
    pub(super) has_mixed_ends: bool,
}

impl<'a> Text<'a> {
    pub(super) fn of(file: &'a str) -> Self {
        let bare = file.strip_prefix(BOM);
        let (has_bom, text) = (bare.is_some(), bare.unwrap_or(file));
        // The editors do not keep the ends line by line: a file of mixed ends becomes a DOS one.
        let is_dos = text.contains("\r\n");
        let has_mixed_ends = is_dos && text.matches('\n').count() > text.matches("\r\n").count();
        Self { file, body: text.replace("\r\n", "\n"), has_bom, is_dos, has_mixed_ends }
    }

    /// The file with another body, written in the same way; the same file for the same body.
    pub(super) fn with(&self, body: &str) -> String {
        if body == self.body {
            return self.file.to_owned();
        }
        let body = if self.is_dos { body.replace('\n', "\r\n") } else { body.to_owned() };
        if self.has_bom { format!("{BOM}{body}") } else { body }
    }
}

/// The text in bytes. Fails with the place of the first byte that is not UTF-8.
pub(super) fn utf8(bytes: Vec<u8>) -> Result<String, EditError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default());
        let (line, column) = position(&before, before.len());
        EditError::Syntax { line, column, message: "not UTF-8".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_back_as_it_came() {
        for text in ["", "a\nb\n", "a\r\nb\r\n", "\u{feff}a\r\n", "\u{feff}{}"] {
            let read = Text::of(text);
            assert!(!read.body.contains('\r') && !read.body.contains(BOM));
            assert_eq!(read.with(&read.body), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let error = utf8(b"a\nb\xff".to_vec()).unwrap_err();
        assert!(matches!(error, EditError::Syntax { line: 2, column: 2, .. }));
    }
}
