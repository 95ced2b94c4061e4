//! Podman: a runtime in a drop-in of containers.conf.
//!
//! `runtime_supports_json` is left as it is. It makes Podman read errors out of a log in which
//! there must be exactly one JSON object; without it Podman passes on what the runtime says on
//! stderr, which is what ours says anyway. And to set it would replace Podman's own list:
//! Podman before 4.8 cannot append to it.

use super::tables::{self, Layout, Setting, Wanted};
use super::{Edit, Fault, NAME, Wiring};

pub(super) const LAYOUT: Layout<'_> = Layout { table: &["engine"], default: "runtime" };

/// Adds the runtime, or sets right what is there.
pub(super) fn wire(body: &str, wiring: &Wiring<'_>) -> Result<Edit, Fault> {
    let table = LAYOUT.below(&["runtimes"]);
    // A list of places to look for the program.
    let runtime = Setting { table, key: NAME, value: Wanted::Only(wiring.runtime) };
    let settings: Vec<_> = LAYOUT.by_default(wiring).into_iter().chain([runtime]).collect();
    tables::wire(body, &settings)
}
