//! The configuration as a tree of values with positions, read key by key.
//!
//! All tables and all kinds of values are read by the same few functions, because deriving
//! `Deserialize` adds some 20 KB of machine code for each table of the file.

use super::settings::Config;
use super::toml_text::{TextProblem, explain, problem};
use serde::de::value::Error as WordError;
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// The keys of a table, each with the function that reads its value.
pub(super) type KeyTable =
    &'static [(&'static str, fn(&mut Config, Value<'_>) -> Result<(), Wrong>)];

/// Reads a file with these keys into `config`, whose content is of no use after an error. The error
/// is the first one: syntax, then unknown keys and values in the order of the keys.
pub(super) fn read(text: &str, keys: KeyTable, config: &mut Config) -> Result<(), TextProblem> {
    let table = DeTable::parse(text).map_err(|error| explain(text, error))?.into_inner();
    read_table(table, keys, config).map_err(|wrong| {
        let key = (!wrong.keys.is_empty()).then(|| wrong.keys.join("."));
        problem(text, wrong.span.start, key.as_deref(), &wrong.message)
    })
}

fn read_table(table: DeTable<'_>, keys: KeyTable, config: &mut Config) -> Result<(), Wrong> {
    for (key, value) in table {
        let name = key.get_ref();
        let Some((name, take)) = keys.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = keys.iter().map(|(known, _)| *known).collect();
            let known = known.join("`, `");
            let message = format!("unknown field `{name}`, expected one of `{known}`");
            return Err(Wrong { span: key.span(), keys: Vec::new(), message });
        };
        take(config, Value(value)).map_err(|mut wrong| {
            wrong.keys.insert(0, *name);
            wrong
        })?;
    }
    Ok(())
}

/// A fault of a value, and its position.
pub(super) struct Wrong {
    /// The position of the value, in bytes of the text.
    span: Range<usize>,
    /// The keys that lead to the value.
    keys: Vec<&'static str>,
    message: String,
}

/// A value that has not been read yet.
pub(super) struct Value<'i>(Spanned<DeValue<'i>>);

impl<'i> Value<'i> {
    /// Reads a text and converts it by `check`.
    pub(super) fn checked<T>(self, check: fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
        let (text, span) = self.text()?;
        check(&text).map_err(|message| Wrong { span, keys: Vec::new(), message })
    }

    /// Reads a list of texts and converts each by `check`. The position of an error is the list's.
    pub(super) fn checked_list<T>(
        self,
        check: fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Wrong> {
        let span = self.0.span();
        let mut all = Vec::new();
        for value in self.list()? {
            let at_list = |message| Wrong { span: span.clone(), keys: Vec::new(), message };
            all.push(check(&value.text()?.0).map_err(at_list)?);
        }
        Ok(all)
    }

    /// Reads one of the words of an enumeration.
    pub(super) fn word<T: Deserialize<'static>>(self) -> Result<T, Wrong> {
        let (text, span) = self.text()?;
        let word = text.into_deserializer();
        T::deserialize(word).map_err(|error: WordError| Wrong {
            span,
            keys: Vec::new(),
            message: error.to_string(),
        })
    }

    /// Reads the values of a list.
    pub(super) fn list(self) -> Result<impl Iterator<Item = Value<'i>>, Wrong> {
        let span = self.0.span();
        match self.0.into_inner() {
            DeValue::Array(list) => Ok(list.into_iter().map(Value)),
            other => Err(wrong_kind(other, span, "a sequence")),
        }
    }

    /// Reads a table with these keys into `config`.
    pub(super) fn table(self, config: &mut Config, keys: KeyTable) -> Result<(), Wrong> {
        let span = self.0.span();
        match self.0.into_inner() {
            DeValue::Table(table) => read_table(table, keys, config),
            other => Err(wrong_kind(other, span, "a table")),
        }
    }

    fn text(self) -> Result<(String, Range<usize>), Wrong> {
        let span = self.0.span();
        match self.0.into_inner() {
            DeValue::String(text) => Ok((text.into_owned(), span)),
            other => Err(wrong_kind(other, span, "a string")),
        }
    }
}

fn wrong_kind(value: DeValue<'_>, span: Range<usize>, expected: &'static str) -> Wrong {
    let deserializer = ValueDeserializer::from(Spanned::new(span.clone(), value));
    let message = match deserializer.deserialize_any(Nothing(expected)) {
        Ok(never) => match never {},
        Err(error) => error.message().to_owned(),
    };
    Wrong { span, keys: Vec::new(), message }
}

/// Accepts no value. Its errors say what was found and what was expected.
struct Nothing(&'static str);

impl Visitor<'_> for Nothing {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
