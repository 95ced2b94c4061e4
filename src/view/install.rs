//! The edits of engines' configuration files.

use crate::engines::EngineFile;
use serde::Serialize;
use std::path::Path;

/// The edit of one file, by `install` or `uninstall`.
#[derive(Debug, Serialize)]
pub struct EngineEdit {
    pub engine: &'static str,
    pub path: String,
    /// The gpulease-runtime that the file names; of `install` only.
    pub runtime: Option<String>,
    pub changed: bool,
    pub dry_run: bool,
    pub diff: String,
    /// The record with the file as it was.
    pub backup: Option<String>,
    pub reload: Option<EngineReload>,
    pub notes: Vec<String>,
    /// The edits of other files that belong to this one.
    pub also: Vec<Self>,
    /// The outcome in words. It stands behind the diff.
    #[serde(skip)]
    pub text: String,
}

/// The command that makes the engine read its file.
#[derive(Debug, Serialize)]
pub struct EngineReload {
    /// Null where none is needed.
    pub command: Option<String>,
    /// Whether it was run.
    pub done: bool,
}

/// The edits of every recorded file.
#[derive(Debug, Default, Serialize)]
pub struct EngineEdits {
    pub files: Vec<EngineEdit>,
}

impl EngineEdit {
    pub fn new(file: EngineFile, path: &Path, dry_run: bool) -> Self {
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

    #[must_use]
    pub fn saying(self, text: String) -> Self {
        Self { text, ..self }
    }
}

impl EngineReload {
    /// A line for people.
    pub fn line(&self) -> String {
        match &self.command {
            None => "next: nothing; the file is read when it is needed\n".to_owned(),
            Some(command) if self.done => format!("done: {command}\n"),
            Some(command) => format!("next: {command}\n"),
        }
    }
}
