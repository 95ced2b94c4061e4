//! The report of an edit, for programs and for people.

use super::reload::Reload;
use super::{Answer, Output, Paint};
use crate::engines::EngineFile;
use crate::model::text::{shown_line, shown_lines};
use serde::Serialize;
use std::path::Path;

/// The edit of one file: the JSON of both commands.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    engine: &'static str,
    path: String,
    /// The gpulease-runtime that the file names; of `install` only.
    pub(super) runtime: Option<String>,
    pub(super) changed: bool,
    dry_run: bool,
    pub(super) diff: String,
    /// The record with the file as it was.
    pub(super) backup: Option<String>,
    pub(super) reload: Option<Reload>,
    pub(super) notes: Vec<String>,
    /// The other files, where there are more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<Self>,
    /// For people, behind the diff.
    #[serde(skip)]
    text: String,
}

impl Report {
    pub(super) fn new(file: EngineFile, path: &Path, dry_run: bool) -> Self {
        Self {
            engine: file.name(),
            path: path.display().to_string(),
            runtime: None,
            changed: false,
            dry_run,
            diff: String::new(),
            backup: None,
            reload: None,
            notes: Vec::new(),
            also: Vec::new(),
            text: String::new(),
        }
    }

    pub(super) fn saying(self, text: String) -> Self {
        Self { text, ..self }
    }
}

/// The answer for the file that was asked for, and others with it.
pub(super) fn answer(report: Report, also: Vec<Report>, output: &Output) -> Answer {
    let reports = || std::iter::once(&report).chain(&also);
    let texts = reports().flat_map(|report| [report.diff.as_str(), &report.text]);
    // The diff has lines of the file, in which any character may be.
    let mut text = shown_lines(&texts.collect::<String>());
    for note in reports().flat_map(|report| &report.notes) {
        text.push_str(&output.line(Paint::Cyan, "note:", &shown_line(note)));
    }
    if let Some(reload) = &report.reload {
        text.push_str(&shown_lines(&reload.line()));
    }
    if reports().any(|report| report.dry_run && !report.diff.is_empty()) {
        text.push_str("\nnothing was changed: it was a dry run\n");
    }
    let report = Report { also, ..report };
    Answer::new(text, serde_json::to_value(&report).unwrap_or_default())
}
