//! Reading the files of engines: anything may be in them.

use super::handler::option;
use crate::config::parse_toml;
use crate::model::text::glob;
use crate::sys::checked::read_foreign;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::{Table, Value};

/// Bytes of a file: more than any engine's configuration has.
const FILE_MAX: u64 = 1 << 20;
/// Files in a directory of drop-ins: more than any engine has.
const DROP_INS_MAX: usize = 256;

/// A file of an engine that cannot be read.
#[derive(Debug, Error)]
#[error("`{path}`: {why}", path = path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub why: Unreadable,
}

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The engine does not understand it either.
    #[error("{0}")]
    Invalid(String),
}

impl ReadError {
    pub(super) fn invalid(path: &Path, why: impl ToString) -> Self {
        Self { path: path.to_owned(), why: Unreadable::Invalid(why.to_string()) }
    }
}

/// The bytes of a file; `Ok(None)` if it is not there.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    read_foreign(path, FILE_MAX)
        .map_err(|error| ReadError { path: path.to_owned(), why: error.into() })
}

/// The text of a file; `Ok(None)` if it is not there.
pub fn read_text(path: &Path) -> Result<Option<String>, ReadError> {
    let Some(bytes) = read_bytes(path)? else { return Ok(None) };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ReadError::invalid(path, "it is not text")),
    }
}

/// A TOML file, as [`read_text`].
pub(super) fn read_table(path: &Path) -> Result<Option<Table>, ReadError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    parse_toml::<Table>(&text).map(Some).map_err(|problem| ReadError::invalid(path, problem))
}

/// Puts `over` over `base`, table by table.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// The files of a directory whose names fit `pattern`, by name.
pub fn drop_ins(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let paths = listing.take(DROP_INS_MAX).flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| glob(pattern, name))
    };
    let mut paths: Vec<PathBuf> = paths.filter(fits).collect();
    paths.sort();
    paths
}

/// The value at a path of keys, in any case: the engines that read TOML do not heed it.
pub(super) fn value_at<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (last, tables) = keys.split_last()?;
    let mut table = table;
    for key in tables {
        table = option(table, key)?.as_table()?;
    }
    option(table, last)
}

/// The text at a path of keys, unless it is empty.
pub(super) fn text_at(table: &Table, keys: &[&str]) -> Option<String> {
    value_at(table, keys)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The strings of an array; other values in it are left out.
pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_key_by_key() {
        let mut base: Table = "[a]\nx = 1\ny = 1\n".parse().unwrap();
        merge(&mut base, "b = 1\n[a]\ny = 2\n".parse().unwrap());
        assert_eq!(base, "b = 1\n[a]\nx = 1\ny = 2\n".parse().unwrap());
    }
}
