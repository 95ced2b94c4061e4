//! Settings in a TOML file: put in and taken out, while all else stays as it was written.
//!
//! What has no table yet is appended as text, so that the bytes before it cannot change and
//! the very same text can be taken out again. Only what lies in tables that are there already
//! is edited through `toml_edit`.

use super::text::place;
use super::{Edit, Fault, default_restored};
use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value};

/// One value that is to be in the file.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The table's name, part by part.
    pub(super) table: Vec<&'static str>,
    pub(super) key: &'static str,
    pub(super) value: Wanted,
}

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Text(String),
    Bool(bool),
    Number(i64),
    /// A list of just this.
    Only(String),
    /// A list with at least this, put behind what other files have (containers.conf(5),
    /// "Appending to String Arrays").
    Appended(String),
    /// A list with at least these.
    Includes(&'static [&'static str]),
}

impl Wanted {
    fn is_met_by(&self, item: Option<&Item>) -> bool {
        let Some(item) = item else { return false };
        match self {
            Self::Text(text) => item.as_str() == Some(text),
            Self::Bool(bool) => item.as_bool() == Some(*bool),
            Self::Number(number) => item.as_integer() == Some(*number),
            Self::Only(text) => texts(item).as_deref() == Some(&[text.as_str()]),
            Self::Appended(wanted) => item
                .as_array()
                .is_some_and(|list| list.iter().any(|value| value.as_str() == Some(wanted))),
            Self::Includes(wanted) => {
                texts(item).is_some_and(|found| wanted.iter().all(|text| found.contains(text)))
            }
        }
    }

    fn value(&self, old: Option<&Item>) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bool(bool) => (*bool).into(),
            Self::Number(number) => (*number).into(),
            Self::Only(text) => Array::from_iter([text.as_str()]).into(),
            Self::Appended(wanted) => {
                let mut list = old.and_then(Item::as_array).cloned().unwrap_or_default();
                list.push(wanted.as_str());
                let has_attribute = list.iter().any(|value| value.as_inline_table().is_some());
                if !has_attribute {
                    list.push(InlineTable::from_iter([("append", true)]));
                }
                list.into()
            }
            Self::Includes(wanted) => {
                let mut list = old.and_then(Item::as_array).cloned().unwrap_or_default();
                let found = old.and_then(texts).unwrap_or_default();
                wanted
                    .iter()
                    .filter(|text| !found.contains(text))
                    .for_each(|text| list.push(*text));
                list.into()
            }
        }
    }
}

fn texts(item: &Item) -> Option<Vec<&str>> {
    item.as_array()?.iter().map(Value::as_str).collect()
}

pub(super) fn parse(body: &str) -> Result<DocumentMut, Fault> {
    body.parse().map_err(|error: toml_edit::TomlError| {
        let (line, column) = place(body, error.span().map_or(0, |span| span.start));
        Fault::Syntax { line, column, message: error.message().replace('\n', ", ") }
    })
}

/// What is at a path, if it is a table of either kind.
pub(super) fn find<'a>(document: &'a DocumentMut, path: &[&str]) -> Option<&'a dyn TableLike> {
    let found = path.iter().try_fold(document.as_item(), |item, key| item.get(key))?;
    found.as_table_like()
}

fn find_mut<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    let root = document.as_item_mut();
    path.iter().try_fold(root, |item, key| item.get_mut(key))?.as_table_like_mut()
}

/// The text at a path.
pub(super) fn text<'a>(document: &'a DocumentMut, path: &[&str], key: &str) -> Option<&'a str> {
    find(document, path)?.get(key)?.as_str()
}

