//! Podman: a runtime in a drop-in of containers.conf.
//!
//! `runtime_supports_json` is left as it is. It makes Podman read errors out of a log in which
//! there must be exactly one JSON object; without it Podman passes on what the runtime says on
//! stderr, which is what ours says anyway. And to set it would replace Podman's own list:
//! Podman before 4.8 cannot append to it.

use super::tables::{self, Entry, Setting, Wanted};
use super::{Edit, Fault, NAME, Wiring};
use toml_edit::DocumentMut;

const ENGINE: &[&str] = &["engine"];
const RUNTIMES: &[&str] = &["engine", "runtimes"];
const DEFAULT: &str = "runtime";

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let mut settings = Vec::new();
    if wiring.default_runtime {
        let value = Wanted::Text(NAME.to_owned());
        settings.push(Setting { table: ENGINE.to_vec(), key: DEFAULT, value });
    }
    // A list of places to look for the program.
    let value = Wanted::Only(wiring.runtime.to_owned());
    settings.push(Setting { table: RUNTIMES.to_vec(), key: NAME, value });
    tables::wire(body, &settings, super::COMMENT)
}

pub(super) fn unwire(body: &str, before: Option<&str>, added: &[String]) -> Result<Edit, Fault> {
    let entry = Entry { table: RUNTIMES, default: (ENGINE, DEFAULT), added, is_good: |_| true };
    tables::unwire(body, before, &entry)
}

/// Whether a file has the runtime.
pub(super) fn is_wired(document: &DocumentMut) -> bool {
    tables::find(document, RUNTIMES).is_some_and(|table| table.contains_key(NAME))
        || is_default(document)
}

/// Whether a file makes ours the default.
pub(super) fn is_default(document: &DocumentMut) -> bool {
    tables::text(document, ENGINE, DEFAULT) == Some(NAME)
}
