//! What was done, for programs and for people.

use super::{Answer, Engine};
use crate::model::text::shown_lines;
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
        }
    }

    /// With a text in front of the notes and one behind them.
    pub(super) fn answer(self, before: &str, after: &str) -> Answer {
        let notes: String = self.notes.iter().map(|note| format!("note: {note}\n")).collect();
        let json = serde_json::to_value(&self).unwrap_or_default();
        // The diff shows whatever stands in the file.
        Answer::new(shown_lines(&format!("{before}{notes}{after}")), json)
    }
}
