//! `uninstall --recorded`: undoes every `install` on this host. Packages run it before they remove
//! the programs that the engines' files name.

use super::record::RecordFile;
use super::undo::unwire;
use super::{Answer, InstallOptions, Output, report};
use crate::engines::EngineFile;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::view::install::{EngineEdit, EngineEdits};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Undoes each `install` that has a record. Fails with the first that cannot be undone, after it
/// has tried all.
pub(in crate::cli) fn uninstall_recorded(
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let files = RecordFile::all(&options.state_dir)?;
    if files.is_empty() {
        let text = format!("`{}` has no record; nothing to do\n", options.state_dir.display());
        return Ok(Answer::of(text, &EngineEdits::default()));
    }
    let options = &InstallOptions { for_good: true, ..options.clone() };
    let dirs = made_dirs(&files);
    let (mut edits, mut failures) = (Vec::new(), Vec::new());
    for file in &files {
        match one(file, options) {
            Ok(edit) => edits.push(edit),
            Err(failure) => failures.push(failure),
        }
    }
    if !options.dry_run {
        // A directory that was made for two files is empty only now.
        dirs.iter().rev().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
    let failed = failures.len();
    let Some(mut first) = failures.into_iter().next() else {
        let text: String = edits.iter().map(|edit| report::text(edit, output)).collect();
        return Ok(Answer::of(text, &EngineEdits { files: edits }));
    };
    if files.len() > 1 {
        let (done, all) = (files.len() - failed, files.len());
        first.message.push_str(&format!("; of {all} installs {done} are undone"));
    }
    Err(first)
}

/// The directories that were made for all of the files, the outermost first.
fn made_dirs(files: &[RecordFile]) -> BTreeSet<PathBuf> {
    let records = files.iter().filter_map(|file| file.read().ok().flatten());
    records.flat_map(|record| record.made_dirs).collect()
}

fn one(file: &RecordFile, options: &InstallOptions) -> Result<EngineEdit, Failure> {
    let bad = |text: String| {
        let text = format!("cannot use the record `{}`: {text}", file.path.display());
        Failure::new(Code::StateUnavailable, text).hint("move it away, and see `gpulease doctor`")
    };
    let record = file.read()?.ok_or_else(|| bad("it is gone".to_owned()))?;
    let kind = EngineFile::of_name(&record.engine)
        .ok_or_else(|| bad(format!("the engine `{}` is not known", record.engine)))?;
    if RecordFile::of(&options.state_dir, kind, &record.path)?.path != file.path {
        return Err(bad("it is not that of the file that it names".to_owned()));
    }
    unwire(kind, &record.path, options)
}
