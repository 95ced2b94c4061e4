//! Specs that runtimes read in different ways.
//!
//! runc's parser, Go's, accepts a key in any case, merges a key that occurs twice, and stops after
//! the first value. crun's parsers accept one spelling only. yajl keeps the first of two equal keys
//! and ignores comments. json-c, in later versions, keeps the last and is lenient in much else. So
//! the contents of such a spec depend on the runtime. If a GPU is involved, the start is refused.

use crate::model::text::shown;
use std::cell::RefCell;
use std::fmt;

/// Why a spec can be read in several ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A key occurs twice in one object.
    Twice {
        place: &'static str,
        /// The key, safe to show.
        key: String,
    },
    /// A key differs from a known one only in its letters.
    Spelling {
        place: &'static str,
        /// The key as it is written, safe to show.
        key: String,
        /// The key as the specification spells it.
        meant: &'static str,
    },
    /// A number that no device has.
    Number { place: &'static str, key: &'static str, value: String },
    /// The text is not JSON, but a runtime accepts it.
    NotJson(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice { place, key } => write!(f, "`{place}` has the key `{key}` twice"),
            Self::Spelling { place, key, meant } => {
                write!(f, "`{place}` has the key `{key}`, which some runtimes read as `{meant}`")
            }
            Self::Number { place, key, value } => {
                write!(f, "`{key}` in `{place}` is `{value}`, which is not a device number")
            }
            Self::NotJson(error) => write!(f, "it is not JSON: {error}"),
        }
    }
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonReading {
    /// Like Go: keys in any case, and equal keys are merged. A value that the second key would
    /// replace is kept beside it.
    Merged,
    /// Like yajl: one spelling, and the first of two equal keys.
    First,
    /// Like json-c: one spelling, and the last of two equal keys.
    Last,
}

/// A way of reading, and the first doubt that came up in it.
pub(super) struct Reader {
    reading: JsonReading,
    doubt: RefCell<Option<Doubt>>,
}

impl Reader {
    pub(super) const fn new(reading: JsonReading) -> Self {
        Self { reading, doubt: RefCell::new(None) }
    }

    /// Whether the first of two equal keys counts.
    pub(super) fn keeps(&self) -> bool {
        self.reading == JsonReading::First
    }

    /// Whether the last of two equal keys replaces the first.
    pub(super) fn replaces(&self) -> bool {
        self.reading == JsonReading::Last
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

    /// Finds the known key that this reading takes `key` for.
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
        (self.reading == JsonReading::Merged).then_some((at, meant))
    }
}

/// Whether Go's parser treats `key` as `known`, which is ASCII. Two letters outside of ASCII fold
/// to ASCII ones: the long s and the kelvin sign.
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

/// Turns a text that the most lenient runtime accepts into strict JSON, up to the end of the first
/// value. json-c accepts words in any case, numbers with leading zeros, strings in single quotes
/// and with control characters, commas before a closing bracket, comments, lone surrogates, and
/// anything after the value, for instance after a NUL.
pub(super) fn repaired(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut depth = 0_usize;
    let mut comma = false;
    while let Some((byte, after)) = rest.split_first() {
        match (*byte, after.first()) {
            (0, _) => break,
            (b'/', Some(b'/')) => {
                rest = from(after, b"\n");
                continue;
            }
            (b'/', Some(b'*')) => {
                rest = from(after.get(1..).unwrap_or_default(), b"*/");
                continue;
            }
            (b',', _) => {
                (comma, rest) = (true, after);
                continue;
            }
            (byte, _) if byte.is_ascii_whitespace() => {
                out.push(byte);
                rest = after;
                continue;
            }
            _ => {}
        }
        let closes = matches!(byte, b'}' | b']');
        if std::mem::take(&mut comma) && !closes {
            out.push(b',');
        }
        rest = match byte {
            b'"' | b'\'' => string(*byte, after, &mut out),
            b'{' | b'}' | b'[' | b']' | b':' => {
                out.push(*byte);
                after
            }
            _ => word(rest, &mut out),
        };
        if matches!(byte, b'{' | b'[') {
            depth += 1;
        } else if closes {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                break;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into_bytes()
}

/// The text after the first occurrence of `end`; empty if there is none.
fn from<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.and_then(|at| text.get(at + end.len()..)).unwrap_or_default()
}

/// Copies a word or a number, and returns the rest. Any other word becomes null.
fn word<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]\"'/\0".contains(byte);
    // A slash that begins no comment is a word by itself.
    let length = text.iter().skip(1).position(ends).map_or(text.len(), |at| at + 1);
    let (word, rest) = text.split_at(length);
    let lower = word.to_ascii_lowercase();
    let digits = lower.strip_prefix(b"-").unwrap_or(&lower);
    let is_number = digits.first().is_some_and(u8::is_ascii_digit);
    match lower.as_slice() {
        b"true" | b"false" | b"null" => out.extend(&lower),
        _ if is_number => {
            out.extend(lower.strip_suffix(digits).unwrap_or_default());
            let more = |pair: &[u8]| matches!(pair, [b'0', b'0'..=b'9']);
            let zeros = digits.windows(2).take_while(|pair| more(pair)).count();
            out.extend(digits.get(zeros..).unwrap_or_default());
        }
        _ => out.extend(b"null"),
    }
    rest
}

/// Copies a string from behind its opening quote, and returns the rest.
fn string<'a>(quote: u8, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    const NONE: &[u8] = b"\\ufffd";
    let mut rest = text;
    out.push(b'"');
    while let Some((byte, after)) = rest.split_first() {
        let (piece, length) = match (*byte, after) {
            // A lone surrogate is no character for some runtimes. A pair is replaced too, because
            // no key or value of ours has one.
            (b'\\', [b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]) => (NONE, 6),
            (b'\\', [b'\'', ..]) => (b"'".as_slice(), 2),
            // An escaped quote does not end a string.
            (b'\\', _) => (rest.get(..2).unwrap_or(rest), 2),
            (byte, _) if byte == quote => (b"\"".as_slice(), 1),
            (b'"', _) => (b"\\\"".as_slice(), 1),
            (0..=0x1f, _) => (NONE, 1),
            _ => (rest.get(..1).unwrap_or_default(), 1),
        };
        out.extend(piece);
        rest = rest.get(length..).unwrap_or_default();
        if *byte == quote {
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
            ("{'a\"':[1,2,],'b':'\\'',}", "{\"a\\\"\":[1,2],\"b\":\"'\"}"),
            ("[TRUE,Null,0195,-007,00,1.5,NaN,-Infinity]", "[true,null,195,-7,0,1.5,null,null]"),
            ("{\"a\": \"\t\u{1}\" , }", "{\"a\": \"\\ufffd\\ufffd\"  }"),
        ] {
            assert_eq!(String::from_utf8(repaired(text.as_bytes())).unwrap(), expected, "{text}");
        }
        assert_eq!(repaired(b"{\"\xff\":1}"), "{\"\u{fffd}\":1}".as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_too_strange(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\":,\\/*\n\0ud8 \xff10'T-".to_vec()), 0..60,
        )) {
            prop_assert!(String::from_utf8(repaired(&bytes)).is_ok());
        }
    }
}