/// Puts settings in; the text is the same if they are there. `comment` goes above what is appended.
pub(super) fn wire(body: &str, settings: &[Setting], comment: &str) -> Result<Edit, Fault> {
    let mut document = parse(body)?;
    for setting in settings {
        check_shape(&document, &setting.table)?;
    }
    let missing: Vec<&Setting> = settings
        .iter()
        .filter(|setting| {
            let table = find(&document, &setting.table);
            !setting.value.is_met_by(table.and_then(|table| table.get(setting.key)))
        })
        .collect();
    if missing.is_empty() {
        return Ok(Edit::new(body.to_owned()));
    }
    let is_empty = document.as_table().is_empty();
    let (inside, outside): (Vec<&Setting>, Vec<&Setting>) =
        missing.into_iter().partition(|s| !is_empty && find(&document, &s.table).is_some());
    for setting in &inside {
        if let Some(table) = find_mut(&mut document, &setting.table) {
            put(table, setting.key, &setting.value);
        }
    }
    let mut text = if inside.is_empty() { body.to_owned() } else { document.to_string() };
    let mut added = Vec::new();
    if !outside.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let separator = if text.is_empty() { "" } else { "\n" };
        let block = format!("{separator}{comment}{}", written(&outside));
        let whole = format!("{text}{block}");
        if holds(&whole, settings) {
            text = whole;
            added.push(block);
        } else {
            // A parent is written inline, or the table has a header that must not be repeated.
            for setting in &outside {
                put(make(&mut document, &setting.table)?, setting.key, &setting.value);
            }
            text = document.to_string();
        }
    }
    if holds(&text, settings) { Ok(Edit { text, added, ..Edit::default() }) } else { Err(odd()) }
}

fn odd() -> Fault {
    let expected = "laid out in a way that gpulease can edit";
    Fault::Shape { key: "the file".to_owned(), expected }
}

/// Whether a text is valid and has all that it should.
fn holds(text: &str, settings: &[Setting]) -> bool {
    parse(text).is_ok_and(|document| {
        settings.iter().all(|setting| {
            let table = find(&document, &setting.table);
            setting.value.is_met_by(table.and_then(|table| table.get(setting.key)))
        })
    })
}

fn check_shape(document: &DocumentMut, path: &[&str]) -> Result<(), Fault> {
    let mut item = document.as_item();
    for (depth, key) in path.iter().enumerate() {
        let Some(next) = item.get(key) else { return Ok(()) };
        if next.as_table_like().is_none() {
            let path = path.iter().take(depth + 1).copied().collect::<Vec<_>>().join(".");
            return Err(Fault::Shape { key: format!("`{path}`"), expected: "a table" });
        }
        item = next;
    }
    Ok(())
}

/// Sets a value, in the place and with the comment of the old one.
fn put(table: &mut dyn TableLike, key: &str, wanted: &Wanted) {
    let new = wanted.value(table.get(key));
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

/// Makes the tables of a path, inline where their parent is.
fn make<'a>(
    document: &'a mut DocumentMut,
    path: &[&'static str],
) -> Result<&'a mut dyn TableLike, Fault> {
    let mut item = document.as_item_mut();
    for key in path {
        let is_inline = item.is_inline_table();
        let table = item.as_table_like_mut().ok_or_else(odd)?;
        item = table.entry(key).or_insert_with(|| {
            if is_inline {
                Item::Value(Value::InlineTable(InlineTable::new()))
            } else {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            }
        });
    }
    item.as_table_like_mut().ok_or_else(odd)
}

fn written(settings: &[&Setting]) -> String {
    let mut text = String::new();
    let mut table: Option<&[&str]> = None;
    for setting in settings {
        if table != Some(&setting.table) {
            if table.is_some() {
                text.push('\n');
            }
            if !setting.table.is_empty() {
                text.push_str(&header(&setting.table));
            }
            table = Some(&setting.table);
        }
        text.push_str(&format!("{} = {}\n", setting.key, setting.value.value(None)));
    }
    text
}

fn header(path: &[&str]) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let parts = path.iter().map(|part| {
        if part.chars().all(is_bare) { (*part).to_owned() } else { format!("\"{part}\"") }
    });
    format!("[{}]\n", parts.collect::<Vec<_>>().join("."))
}

/// What is to go.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// The table that has the entry.
    pub(super) table: &'a [&'a str],
    /// The table and the key that name the default.
    pub(super) default: (&'a [&'a str], &'a str),
    /// Texts that were appended and can be cut out again, if the rest is then good.
    pub(super) added: &'a [String],
    pub(super) is_good: fn(&DocumentMut) -> bool,
}

