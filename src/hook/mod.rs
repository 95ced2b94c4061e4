//! The OCI hooks (runtime-spec, config.md, "POSIX-platform Hooks"), and one that only Podman knows.
//! They run on the host, in the runtime's namespaces, and never touch the container's files.
//!
//! `create-runtime` binds the lease to the container's init process; if it fails, the start fails.
//! `poststop` releases the lease. It always exits with 0, because after a failed hook runc skips
//! the other hooks of the container and reports a failed delete.

mod args;
mod container;
mod precreate;
mod state;
mod unedit;

use crate::claim::release::ReleaseOutcome;
use crate::claim::{self, Ctx, bind, release};
use crate::failure::Failure;
use crate::failure::one_line;
use crate::model::code::Code;
use crate::model::text;
use crate::paths::Paths;
use crate::start::shares;
use crate::store::Store;
use crate::sys::exec::{Capability, drop_privileges_but, start_detached};
use args::{Call, HookVerb};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

pub fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let is_poststop = words.first().is_some_and(|verb| verb == "poststop");
    let call = match args::parse(words) {
        Ok(args::Parsed::Call(call)) => call,
        Ok(args::Parsed::Precreate(call)) => return precreate::main(&call),
        Ok(args::Parsed::Text(text)) => {
            let _ = writeln!(io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "gpulease-hook: {}", text::shown_lines(&error));
            // These may be another version's arguments, after an upgrade under running containers.
            return if is_poststop { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    let outcome = run(&call);
    if let Err(failure) = &outcome {
        // runc shows a failed hook's stderr to the engine, on one line.
        let _ = writeln!(io::stderr(), "{}", one_line(failure));
    }
    match (call.verb, outcome) {
        (HookVerb::CreateRuntime, Err(_)) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn run(call: &Call) -> Result<(), Failure> {
    drop_privileges_but(&[Capability::CAP_SYS_PTRACE]).map_err(|error| {
        Failure::new(Code::StateUnavailable, format!("cannot drop capabilities: {error}"))
    })?;
    let paths = Paths { run: call.run_dir.clone(), ..Paths::default() };
    let store = Store::at(&paths.run);
    let ctx = Ctx { paths: &paths, store: &store };
    let state = state::read(io::stdin());
    match call.verb {
        HookVerb::CreateRuntime => {
            let state = state.map_err(|why| Failure::new(Code::StaleHook, why))?;
            if state.id != call.key.container_id.as_str() {
                return Err(Failure::new(
                    Code::StaleHook,
                    format!("called for another container than that of lease key {}", call.key),
                ));
            }
            let lease = match state.pid.filter(|pid| *pid > 0) {
                Some(pid) => bind::bind(ctx, &call.key, &call.nonce, pid)?,
                // A runtime may call the hook before it knows the pid. Then the next sweep binds
                // the lease: it finds the process in the runtime's state.
                None => bind::check(ctx, &call.key, &call.nonce)?,
            };
            shares::limit(ctx, &lease).map_err(|failure| failed(call, failure))
        }
        HookVerb::Poststop | HookVerb::FailedStart => {
            let held = shares::held(ctx, &call.key, &call.nonce);
            let is_waited_for = call.verb == HookVerb::Poststop;
            let deadline = if is_waited_for { claim::DELETE_DEADLINE } else { FAILED_DEADLINE };
            let outcome = release::release_if_dead(ctx, &call.key, &call.nonce, deadline)?;
            if outcome != ReleaseOutcome::Released {
                return Ok(());
            }
            let ended = held.map_or(Ok(()), |held| shares::end(ctx, &held, call.own_arguments()));
            if let Ok(state) = state {
                unedit::unedit(&store, &state, &call.nonce)?;
            }
            ended
        }
    }
}

/// How long the runtime may take to end a container whose start has failed.
const FAILED_DEADLINE: Duration = Duration::from_secs(5);

/// Leaves a process behind that waits for the container's end and releases the lease. The start
/// fails, so the runtime ends the container, but it calls no hook for that, and the engine need not
/// delete a container that was never made.
fn failed(call: &Call, failure: Failure) -> Failure {
    let own = std::env::current_exe();
    match own.and_then(|own| start_detached(&own, &call.again("failed-start"))) {
        Ok(()) => failure,
        Err(error) => failure.and(&format!("its lease stays until the next sweep: {error}")),
    }
}
