//! JSON as the runtimes' parsers take it, and not as ours does: members that occur twice are kept,
//! what follows the document is passed over, and so are comments; a lone surrogate is repaired.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::fmt::Write;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it is spelled.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The first document in a text.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let mut reader = Reader { text: text.chars().collect(), at: 0 };
        reader.value(0)
    }

    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn list(&self) -> &[Self] {
        if let Self::List(list) = self { list } else { &[] }
    }

    pub fn members(&self) -> &[(String, Self)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    pub fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    fn write_to(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => write!(text, "{value}").unwrap(),
            Self::Number(spelled) => text.push_str(spelled),
            Self::Text(value) => write_text(value, text),
            Self::List(list) => {
                text.push('[');
                for (index, value) in list.iter().enumerate() {
                    text.push_str(if index == 0 { "" } else { "," });
                    value.write_to(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    text.push_str(if index == 0 { "" } else { "," });
                    write_text(key, text);
                    text.push(':');
                    value.write_to(text);
                }
                text.push('}');
            }
        }
    }
}

/// What begins with this sign is written with escapes: another spelling of the same text.
pub const ESCAPED: char = '\u{e000}';

fn write_text(value: &str, text: &mut String) {
    text.push('"');
    let escapes = value.starts_with(ESCAPED);
    for char in value.chars().filter(|char| *char != ESCAPED) {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            _ if escapes || char < ' ' => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(text, "\\u{unit:04x}").unwrap();
                }
            }
            _ => text.push(char),
        }
    }
    text.push('"');
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn next(&mut self) -> Option<char> {
        let char = self.text.get(self.at).copied();
        self.at += 1;
        char
    }

    fn starts_with(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(index, char)| self.text.get(self.at + index) == Some(&char))
    }

    /// The next sign that is neither white space nor in a comment. It stays the next.
    fn peek(&mut self) -> Option<char> {
        loop {
            let char = *self.text.get(self.at)?;
            if self.starts_with("/*") {
                while !self.starts_with("*/") {
                    self.next().filter(|_| self.at <= self.text.len())?;
                }
                self.at += 2;
            } else if self.starts_with("//") {
                while self.next()? != '\n' {}
            } else if char.is_whitespace() {
                self.at += 1;
            } else {
                return Some(char);
            }
        }
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > 500 {
            return None;
        }
        match self.peek()? {
            '"' => self.string().map(Json::Text),
            '[' => {
                self.take('[')?;
                let mut list = Vec::new();
                while self.peek()? != ']' {
                    list.push(self.value(depth + 1)?);
                    if self.peek()? != ']' {
                        self.take(',')?;
                    }
                }
                self.take(']')?;
                Some(Json::List(list))
            }
            '{' => {
                self.take('{')?;
                let mut members = Vec::new();
                while self.peek()? != '}' {
                    self.peek().filter(|char| *char == '"')?;
                    let key = self.string()?;
                    self.take(':')?;
                    members.push((key, self.value(depth + 1)?));
                    if self.peek()? != '}' {
                        self.take(',')?;
                    }
                }
                self.take('}')?;
                Some(Json::Object(members))
            }
            _ => {
                let mut word = String::new();
                while let Some(char) = self
                    .text
                    .get(self.at)
                    .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '+' | '.'))
                {
                    word.push(*char);
                    self.at += 1;
                }
                match word.as_str() {
                    "null" => Some(Json::Null),
                    "true" => Some(Json::Bool(true)),
                    "false" => Some(Json::Bool(false)),
                    _ if word.parse::<f64>().is_ok() => Some(Json::Number(word)),
                    _ => None,
                }
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let char = self.next()?;
            let char = match char {
                '"' => return Some(String::from_utf16_lossy(&units)),
                '\\' => match self.next()? {
                    'u' => {
                        let digits: String = (0..4).filter_map(|_| self.next()).collect();
                        units.push(u16::from_str_radix(&digits, 16).ok()?);
                        continue;
                    }
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    other if matches!(other, '"' | '\\' | '/') => other,
                    _ => return None,
                },
                other => other,
            };
            units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
        }
    }
}
