//! CRI-O: a runtime handler in a drop-in of crio.conf.
//!
//! CRI-O hands all annotations of a pod to the runtime; its `allowed_annotations` are for its own
//! experimental ones, and it does not start with a name there that it does not know.

use super::tables::{self, Entry, Setting, Wanted};
use super::{Edit, Fault, NAME, Wiring};
use toml_edit::DocumentMut;

const RUNTIME: &[&str] = &["crio", "runtime"];
const RUNTIMES: &[&str] = &["crio", "runtime", "runtimes"];
const OURS: &[&str] = &["crio", "runtime", "runtimes", NAME];
const DEFAULT: &str = "default_runtime";

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let mut settings = Vec::new();
    if wiring.default_runtime {
        let value = Wanted::Text(NAME.to_owned());
        settings.push(Setting { table: RUNTIME.to_vec(), key: DEFAULT, value });
    }
    for (key, text) in [("runtime_path", wiring.runtime), ("runtime_type", "oci")] {
        let value = Wanted::Text(text.to_owned());
        settings.push(Setting { table: OURS.to_vec(), key, value });
    }
    tables::wire(body, &settings, super::COMMENT)
}

pub(super) fn unwire(body: &str, before: Option<&str>, added: &[String]) -> Result<Edit, Fault> {
    let entry = Entry { table: RUNTIMES, default: (RUNTIME, DEFAULT), added, is_good: |_| true };
    tables::unwire(body, before, &entry)
}

/// Whether a file has the runtime.
pub(super) fn is_wired(document: &DocumentMut) -> bool {
    tables::find(document, OURS).is_some() || is_default(document)
}

/// Whether a file makes ours the default.
pub(super) fn is_default(document: &DocumentMut) -> bool {
    tables::text(document, RUNTIME, DEFAULT) == Some(NAME)
}
