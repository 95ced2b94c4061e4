//! Settings in a TOML file: put in and taken out, while all else stays as it was written.
//!
//! A setting whose table is missing is appended as text: the bytes before it cannot change, and the
//! same text can be taken out again. A setting of a table that exists is edited by `toml_edit`.

use super::edit::default_restored;
use super::layout::Layout;
use super::{EditError, EditedText, NAME};
use crate::config::position;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, RawString, Table, TableLike, Value};

/// Above the text that is appended to a TOML file.
pub(super) const COMMENT: &str =
    "# Added by `gpulease install`; `gpulease uninstall` removes it.\n";
const COMMENT_MARK: &str = "`gpulease install`";

/// One value that is to be in the file.
#[derive(Debug, Clone)]
pub(super) struct Setting<'a> {
    /// The table's name, part by part.
    pub(super) table: Vec<&'a str>,
    pub(super) key: &'a str,
    pub(super) value: SettingValue<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum SettingValue<'a> {
    Text(&'a str),
    Bool(bool),
    Number(i64),
    /// A list of just this.
    Only(&'a str),
    /// A list with at least this, put behind what other files have (containers.conf(5),
    /// "Appending to String Arrays").
    Appended(&'a str),
    /// A list with at least these.
    Includes(&'a [String]),
    /// This, unless the key has a value.
    UnlessSet(&'a Value),
}

impl Setting<'_> {
    fn is_in(&self, document: &DocumentMut) -> bool {
        let item = find(document, &self.table).and_then(|table| table.get(self.key));
        item.is_some_and(|item| self.value.is_met_by(item))
    }
}

impl SettingValue<'_> {
    fn is_met_by(self, item: &Item) -> bool {
        match self {
            Self::Text(text) => item.as_str() == Some(text),
            Self::Bool(bool) => item.as_bool() == Some(bool),
            Self::Number(number) => item.as_integer() == Some(number),
            Self::Only(text) => texts(item).as_deref() == Some(&[text]),
            Self::Appended(wanted) => item
                .as_array()
                .is_some_and(|list| list.iter().any(|value| value.as_str() == Some(wanted))),
            Self::Includes(wanted) => {
                let has = |found: &[&str], text: &String| found.contains(&text.as_str());
                texts(item).is_some_and(|found| wanted.iter().all(|text| has(&found, text)))
            }
            Self::UnlessSet(_) => true,
        }
    }

    fn value(self, old: Option<&Item>) -> Value {
        let mut list = old.and_then(Item::as_array).cloned().unwrap_or_default();
        match self {
            Self::Text(text) => return text.into(),
            Self::Bool(bool) => return bool.into(),
            Self::Number(number) => return number.into(),
            Self::Only(text) => return Array::from_iter([text]).into(),
            Self::Appended(wanted) => {
                list.push(wanted);
                if !list.iter().any(Value::is_inline_table) {
                    list.push(InlineTable::from_iter([("append", true)]));
                }
            }
            Self::Includes(wanted) => {
                let found = old.and_then(texts).unwrap_or_default();
                let new = wanted.iter().map(String::as_str).filter(|text| !found.contains(text));
                list.extend(new.collect::<Vec<_>>());
            }
            Self::UnlessSet(value) => return value.clone(),
        }
        list.into()
    }
}

fn texts(item: &Item) -> Option<Vec<&str>> {
    item.as_array()?.iter().map(Value::as_str).collect()
}

pub(super) fn parse(body: &str) -> Result<DocumentMut, EditError> {
    body.parse().map_err(|error: toml_edit::TomlError| {
        let (line, column) = position(body, error.span().map_or(0, |span| span.start));
        EditError::Syntax { line, column, message: error.message().replace('\n', ", ") }
    })
}

/// The table at a path, inline or not.
pub(super) fn find<'a>(document: &'a DocumentMut, path: &[&str]) -> Option<&'a dyn TableLike> {
    let found = path.iter().try_fold(document.as_item(), |item, key| item.get(key))?;
    found.as_table_like()
}

fn find_mut<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    let root = document.as_item_mut();
    path.iter().try_fold(root, |item, key| item.get_mut(key))?.as_table_like_mut()
}

/// The key that a table has, in whatever case, for one whose case does not matter to the engine.
pub(super) fn spelled<'a>(document: &'a DocumentMut, table: &[&str], key: &'a str) -> &'a str {
    let Some(table) = find(document, table).filter(|table| !table.contains_key(key)) else {
        return key;
    };
    table
        .iter()
        .map(|(other, _)| other)
        .find(|other| other.eq_ignore_ascii_case(key))
        .unwrap_or(key)
}

pub(super) fn text<'a>(document: &'a DocumentMut, path: &[&str], key: &str) -> Option<&'a str> {
    find(document, path)?.get(key)?.as_str()
}

/// Puts settings in; the text is the same if they are there.
pub(super) fn wire(body: &str, settings: &[Setting<'_>]) -> Result<EditedText, EditError> {
    let mut document = parse(body)?;
    for setting in settings {
        check_shape(&document, &setting.table)?;
    }
    let missing: Vec<&Setting<'_>> =
        settings.iter().filter(|setting| !setting.is_in(&document)).collect();
    if missing.is_empty() {
        return Ok(EditedText::new(body.to_owned()));
    }
    let is_empty = document.as_table().is_empty();
    let (inside, outside): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|s| !is_empty && find(&document, &s.table).is_some());
    for setting in &inside {
        if let Some(table) = find_mut(&mut document, &setting.table) {
            put(table, setting.key, setting.value);
        }
    }
    let mut text = if inside.is_empty() { body.to_owned() } else { document.to_string() };
    let mut added = Vec::new();
    if !outside.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let separator = if text.is_empty() { "" } else { "\n" };
        let block = format!("{separator}{COMMENT}{}", written(&outside));
        let whole = format!("{text}{block}");
        if holds(&whole, settings) {
            text = whole;
            added.push(block);
        } else {
            // A parent is written inline, or the table has a header that must not be repeated.
            for setting in &outside {
                put(make(&mut document, &setting.table)?, setting.key, setting.value);
            }
            text = document.to_string();
        }
    }
    if holds(&text, settings) {
        Ok(EditedText { text, added, ..EditedText::default() })
    } else {
        Err(odd())
    }
}

