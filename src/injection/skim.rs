//! Finds a value in a JSON text without parsing its contents.
//!
//! Most of a `config.json` is the seccomp profile, which is not needed here. To build a tree of it
//! and write it again would be most of the work of an edit, so its text is set aside.

use memchr::memchr2;
use std::ops::Range;

/// The range of the value of member `inner` of the outermost object's member `outer`. `None` if it
/// is absent or uncertain: equal keys, keys with escapes, or text that is not JSON as far as it was
/// read. The contents of other values are not checked.
pub(super) fn find(text: &[u8], outer: &str, inner: &str) -> Option<Range<usize>> {
    let mut skim = Skim { text, at: 0 };
    skim.member(outer, |skim| skim.member(inner, Skim::value))
}

/// A position in a text. Every step moves past the part that it reads.
struct Skim<'a> {
    text: &'a [u8],
    at: usize,
}

impl Skim<'_> {
    /// Reads an object, and with `read` the value of its member `key`, which must occur once.
    fn member<T>(&mut self, key: &str, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        let mut found = None;
        self.take(b'{')?;
        while self.peek()? != b'}' {
            let name = self.string()?;
            let name = self.text.get(name.start + 1..name.end - 1)?;
            self.take(b':')?;
            if name.contains(&b'\\') {
                return None;
            }
            if name != key.as_bytes() {
                self.value()?;
            } else if found.replace(read(self)?).is_some() {
                return None;
            }
            if self.peek()? != b'}' {
                self.take(b',')?;
            }
        }
        self.take(b'}')?;
        found
    }

    /// The next byte that is not white space. It is not consumed.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn string(&mut self) -> Option<Range<usize>> {
        self.take(b'"')?;
        let start = self.at - 1;
        loop {
            let rest = self.text.get(self.at..)?;
            let step = memchr2(b'"', b'\\', rest)?;
            self.at += step + 1;
            if rest.get(step) == Some(&b'"') {
                return Some(start..self.at);
            }
            // An escaped quote does not end a string.
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<Range<usize>> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => return self.string(),
            b'{' | b'[' => self.nested()?,
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || *byte <= b' ';
                self.at += self.text.get(start..)?.iter().position(ends)?;
            }
        }
        (self.at > start).then_some(start..self.at)
    }

    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.text.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn found(text: &str) -> Option<&str> {
        find(text.as_bytes(), "linux", "seccomp").map(|range| &text[range])
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        for (text, value) in [
            (r#"{"linux":{"seccomp":{"a":[1,{"b":"}"}]}}}"#, r#"{"a":[1,{"b":"}"}]}"#),
            ("{ \"a\" : [ ] ,\n\"linux\" : { \"x\":1, \"seccomp\" : [ 1 ] } }", "[ 1 ]"),
            (r#"{"linux":{"seccomp":"\"}{\\"},"seccomp":2}"#, r#""\"}{\\""#),
            (r#"{"linux":{"seccomp":null,"y":-1.5e3},"z":true}"#, "null"),
            ("{\"linux\":{\"seccomp\":12\n}}", "12"),
        ] {
            assert_eq!(found(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_found() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"linux":{}}"#,
            r#"{"linux":[{"seccomp":1}]}"#,
            r#"{"seccomp":{"linux":1}}"#,
            r#"{"linux":{"seccomp":1,"seccomp":2}}"#,
            r#"{"linux":{"seccomp":1},"linux":{}}"#,
            r#"{"linux":{"seccom\u0070":1,"seccomp":2}}"#,
            r#"{"linux":{"seccomp":1}"#,
            r#"{"linux":{"seccomp":{]}"#,
            r#"{"linux":{"seccomp":,}}"#,
            r#"{"linux":{"seccomp":"a"#,
            r#"{"linux":{"seccomp":"\"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    /// Any JSON, compact or indented, with or without the key, in any place.
    fn text() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec!["linux", "seccomp", "a", "\"", "\\", "{"]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],:a\\n ]{0,6}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4).prop_map(|members| {
                    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
                }),
            ]
        });
        (value, any::<bool>()).prop_map(|(value, pretty)| {
            if pretty { format!("{value:#}") } else { value.to_string() }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_found_is_what_a_parser_finds(text in text()) {
            let value: Value = serde_json::from_str(&text).unwrap();
            if let Some(found) = found(&text) {
                let found: Value = serde_json::from_str(found).unwrap();
                prop_assert_eq!(Some(&found), value.pointer("/linux/seccomp"));
            }
        }

        #[test]
        fn no_text_is_too_strange(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\":,\\ \nlinuxseccomp1".to_vec()), 0..60,
        )) {
            if let Some(range) = find(&bytes, "linux", "seccomp") {
                prop_assert!(range.start < range.end && range.end <= bytes.len());
            }
        }
    }
}
