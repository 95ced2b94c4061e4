//! The request of a container that only says that it wants a GPU, and what the
//! configuration makes of it.

use super::finding::{Findings, Level};
use super::inventory;
use crate::host::Host;
use crate::start::lowlevel::vendor_of;
use crate::start::{self, Launch};
use std::path::Path;

/// Whether it is refused, even if nothing were leased. `runtime` is what would be started.
pub(super) fn check(host: &Host, runtime: &Path, found: &mut Findings) {
    // A fault that was found already may be why, and says it better.
    if found.count(Level::Fault) > 0 {
        return;
    }
    let launch = Launch {
        vendor: vendor_of(runtime),
        inventory: |host, config| Ok(inventory::seen(host, config)?),
        by_root: true,
        ..Launch::by(runtime)
    };
    match start::check_default(host, &launch) {
        Ok(()) => found.ok(
            "default-request",
            "the configuration lets a container that says `gpulease/count=1` have a GPU",
        ),
        Err(failure) => found.fault(
            failure.code.as_str(),
            format!("`gpulease/count=1` is refused, whatever is free: {}", failure.message),
            failure.hint.unwrap_or_else(|| "`gpulease explain count=1` says more".to_owned()),
        ),
    }
}
