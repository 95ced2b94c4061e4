//! Where an engine whose file is TOML lists its runtimes.

use super::toml_settings::{self, Setting, SettingValue, find, parse, text};
use super::{EditError, EditedText, NAME, Wiring, files};
use crate::model::text::shown_line;
use std::path::{Path, PathBuf};
use toml_edit::DocumentMut;

/// Where an engine lists its runtimes: in the table `runtimes` below this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) table: &'a [&'a str],
    /// The key beside them that names the default.
    pub(super) default: &'a str,
}

impl<'a> Layout<'a> {
    pub(super) fn below(&self, more: &[&'a str]) -> Vec<&'a str> {
        [self.table, more].concat()
    }

    /// The setting that makes our runtime the default, if it is to be.
    pub(super) fn by_default(&self, wiring: &Wiring<'_>) -> Option<Setting<'a>> {
        let (table, key, value) = (self.table.to_vec(), self.default, SettingValue::Text(NAME));
        wiring.default_runtime.then_some(Setting { table, key, value })
    }

    /// The drop-ins beside `ours`, and the main file above them, that make gpulease the default.
    pub(super) fn others_with_our_default(&self, ours: &Path, main: &str) -> Vec<PathBuf> {
        let Some(dir) = ours.parent() else { return Vec::new() };
        let mut files = files::drop_ins(dir, "*.conf");
        files.retain(|path| path != ours);
        files.extend(dir.parent().map(|above| above.join(main)));
        files.retain(|path| {
            let text = files::read_text(path).ok().flatten().unwrap_or_default();
            parse(&text).is_ok_and(|document| self.is_default(&document))
        });
        files
    }

    /// The notes for drop-ins behind `ours` that make another runtime the default.
    pub(super) fn later_defaults(&self, ours: &Path) -> Vec<String> {
        let is_drop_in = |dir: &&Path| dir.extension().is_some_and(|extension| extension == "d");
        let Some(dir) = ours.parent().filter(is_drop_in) else { return Vec::new() };
        let later = files::drop_ins(dir, "*.conf").into_iter().filter(|path| path.as_path() > ours);
        let other_default = |path: PathBuf| {
            let table = files::read_table(&path).ok().flatten()?;
            let default = files::text_at(&table, &self.below(&[self.default]))?;
            let default = Some(default).filter(|name| name != NAME)?;
            Some(format!(
                "`{}` makes `{}` the default runtime, after this file",
                path.display(),
                shown_line(&default)
            ))
        };
        later.filter_map(other_default).collect()
    }

    /// Whether a file makes ours the default.
    pub(super) fn is_default(&self, document: &DocumentMut) -> bool {
        text(document, self.table, self.default) == Some(NAME)
    }

    /// Takes the runtime out of a text; `before` is the text from before it was put in, `added` the
    /// parts that were appended then.
    pub(super) fn unwire(
        &self,
        body: &str,
        before: Option<&str>,
        added: &[String],
    ) -> Result<EditedText, EditError> {
        toml_settings::unwire(body, before, added, self, |_| true)
    }

    /// Whether a text has the runtime, as far as it can be read.
    pub(super) fn is_in(&self, body: &str) -> bool {
        parse(body).is_ok_and(|document| self.is_wired(&document))
    }

    /// Whether a file has the runtime.
    pub(super) fn is_wired(&self, document: &DocumentMut) -> bool {
        find(document, &self.below(&["runtimes"])).is_some_and(|table| table.contains_key(NAME))
            || self.is_default(document)
    }
}