/// Takes an entry out; `before` is the file as it was before the entry was put in.
pub(super) fn unwire(body: &str, before: Option<&str>, entry: &Entry<'_>) -> Result<Edit, Fault> {
    let mut edit = Edit::default();
    let mut body = body.to_owned();
    let mut document = parse(&body)?;
    for added in entry.added {
        if let Some(cut) = without(&body, added)
            && let Ok(rest) = parse(&cut)
            && (entry.is_good)(&rest)
        {
            (body, document) = (cut, rest);
        }
    }
    let was = before.and_then(|text| parse(text).ok()).unwrap_or_default();
    let mut is_edited = false;
    let mut kept = String::new();
    if find(&document, entry.table).is_some_and(|table| table.contains_key(super::NAME)) {
        is_edited = true;
        kept.push_str(&remove(&mut document, entry.table, super::NAME));
        kept.push_str(&prune(&mut document, &was, entry.table));
    }
    let (table, key) = entry.default;
    if text(&document, table, key) == Some(super::NAME) {
        is_edited = true;
        let old = text(&was, table, key);
        match (old.filter(|old| *old != super::NAME), find_mut(&mut document, table)) {
            (Some(old), Some(table)) => put(table, key, &Wanted::Text(old.to_owned())),
            _ => {
                kept.push_str(&remove(&mut document, table, key));
                kept.push_str(&prune(&mut document, &was, table));
            }
        }
        edit.notes.push(default_restored(old));
    }
    if !kept.is_empty() {
        let trailing = document.trailing().as_str().unwrap_or_default();
        document.set_trailing(format!("{kept}{trailing}"));
    }
    edit.text = if is_edited { document.to_string() } else { body };
    Ok(edit)
}

/// The text without what was appended. Not if somebody has put a key behind it: that would fall
/// into the table before.
fn without(body: &str, added: &str) -> Option<String> {
    let (before, after) = body.split_once(added).filter(|_| !added.is_empty())?;
    let mut lines = after.lines().map(str::trim_start);
    let next = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    next.is_none_or(|line| line.starts_with('[')).then(|| format!("{before}{after}"))
}

/// Takes one key out, and the tables that are empty without it and were not there before.
pub(super) fn take_out(
    body: &str,
    before: Option<&str>,
    table: &[&str],
    key: &str,
) -> Result<String, Fault> {
    let mut document = parse(body)?;
    let was = before.and_then(|text| parse(text).ok()).unwrap_or_default();
    let mut kept = remove(&mut document, table, key);
    kept.push_str(&prune(&mut document, &was, table));
    let trailing = document.trailing().as_str().unwrap_or_default();
    document.set_trailing(format!("{kept}{trailing}"));
    Ok(document.to_string())
}

/// Takes a key out of a table. Comments above it that are not ours may be about something else,
/// such as an example at the end of the file after which our entry was appended: they are given
/// back, to be kept.
fn remove(document: &mut DocumentMut, table: &[&str], key: &str) -> String {
    let Some(table) = find_mut(document, table) else { return String::new() };
    let above =
        table.key(key).and_then(|key| key.leaf_decor().prefix()).and_then(RawString::as_str);
    let mut comments = foreign(above.unwrap_or_default());
    if let Some(Item::Table(gone)) = table.remove(key) {
        comments
            .push_str(&foreign(gone.decor().prefix().and_then(RawString::as_str).unwrap_or("")));
    }
    comments
}

fn foreign(comments: &str) -> String {
    let is_foreign =
        |line: &&str| line.trim_start().starts_with('#') && !line.contains(super::COMMENT_MARK);
    if !comments.lines().any(|line| is_foreign(&line)) {
        return String::new();
    }
    let lines = comments.lines().filter(|line| line.is_empty() || is_foreign(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Removes the tables of a path that are empty now and were not there before.
fn prune(document: &mut DocumentMut, was: &DocumentMut, path: &[&str]) -> String {
    let mut comments = String::new();
    for depth in (1..=path.len()).rev() {
        let Some((path, (key, parent))) =
            path.get(..depth).and_then(|path| Some((path, path.split_last()?)))
        else {
            break;
        };
        if find(document, path).is_some_and(|table| !table.is_empty()) || find(was, path).is_some()
        {
            break;
        }
        comments.push_str(&remove(document, parent, key));
    }
    comments
}
