//! What the runtimes read in different ways in one text.
//!
//! Go's parser, runc's, takes a key in any case, merges what stands twice, and stops behind the
//! first value. crun's takes the first of two, knows one spelling, stops at a NUL, and passes over
//! comments. Where a GPU is at stake, nobody can say then what a container gets.

use crate::model::text::shown;
use std::cell::RefCell;
use std::fmt;

/// Why a spec can be read in more than one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A key stands twice in one object.
    Twice {
        /// Where.
        place: &'static str,
        /// Which, safe to show.
        key: String,
    },
    /// A key is one that is read, in other letters.
    Spelling {
        /// Where.
        place: &'static str,
        /// As it stands there, safe to show.
        key: String,
        /// As the specification spells it.
        meant: &'static str,
    },
    /// A number of a device that none has.
    Number {
        /// Where.
        place: &'static str,
        /// Of which key.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// The text is not JSON, and a runtime takes it all the same.
    NotJson(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice { place, key } => write!(f, "`{place}` has the key `{key}` twice"),
            Self::Spelling { place, key, meant } => {
                write!(f, "`{place}` has the key `{key}`, which some runtimes take for `{meant}`")
            }
            Self::Number { place, key, value } => {
                write!(f, "`{key}` in `{place}` is `{value}`, which is no number of a device")
            }
            Self::NotJson(error) => write!(f, "it is not JSON: {error}"),
        }
    }
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As Go does: keys in any case, and what stands twice is merged. What the second of two would
    /// have replaced stays beside it.
    Merged,
    /// As crun does: one spelling, and the first of two.
    First,
}

/// A reading, and the first doubt that came up in it.
pub(super) struct Reader {
    reading: Reading,
    doubt: RefCell<Option<Doubt>>,
}

impl Reader {
    pub(super) const fn new(reading: Reading) -> Self {
        Self { reading, doubt: RefCell::new(None) }
    }

    pub(super) fn is_first(&self) -> bool {
        self.reading == Reading::First
    }

    pub(super) fn note(&self, doubt: impl FnOnce() -> Doubt) {
        self.doubt.borrow_mut().get_or_insert_with(doubt);
    }

    pub(super) fn twice(&self, place: &'static str, key: &str) {
        self.note(|| Doubt::Twice { place, key: shown(key) });
    }

    pub(super) fn into_doubt(self) -> Option<Doubt> {
        self.doubt.into_inner()
    }

    /// Which of these keys this one is.
    pub(super) fn find(
        &self,
        place: &'static str,
        keys: &[&'static str],
        key: &str,
    ) -> Option<(u32, &'static str)> {
        let mut all = (0..).zip(keys.iter().copied());
        if let Some(found) = all.clone().find(|(_, known)| *known == key) {
            return Some(found);
        }
        let (at, meant) = all.find(|(_, known)| folds(key, known))?;
        self.note(|| Doubt::Spelling { place, key: shown(key), meant });
        (!self.is_first()).then_some((at, meant))
    }
}

/// Whether Go's parser takes a key for this one of ASCII letters. Of all other letters two fold to
/// such: the long s and the sign of the kelvin.
pub(super) fn folds(key: &str, known: &str) -> bool {
    if key.is_ascii() {
        return key.eq_ignore_ascii_case(known);
    }
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}

/// The text of the first value as the most lenient of the runtimes takes it: without comments, up
/// to a NUL, and with a sign in the place of each half of a character.
pub(super) fn repaired(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut depth = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (*byte, after.first()) {
            (0, _) => break,
            (b'"', _) => string(rest, &mut out),
            (b'/', Some(b'/')) => from(rest, b"\n"),
            (b'/', Some(b'*')) => from(after.get(1..).unwrap_or_default(), b"*/"),
            _ => {
                out.push(*byte);
                after
            }
        };
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned().into_bytes()
}

/// What follows the first of these; nothing where there is none.
fn from<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.and_then(|at| text.get(at + end.len()..)).unwrap_or_default()
}

/// Copies a string, and returns what follows it.
fn string<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = text.get(1..).unwrap_or_default();
    out.push(b'"');
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'\\' {
            // Whatever is escaped ends no string. Half a character is none to some, and a whole one
            // is written in two halves; none of ours needs either.
            let half =
                matches!(after, [b'u', b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
            let length = if half { 6 } else { 2 };
            let escape = rest.get(..length).unwrap_or(rest);
            out.extend(if half { b"\\ufffd".as_slice() } else { escape });
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        out.push(*byte);
        rest = after;
        if *byte == b'"' {
            break;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letters_fold_as_gos_do() {
        for key in ["devices", "Devices", "DEVICES", "device\u{17f}", "DEVICE\u{17f}"] {
            assert!(folds(key, "devices"), "{key}");
        }
        assert!(folds("ma\u{17f}\u{212a}ed", "masked") && folds("CGROUPSPATH", "cgroupsPath"));
        for key in ["device", "devices ", "d\u{e9}vices", "devi\u{17f}es", "", "device\u{fffd}"] {
            assert!(!folds(key, "devices"), "{key}");
        }
    }

    #[test]
    fn what_a_runtime_passes_over_is_left_out() {
        for (text, expected) in [
            ("{\"a\":1} {", "{\"a\":1}"),
            ("{\"a\":[1]}\0{", "{\"a\":[1]}"),
            ("/* {\" */ {\"a\":\"//\\\"/*\"} // x", " {\"a\":\"//\\\"/*\"}"),
            ("{\"a\" // }\n:1}", "{\"a\" :1}"),
            (r#"{"a":"\ud83d\ude00\uDfff\\ud800\n"}"#, r#"{"a":"\ufffd\ufffd\ufffd\\ud800\n"}"#),
            ("{\"a", "{\"a"),
            ("\"\\", "\"\\"),
            ("]", "]"),
        ] {
            assert_eq!(String::from_utf8(repaired(text.as_bytes())).unwrap(), expected, "{text}");
        }
        assert_eq!(repaired(b"{\"\xff\":1}"), "{\"\u{fffd}\":1}".as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_too_strange(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\":,\\/*\n\0ud8 \xff1".to_vec()), 0..60,
        )) {
            prop_assert!(String::from_utf8(repaired(&bytes)).is_ok());
        }
    }
}