fn odd() -> EditError {
    let expected = "laid out in a way that gpulease can edit";
    EditError::Shape { key: "the file".to_owned(), expected }
}

/// Whether a text is valid and has all that it should.
fn holds(text: &str, settings: &[Setting<'_>]) -> bool {
    parse(text).is_ok_and(|document| settings.iter().all(|setting| setting.is_in(&document)))
}

fn check_shape(document: &DocumentMut, path: &[&str]) -> Result<(), EditError> {
    let mut item = document.as_item();
    for (depth, key) in path.iter().enumerate() {
        let Some(next) = item.get(key) else { return Ok(()) };
        if next.as_table_like().is_none() {
            let path = path.iter().take(depth + 1).copied().collect::<Vec<_>>().join(".");
            return Err(EditError::Shape { key: format!("`{path}`"), expected: "a table" });
        }
        item = next;
    }
    Ok(())
}

/// Sets a value, in the place and with the comment of the old one.
fn put(table: &mut dyn TableLike, key: &str, wanted: SettingValue<'_>) {
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
    path: &[&str],
) -> Result<&'a mut dyn TableLike, EditError> {
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

/// The settings as tables with their full names.
pub(super) fn written(settings: &[&Setting<'_>]) -> String {
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
        let key = Key::new(setting.key);
        text.push_str(&format!("{key} = {}\n", setting.value.value(None)));
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

/// Takes our runtime out. `before` is the file's text from before `install`. The `added` parts are
/// cut out as text where the rest `is_good`.
pub(super) fn unwire(
    body: &str,
    before: Option<&str>,
    added: &[String],
    layout: &Layout<'_>,
    is_good: fn(&DocumentMut) -> bool,
) -> Result<EditedText, EditError> {
    let mut edit = EditedText::new(body.to_owned());
    let mut document = parse(body)?;
    for added in added {
        if let Some(cut) = without(&edit.text, added)
            && let Ok(rest) = parse(&cut)
            && is_good(&rest)
        {
            (edit.text, document) = (cut, rest);
        }
    }
    if !layout.is_wired(&document) {
        return Ok(edit);
    }
    let was = before.and_then(|text| parse(text).ok()).unwrap_or_default();
    let mut kept = take(&mut document, &was, &layout.below(&["runtimes"]), NAME);
    let Layout { table, default: key } = *layout;
    if layout.is_default(&document) {
        let old = text(&was, table, key);
        match (old.filter(|old| *old != NAME), find_mut(&mut document, table)) {
            (Some(old), Some(table)) => put(table, key, SettingValue::Text(old)),
            _ => kept.push_str(&take(&mut document, &was, table, key)),
        }
        edit.notes.push(default_restored(old));
    }
    edit.text = keeping(document, &kept);
    Ok(edit)
}

/// The text without an appended part; `None` if a key stands behind that part, because it would come
/// into the table before.
pub(super) fn without(body: &str, added: &str) -> Option<String> {
    let (before, after) = body.split_once(added).filter(|_| !added.is_empty())?;
    // `{{` begins a line of a template.
    let is_blank = |line: &str| line.is_empty() || line.starts_with('#') || line.starts_with("{{");
    let next = after.lines().map(str::trim_start).find(|line| !is_blank(line));
    next.is_none_or(|line| line.starts_with('[')).then(|| format!("{before}{after}"))
}

/// Takes one key out, and the tables that are empty without it and were not there before.
pub(super) fn take_out(
    body: &str,
    before: Option<&str>,
    table: &[&str],
    key: &str,
) -> Result<String, EditError> {
    let mut document = parse(body)?;
    let was = before.and_then(|text| parse(text).ok()).unwrap_or_default();
    let kept = take(&mut document, &was, table, key);
    Ok(keeping(document, &kept))
}

/// The text of a document, with comments at its end that stood above removed entries.
fn keeping(mut document: DocumentMut, kept: &str) -> String {
    let trailing = document.trailing().as_str().unwrap_or_default();
    document.set_trailing(format!("{kept}{trailing}"));
    document.to_string()
}

/// Removes a key, and the tables that are empty without it and were not there before. Gives back
/// the comments that are to be kept.
fn take(document: &mut DocumentMut, was: &DocumentMut, table: &[&str], key: &str) -> String {
    if !find(document, table).is_some_and(|table| table.contains_key(key)) {
        return String::new();
    }
    let mut kept = remove(document, table, key);
    let mut path = table;
    while let Some((last, parent)) = path.split_last()
        && find(document, path).is_none_or(|table| table.is_empty())
        && find(was, path).is_none()
    {
        kept.push_str(&remove(document, parent, last));
        path = parent;
    }
    kept
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
        |line: &&str| line.trim_start().starts_with('#') && !line.contains(COMMENT_MARK);
    if !comments.lines().any(|line| is_foreign(&line)) {
        return String::new();
    }
    let lines = comments.lines().filter(|line| line.is_empty() || is_foreign(line));
    lines.map(|line| format!("{line}\n")).collect()
}
