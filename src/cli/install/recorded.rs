//! `uninstall --recorded`: everything that `install` did on this host, undone. Packages do so
//! before they take the programs away, on which the engines' files would go on to depend.

use super::record::Place;
use super::{Answer, Engine, InstallOptions, uninstall};
use crate::failure::Failure;
use crate::model::code::Code;
use serde_json::Value;

/// Undoes each `install` that has a record. One that cannot be undone keeps none of the others
/// from it, and is the answer.
pub(in crate::cli) fn uninstall_recorded(options: &InstallOptions) -> Result<Answer, Failure> {
    let places = Place::all(&options.state_dir)?;
    if places.is_empty() {
        let text = format!("`{}` has no record; nothing to do\n", options.state_dir.display());
        return Ok(Answer::new(text, Value::Array(Vec::new())));
    }
    let (mut text, mut reports, mut failures) = (String::new(), Vec::new(), Vec::new());
    for place in &places {
        match one(place, options) {
            Ok(answer) => {
                text.push_str(&answer.text);
                reports.push(answer.json);
            }
            Err(failure) => failures.push(failure),
        }
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

fn one(place: &Place, options: &InstallOptions) -> Result<Answer, Failure> {
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
    uninstall(engine, &options)
}
