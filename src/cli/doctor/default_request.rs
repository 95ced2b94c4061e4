//! Tries the simplest request for a GPU against the configuration.

use super::finding::{Findings, Level};
use super::inventory;
use crate::host::Host;
use crate::start::lowlevel::vendor_of;
use crate::start::{self, Launch};
use std::path::Path;

/// Checks whether the request is refused even on a node without leases. `runtime` is the runtime
/// that starts use.
pub(super) fn check(host: &Host, runtime: &Path, found: &mut Findings) {
    // A fault that was found already may be the reason, and explains it better.
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
        Ok(()) => {
            found.ok("default-request", "the configuration allows the request `gpulease/count=1`")
        }
        Err(failure) => found.fault(
            failure.code.as_str(),
            format!(
                "the configuration refuses the request `gpulease/count=1`, whatever is free: \
                 {}",
                failure.message
            ),
            failure.hint.unwrap_or_else(|| "`gpulease explain count=1` explains it".to_owned()),
        ),
    }
}
