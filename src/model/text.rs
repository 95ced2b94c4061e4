//! Untrusted text on its way to a log, a terminal or an error message.

/// The most characters of an untrusted value that a message repeats.
pub const SHOWN_CHARS: usize = 80;

/// Makes `text` safe to show: control, bidirectional and zero-width characters are written as
/// escapes (sudo's CVE-2023-28486 was their absence), and long text is cut.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(SHOWN_CHARS * 2));
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            out.push('…');
            break;
        }
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The first line of `text`, trimmed and made safe, at a length that still tells something.
#[must_use]
pub fn shown_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(600).map(|c| if is_unsafe(c) { ' ' } else { c }).collect()
}

/// All lines of `text`, made safe as by [`shown`], but whole; tabs are kept.
#[must_use]
pub fn shown_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && !matches!(c, '\n' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
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
    fn lines_stay_lines() {
        assert_eq!(shown_lines("a\tb\n+c\u{1b}[1m\u{9b}\r\n"), "a\tb\n+c\\u{1b}[1m\\u{9b}\\r\n");
    }

    #[test]
    fn long_text_is_cut() {
        let cut = shown(&"x".repeat(500));
        assert_eq!(cut.chars().count(), SHOWN_CHARS + 1);
        assert!(cut.ends_with('…'));
    }
}
