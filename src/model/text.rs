//! Makes untrusted text safe for logs, terminals and error messages.

use std::iter::Peekable;
use std::str::Chars;

/// The most characters of an untrusted value that a message repeats.
pub const SHOWN_CHARS: usize = 80;

/// Makes `text` safe to show: control, bidirectional and other format characters are escaped, and
/// long text is cut. (sudo did not escape them: CVE-2023-28486.)
pub fn shown(text: &str) -> String {
    let mut out = escaped(text.chars().take(SHOWN_CHARS), &[]);
    if text.chars().nth(SHOWN_CHARS).is_some() {
        out.push('…');
    }
    out
}

/// The first line of `text` that is not empty, trimmed, made safe and cut to 600 characters.
pub fn shown_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    escaped(line.chars().take(600), &[])
}

/// All of `text`, made safe as in [`shown`], with its line ends and tabs, and not cut.
pub fn shown_lines(text: &str) -> String {
    escaped(text.chars(), &['\n', '\t'])
}

/// A whole message on one line, made safe as in [`shown`]. It is applied last, so nothing in the
/// message can break it.
pub fn one_line(text: &str) -> String {
    let blank = |c: char| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c };
    escaped(text.chars().map(blank), &[])
}

fn escaped(text: impl Iterator<Item = char>, kept: &[char]) -> String {
    let mut out = String::new();
    for c in text {
        if is_unsafe(c) && !kept.contains(&c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// At most `max` bytes of the text, with a `…` where it was cut.
pub fn cut(text: &str, max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(MARK.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MARK}", text.get(..end).unwrap_or(""))
}

/// Whether a terminal or a reader may mistake the character for something else: controls,
/// separators of lines and paragraphs, and all format characters of Unicode 16 (Cf).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}')
}

/// Whether a text matches a pattern, in which `*` is any text and `?` any one character. On a
/// mismatch it is sufficient to try only the last `*` again, one character further, which keeps the
/// time at pattern × text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars().peekable();
    let mut text = text.chars();
    let mut retry: Option<(Peekable<Chars<'_>>, Chars<'_>)> = None;
    loop {
        if pattern.peek() == Some(&'*') {
            pattern.next();
            retry = Some((pattern.clone(), text.clone()));
            continue;
        }
        let matched = match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('?'), Some(_)) => true,
            (Some(p), Some(t)) => p == t,
            _ => false,
        };
        if !matched {
            let Some((after_star, mut rest)) = retry.take() else { return false };
            if rest.next().is_none() {
                return false;
            }
            pattern = after_star.clone();
            text = rest.clone();
            retry = Some((after_star, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_plain_text_is_kept() {
        assert_eq!(shown("train-7 ü"), "train-7 ü");
        assert_eq!(shown("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\nb\\u{202e}c");
    }

    #[test]
    fn a_message_is_one_line_whatever_went_into_it() {
        assert_eq!(one_line("a\nb\tc"), "a b c");
        for c in ['\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200d}', '\u{e0041}', '\0'] {
            let text = one_line(&format!("`/x/{c}y`"));
            assert_eq!(text, format!("`/x/{}y`", c.escape_default()));
            assert_eq!(one_line(&text), text, "once is enough");
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(shown_lines("a\tb\n+c\u{1b}[1m\u{9b}\r\n"), "a\tb\n+c\\u{1b}[1m\\u{9b}\\r\n");
    }

    #[test]
    fn long_text_is_cut() {
        let cut = shown(&"x".repeat(500));
        assert_eq!(cut.chars().count(), SHOWN_CHARS + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.conf", false),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}
