//! Reading the files of engines: anything may be in them.

use super::super::configuration::foreign;
use super::super::finding::{Findings, quoted};
use crate::config::parse_toml;
use crate::host::Host;
use crate::model::text::glob;
use crate::sys::checked::read_foreign;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// More than any engine's configuration.
const FILE_MAX: u64 = 1 << 20;
/// More files than anybody keeps in a directory of drop-ins.
const DROP_INS_MAX: usize = 256;

/// The text of a file: `Ok(None)` where there is none, `Err` where that became a finding.
pub(in super::super) fn text(
    engine: &str,
    path: &Path,
    host: &Host,
    found: &mut Findings,
) -> Result<Option<String>, ()> {
    let why = match read_foreign(path, FILE_MAX) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => return Ok(Some(text)),
            Err(_) => "it is not text".to_owned(),
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !host.is_root() => {
            found.unchecked(path, &error);
            return Err(());
        }
        Err(error) => error.to_string(),
    };
    invalid(engine, path, &why, found);
    Err(())
}

/// The finding for a file that its engine cannot read either.
pub(super) fn invalid(engine: &str, path: &Path, why: &str, found: &mut Findings) {
    let (path, why) = (quoted(path), foreign(why));
    let text = format!("{engine} cannot read {path}: {why}");
    found.fault("engine-config-invalid", text, format!("correct {path}"));
}

/// A TOML file, as [`text`].
pub(super) fn table(
    engine: &str,
    path: &Path,
    host: &Host,
    found: &mut Findings,
) -> Result<Option<Table>, ()> {
    let Some(text) = text(engine, path, host, found)? else { return Ok(None) };
    match parse_toml::<Table>(&text) {
        Ok(table) => Ok(Some(table)),
        Err(problem) => {
            invalid(engine, path, &problem.to_string(), found);
            Err(())
        }
    }
}

/// The TOML files in this order, later ones over earlier ones; `Ok(None)` if none is there.
pub(super) fn merged(
    engine: &str,
    files: &[PathBuf],
    host: &Host,
    found: &mut Findings,
) -> Result<Option<Table>, ()> {
    let mut all = None;
    for path in files {
        if let Some(table) = table(engine, path, host, found)? {
            merge(all.get_or_insert_with(Table::new), table);
        }
    }
    Ok(all)
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

/// The files of a directory whose name fits `pattern`, in the order of their names.
pub(in super::super) fn drop_ins(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else { return Vec::new() };
    let paths = listing.take(DROP_INS_MAX).flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| glob(pattern, name))
    };
    let mut paths: Vec<PathBuf> = paths.filter(fits).collect();
    paths.sort();
    paths
}

/// The value at a path of keys.
pub(super) fn at<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (last, tables) = keys.split_last()?;
    let mut table = table;
    for key in tables {
        table = table.get(*key)?.as_table()?;
    }
    table.get(*last)
}

/// The strings of an array; others in it are left out.
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
