//! `delete`: the one call that must outlive the real runtime, because only after it has removed
//! the container is the holder of the lease gone. Engines send it, often twice, for every
//! container that ended, and for every create that failed.

use super::Shim;
use super::report::one_line;
use crate::claim::{self, Ground, release};
use crate::failure::Failure;
use crate::model::lease::LeaseState;
use crate::sys::exec::run_child;
use crate::sys::failpoint;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

pub(super) fn delete(shim: &Shim<'_>) -> Result<ExitCode, Failure> {
    // The nonce is read before the container is removed: afterwards the same id may start again.
    let lease = match shim.lease() {
        Some(lease) if lease.state != LeaseState::Grace => lease,
        _ => return shim.become_runtime(),
    };
    failpoint::hit("delete.before-runtime");
    let status =
        run_child(&shim.runtime, &shim.call.forwarded).map_err(|error| shim.cannot_run(&error))?;
    failpoint::hit("delete.after-runtime");
    let store = shim.site.store();
    let ground = Ground { paths: &shim.site.paths, store: &store };
    if let Ok(key) = lease.key() {
        let released = release::release_if_dead(ground, &key, &lease.nonce, claim::DELETE_DEADLINE);
        // Whatever failed here, the next sweep does; the engine must hear of its container.
        if let Err(error) = released {
            let _ = writeln!(io::stderr(), "{}", one_line(&Failure::from(error)));
        }
    }
    store.forget_gone_bundles();
    Ok(exit_code(status))
}

/// The child's status as ours; a signal is reported as shells do.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
