//! `uninstall --recorded`: everything that `install` did on this host, undone. Packages do so
//! before they take the programs away, on which the engines' files would go on to depend.

use super::record::Place;
use super::{Answer, Engine, InstallOptions, Output, uninstall};
use crate::failure::Failure;
use crate::model::code::Code;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Undoes each `install` that has a record. One that cannot be undone keeps none of the others
/// from it, and is the answer.
pub(in crate::cli) fn uninstall_recorded(
    options: &InstallOptions,
    output: &Output,
) -> Result<Answer, Failure> {
    let places = Place::all(&options.state_dir)?;
    if places.is_empty() {
        let text = format!("`{}` has no record; nothing to do\n", options.state_dir.display());
        return Ok(Answer::new(text, Value::Array(Vec::new())));
    }
    let options = &InstallOptions { for_good: true, ..options.clone() };
    let dirs = made_dirs(&places);
    let (mut text, mut reports, mut failures) = (String::new(), Vec::new(), Vec::new());
    for place in &places {
        match one(place, options, output) {
            Ok(answer) => {
                text.push_str(&answer.text);
                reports.push(answer.json);
            }
            Err(failure) => failures.push(failure),
        }
    }
    if !options.dry_run {
        // One that was made for two files goes only now that both are gone.
        dirs.iter().rev().for_each(|dir| drop(std::fs::remove_dir(dir)));
    }
    let failed = failures.len();
    let Some(mut first) = failures.into_iter().next() else {
        return Ok(Answer::new(text, Value::Array(reports)));
    };
    if places.len() > 1 {
        let (done, all) = (places.len() - failed, places.len());
        first.message.push_str(&format!("; of {all} installs {done} are undone"));
    }
    Err(first)
}

/// The directories that were made for all of the files, the outermost first.
fn made_dirs(places: &[Place]) -> BTreeSet<PathBuf> {
    let records = places.iter().filter_map(|place| place.read().ok().flatten());
    records.flat_map(|record| record.made_dirs).collect()
}

fn one(place: &Place, options: &InstallOptions, output: &Output) -> Result<Answer, Failure> {
    let bad = |text: String| {
        let text = format!("cannot use the record `{}`: {text}", place.path.display());
        Failure::new(Code::StateUnavailable, text).hint("move it away, and see `gpulease doctor`")
    };
    let record = place.read()?.ok_or_else(|| bad("it is gone".to_owned()))?;
    let engine = Engine::of_record(&record.engine)
        .ok_or_else(|| bad(format!("the engine `{}` is not known", record.engine)))?;
    let options = InstallOptions { config: Some(record.path), ..options.clone() };
    if Place::of(&options.state_dir, engine, options.config_of(engine))?.path != place.path {
        return Err(bad("it is not that of the file that it names".to_owned()));
    }
    uninstall(engine, &options, output)
}
