//! The OCI runtime shim. An engine calls it in place of runc or crun.
//!
//! `create` and `run` lease devices and edit the bundle, `delete` releases, `exec` carries the
//! container's variables into the new process; all else — and every container that asks for no
//! GPU — becomes the real runtime by one `execve`, untouched.

mod adopted;
pub mod args;
mod ask;
pub mod bundle;
mod busy;
mod create;
mod delete;
mod driver;
mod exec;
mod granted;
mod injected;
mod inventory;
mod known;
pub mod lowlevel;
mod mounted;
pub mod nodes;
pub mod permit;
pub mod report;
pub(crate) mod share;
pub(crate) mod start;
pub mod userns;

use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::{ContainerId, LeaseKey};
use crate::model::lease::Lease;
use crate::store::Entry;
use crate::sys::exec::{become_program, run_child};
use args::{Invocation, Verb};
use report::{one_line, report};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the shim.
#[must_use]
pub fn main() -> ExitCode {
    let call = args::parse(std::env::args_os().skip(1));
    match run(&call) {
        Ok(code) => code,
        Err(failure) => report(&failure, &call),
    }
}

/// What a call works with: known after the first look at the configuration.
struct Shim<'a> {
    call: &'a Invocation,
    host: Host,
    runtime: PathBuf,
    /// What is wrong with the configured runtime: it is not the one in use then.
    runtime_fault: Option<Failure>,
}

fn run(call: &Invocation) -> Result<ExitCode, Failure> {
    let shim = Shim::new(call)?;
    match call.verb {
        Verb::Create | Verb::Run | Verb::Restore => {
            let leased = create::prepare(&shim)?;
            let Err(failure) = shim.become_runtime(None) else { return Ok(ExitCode::FAILURE) };
            return Err(match leased.map(|leased| leased.take_back()) {
                Some(Err(error)) => failure.hint(one_line(&error)),
                _ => failure,
            });
        }
        Verb::Delete => return delete::delete(&shim),
        Verb::Exec => {
            let words = exec::prepare(&shim)?;
            return shim.become_runtime(words);
        }
        Verb::Version => return shim.version(),
        Verb::Other | Verb::None => {}
    }
    shim.become_runtime(None)
}

impl<'a> Shim<'a> {
    fn new(call: &'a Invocation) -> Result<Self, Failure> {
        let (host, lenient) = Host::look(call.config.as_deref());
        // A file that cannot be understood says nothing; then the last choice that worked stands.
        let doubtful = lenient.wants_last_good_choice();
        let remembered = || host.store().last_runtime();
        let choice = lowlevel::choose(call, lenient.runtime.as_deref(), doubtful, &remembered)?;
        let (runtime, runtime_fault) = (choice.path, choice.fault);
        Ok(Self { call, host, runtime, runtime_fault })
    }

    /// With the engine's words, or with those in which a file has another one in its place.
    fn become_runtime(&self, words: Option<Vec<OsString>>) -> Result<ExitCode, Failure> {
        let words = words.as_ref().unwrap_or(&self.call.forwarded);
        let error = match become_program(&self.runtime, words) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        Err(self.cannot_run(&error))
    }

    fn cannot_run(&self, error: &io::Error) -> Failure {
        Failure::new(
            Code::NoRuntime,
            format!("cannot execute the low-level runtime `{}`: {error}", self.runtime.display()),
        )
    }

    /// The real runtime's answer, which engines parse, and then ours.
    fn version(&self) -> Result<ExitCode, Failure> {
        let status = run_child(&self.runtime, &self.call.forwarded)
            .map_err(|error| self.cannot_run(&error))?;
        // Without the word "version": Docker takes the last line that has it for the runtime's.
        let _ = writeln!(io::stdout(), "gpulease-runtime: {}", crate::VERSION);
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The container's key.
    fn key(&self) -> Result<LeaseKey, Failure> {
        let id = self.call.id.as_deref().unwrap_or_default();
        let root = lowlevel::root_of(self.call, lowlevel::Kind::of(&self.runtime));
        ContainerId::new(id)
            .and_then(|id| LeaseKey::new(&root, id))
            .map_err(|error| Failure::of(Code::BadRequest, &error))
    }

    /// The lease that is recorded for the container, whoever holds it.
    fn lease(&self) -> Option<Lease> {
        let store = self.host.store();
        store.check().ok()?;
        match store.entry(&self.key().ok()?) {
            Ok(Some(Entry::Lease(lease))) => Some(*lease),
            _ => None,
        }
    }
}
