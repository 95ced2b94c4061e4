//! The runtime that a node uses, from which gpulease's handler takes its settings.
//!
//! containerd and CRI-O start pods with the settings of one runtime: its cgroup driver, its monitor,
//! its base spec. gpulease's handler starts the same pods, so it needs the same settings. Both
//! engines read their options without regard to case, and the names of runtimes with it (Go's
//! `go-toml` and `BurntSushi/toml`).

use toml::{Table, Value};
use toml_edit::InlineTable;

/// The value of an option, in any case.
pub(super) fn option<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let found = || table.iter().find(|(other, _)| other.eq_ignore_ascii_case(key));
    table.get(key).or_else(|| found().map(|(_, value)| value))
}

/// The first runtime of these names that is listed and `fits`.
pub(super) fn first_of<'a>(
    runtimes: &'a Table,
    names: &[Option<&str>],
    fits: fn(&Table) -> bool,
) -> Option<(&'a str, &'a Table)> {
    names.iter().flatten().find_map(|name| {
        let (name, value) = runtimes.get_key_value(*name)?;
        let table = value.as_table().filter(|table| fits(table))?;
        Some((name.as_str(), table))
    })
}

/// The settings of a runtime that its handler can take: all but `own`, which choose its program.
pub(super) fn copied(table: &Table, own: &[&str]) -> Vec<(String, toml_edit::Value)> {
    let is_own = |key: &str| own.iter().any(|own| own.eq_ignore_ascii_case(key));
    let copied = |(key, value): (&String, &Value)| Some((key.clone(), editable(value)?));
    table.iter().filter(|(key, _)| !is_own(key)).filter_map(copied).collect()
}

/// A value as the editor has it; `None` for a date, which no engine reads there.
fn editable(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(bool) => (*bool).into(),
        Value::Datetime(_) => return None,
        Value::Array(values) => {
            toml_edit::Array::from_iter(values.iter().filter_map(editable)).into()
        }
        Value::Table(table) => {
            let entries = table.iter().filter_map(|(key, value)| Some((key, editable(value)?)));
            InlineTable::from_iter(entries).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_program_is_copied() {
        let text = "Runtime_Path = '/x'\nprivileged = true\nn = 1\nlist = ['a']\n[t]\nk = 1.5\n";
        let copied = copied(&text.parse().unwrap(), &["runtime_path"]);
        let shown: Vec<String> =
            copied.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(
            shown,
            ["list = [\"a\"]", "n = 1", "privileged = true", "t = { k = 1.5 }"].map(String::from)
        );
    }

    #[test]
    fn the_default_is_used_where_it_fits() {
        let runtimes: Table = "[runc]\n[kata]\nvm = 1\n".parse().unwrap();
        let first = |names: &[Option<&str>]| {
            first_of(&runtimes, names, |table| !table.contains_key("vm")).map(|(name, _)| name)
        };
        assert_eq!(first(&[Some("kata"), Some("runc")]), Some("runc"));
        assert_eq!(first(&[Some("gone"), None]), None);
    }
}
