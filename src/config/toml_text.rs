//! Reads TOML, with errors on one line that contain the position in the text.

use crate::model::text::shown;
use serde::de::DeserializeOwned;
use std::fmt;

/// The most characters of a parser's message that are repeated.
const MESSAGE_CHARS: usize = 400;

/// A fault in a TOML text, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextProblem {
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The dotted key at fault; `None` if the text is not TOML, or if the key itself is unknown at
    /// the top level.
    pub key: Option<String>,
    /// The text that was found and the ones that are allowed, on one line and safe to show.
    pub message: String,
}

impl fmt::Display for TextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads `text` as a TOML document. The error is the parser's first one: syntax, then unknown keys
/// and values.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, TextProblem> {
    toml::from_str(text).map_err(|error| explain(text, error))
}

/// The parser's error about `text`.
pub(super) fn explain(text: &str, mut error: toml::de::Error) -> TextProblem {
    let offset = error.span().map_or(0, |span| span.start);
    // The error has no accessor for the keys. Without its input it prints them behind the message.
    error.set_input(None);
    let printed = error.to_string();
    let key = printed
        .strip_prefix(error.message())
        .and_then(|rest| rest.trim().strip_prefix("in `"))
        .and_then(|rest| rest.strip_suffix('`'));
    problem(text, offset, key, error.message())
}

/// A problem at this byte of `text`.
pub(super) fn problem(text: &str, at: usize, key: Option<&str>, message: &str) -> TextProblem {
    let (line, column) = position(text, at);
    TextProblem { line, column, key: key.map(one_line), message: one_line(message) }
}

/// The line and the column, both from 1, of a byte offset into `text`. An offset past the end or
/// inside a character counts as that of the nearest character before it.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut line = 1;
    let mut column = 1;
    for (at, c) in text.char_indices() {
        if at + c.len_utf8() > offset {
            break;
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// The text on one line, with unsafe characters escaped, cut at [`MESSAGE_CHARS`].
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (count, c) in text.trim().chars().enumerate() {
        if count == MESSAGE_CHARS {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push(' '),
            ' '..='~' => out.push(c),
            _ => out.push_str(&shown(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a = 1\nü = 2\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 4), (1, 5));
        assert_eq!(position(text, 6), (2, 1));
        assert_eq!(position(text, 7), (2, 1));
        assert_eq!(position(text, 8), (2, 2));
        assert_eq!(position(text, 999), (3, 1));
        assert_eq!(position("", 0), (1, 1));
    }

    #[test]
    fn messages_are_one_safe_line() {
        let text = "\"a\\u001b[31m\" = [1,\n";
        let problem = parse::<toml::Table>(text).unwrap_err();
        assert!(!problem.to_string().contains(['\n', '\u{1b}']), "{problem}");
        assert_eq!(one_line("a\nb\u{1b}\u{202e}c"), "a b\\u{1b}\\u{202e}c");
        assert_eq!(one_line(&"x".repeat(900)).chars().count(), MESSAGE_CHARS + 1);
    }
}
