//! The report of an edit, for people and for programs.

use super::{Answer, Output, Paint};
use crate::model::text::{shown_line, shown_lines};
use crate::view::install::EngineEdit;

/// The answer for the file that was named, and for others that belong to it.
pub(super) fn answer(edit: EngineEdit, also: Vec<EngineEdit>, output: &Output) -> Answer {
    let edit = EngineEdit { also, ..edit };
    Answer::of(text(&edit, output), &edit)
}

pub(super) fn text(edit: &EngineEdit, output: &Output) -> String {
    let edits = || std::iter::once(edit).chain(&edit.also);
    let texts = edits().flat_map(|edit| [edit.diff.as_str(), &edit.text]);
    // The diff shows text of the file, which may be anything.
    let mut text = shown_lines(&texts.collect::<String>());
    for note in edits().flat_map(|edit| &edit.notes) {
        text.push_str(&output.line(Paint::Cyan, "note:", &shown_line(note)));
    }
    if let Some(reload) = &edit.reload {
        text.push_str(&shown_lines(&reload.line()));
    }
    if edits().any(|edit| edit.dry_run && !edit.diff.is_empty()) {
        text.push_str("\nnothing was changed: it was a dry run\n");
    }
    text
}
