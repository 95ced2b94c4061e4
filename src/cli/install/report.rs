//! What was done, for programs and for people.

use super::{Answer, Engine, Output, Paint};
use crate::model::text::{shown_line, shown_lines};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The JSON of both commands.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    engine: &'static str,
    path: String,
    /// The gpulease-runtime that the file names; of `install` only.
    pub(super) runtime: Option<String>,
    pub(super) changed: bool,
    pub(super) dry_run: bool,
    pub(super) diff: String,
    /// The record with the file as it was.
    pub(super) backup: Option<String>,
    pub(super) reload: Value,
    pub(super) notes: Vec<String>,
    /// The other files, where there are more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<Report>,
}

/// What was done to one file.
pub(super) struct Done {
    pub(super) report: Report,
    /// In front of the notes.
    before: String,
    after: String,
}

impl Report {
    pub(super) fn new(engine: Engine, path: &Path, dry_run: bool) -> Self {
        Self {
            engine: engine.name(),
            path: path.display().to_string(),
            runtime: None,
            changed: false,
            dry_run,
            diff: String::new(),
            backup: None,
            reload: Value::Null,
            notes: Vec::new(),
            also: Vec::new(),
        }
    }

    /// With a text in front of the notes and one behind them.
    pub(super) fn done(self, before: &str, after: &str) -> Done {
        Done { report: self, before: before.to_owned(), after: after.to_owned() }
    }
}

impl Done {
    /// Whether there is nothing to tell of.
    pub(super) fn is_idle(&self) -> bool {
        !self.report.changed && self.report.diff.is_empty()
    }

    /// The answer for several files, the first of which is the one that was asked for.
    pub(super) fn answer(self, others: Vec<Self>, output: &Output) -> Answer {
        let mut text = self.before;
        for done in &others {
            text.push_str(&done.before);
        }
        let reports = || std::iter::once(&self.report).chain(others.iter().map(|o| &o.report));
        let notes = reports().flat_map(|report| &report.notes);
        // The diff shows whatever stands in the file.
        let mut text = shown_lines(&text);
        notes.for_each(|note| text.push_str(&output.line(Paint::Cyan, "note:", &shown_line(note))));
        text.push_str(&shown_lines(&self.after));
        if reports().any(|report| report.dry_run && !report.diff.is_empty()) {
            text.push_str("\nnothing was changed: it was a dry run\n");
        }
        let mut report = self.report;
        report.also = others.into_iter().map(|done| done.report).collect();
        let json = serde_json::to_value(&report).unwrap_or_default();
        Answer::new(text, json)
    }
}
