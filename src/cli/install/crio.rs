//! CRI-O: a runtime handler in a drop-in of crio.conf.
//!
//! CRI-O hands all annotations of a pod to the runtime; its `allowed_annotations` are for its own
//! experimental ones, and it does not start with a name there that it does not know.

use super::tables::{self, Layout, Setting, Wanted};
use super::{Edit, Fault, NAME, Wiring};

pub(super) const LAYOUT: Layout<'_> =
    Layout { table: &["crio", "runtime"], default: "default_runtime" };

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let ours = [("runtime_path", wiring.runtime), ("runtime_type", "oci")].map(|(key, text)| {
        Setting { table: LAYOUT.below(&["runtimes", NAME]), key, value: Wanted::Text(text) }
    });
    let settings: Vec<_> = LAYOUT.by_default(wiring).into_iter().chain(ours).collect();
    tables::wire(body, &settings)
}
