//! `delete`: the one call that must run after the real runtime has ended, because the holder of the
//! lease is gone only when the runtime has removed the container. Engines send it, often twice, for
//! every container that ended and for every create that failed.

use super::shim::Shim;
use crate::claim::{self, Ctx, release};
use crate::failure::Failure;
use crate::failure::one_line;
use crate::model::lease::{Lease, LeaseState};
use crate::start::shares;
use crate::sys::exec::run_child;
use crate::sys::failpoint;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

pub(super) fn delete(shim: &Shim) -> Result<ExitCode, Failure> {
    // The lease is read before the container is removed. Afterwards the same id may start again.
    let lease = match shim.lease() {
        Some(lease) if lease.state != LeaseState::Grace => lease,
        _ => return shim.become_runtime(None),
    };
    failpoint::hit("delete.before-runtime");
    let status =
        run_child(&shim.runtime, &shim.call.forwarded).map_err(|error| shim.cannot_run(&error))?;
    failpoint::hit("delete.after-runtime");
    let store = shim.host.store();
    let ctx = Ctx::of(&shim.host);
    // The next sweep does what failed here. The engine has to hear about its container.
    if let Err(failure) = let_go(shim, ctx, &lease) {
        let _ = writeln!(io::stderr(), "{}", one_line(&failure));
    }
    store.forget_bundles();
    Ok(exit_code(status))
}

/// Releases the lease and undoes its settings, unless its poststop hook has done so.
fn let_go(shim: &Shim, ctx: Ctx<'_>, lease: &Lease) -> Result<(), Failure> {
    let Ok(key) = lease.key() else { return Ok(()) };
    let held = shares::held(ctx, &key, &lease.nonce);
    match (release::release_if_dead(ctx, &key, &lease.nonce, claim::DELETE_DEADLINE)?, held) {
        (release::ReleaseOutcome::Released, Some(held)) => {
            shares::end(ctx, &held, shim.host.own_arguments())
        }
        _ => Ok(()),
    }
}

/// The child's exit status as ours. A signal is reported as shells report it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
