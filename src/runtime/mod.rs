//! The OCI runtime shim. An engine calls it in place of runc or crun.
//!
//! `create` and `run` lease devices and edit the bundle, `delete` releases, `exec` carries the
//! container's variables into the new process, `update` opens no GPU that is not leased; all else — and every container that asks for no
//! GPU — becomes the real runtime by one `execve`, untouched.

pub mod args;
mod bundle;
mod create;
mod delete;
mod exec;
mod home;
mod report;
mod update;

use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::id::{ContainerId, LeaseKey};
use crate::model::lease::Lease;
use crate::start::lowlevel;
use crate::store::Entry;
use crate::sys::exec::{become_program, run_child};
use args::{Certainty, Invocation, Verb, Words};
use report::report;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub fn main() -> ExitCode {
    let words = args::parse(std::env::args_os().skip(1));
    let shim = match Shim::new(&words) {
        Ok(shim) => shim,
        // Which runtime it would have been is not known, and the words for the log are the same.
        Err(failure) => return report(&failure, &words.read(lowlevel::RuntimeKind::Runc)),
    };
    match run(&shim) {
        Ok(code) => code,
        Err(failure) => report(&failure, &shim.call),
    }
}

/// What a call works with: known after the first look at the configuration.
struct Shim {
    call: Invocation,
    host: Host,
    runtime: PathBuf,
    vendor: OnceCell<Option<Vendor>>,
    /// What is wrong with the configured runtime: it is not the one in use then.
    runtime_fault: Option<Failure>,
}

fn run(shim: &Shim) -> Result<ExitCode, Failure> {
    match shim.call.verb {
        Verb::Create | Verb::Run | Verb::Restore => {
            let ready = create::prepare(shim)?;
            let Err(failure) = shim.become_runtime(ready.words.as_deref()) else {
                return Ok(ExitCode::FAILURE);
            };
            Err(match ready.leased.map(|leased| leased.take_back()) {
                Some(Err(error)) => failure.and(&error.message),
                _ => failure,
            })
        }
        Verb::Delete => delete::delete(shim),
        Verb::Exec => {
            let words = exec::prepare(shim)?;
            shim.become_runtime(words.as_deref())
        }
        Verb::Update => {
            let words = update::prepare(shim)?;
            shim.become_runtime(words.as_deref())
        }
        Verb::Version => shim.version(),
        Verb::Other | Verb::None => shim.become_runtime(None),
    }
}

impl Shim {
    fn new(words: &Words) -> Result<Self, Failure> {
        let host = Host::look(words.config.as_deref());
        let choice = home::runtime_of(words, &host)?;
        let (runtime, runtime_fault) = (choice.path, choice.fault);
        let call = words.read(lowlevel::RuntimeKind::of(&runtime));
        Ok(Self { call, host, runtime, vendor: OnceCell::new(), runtime_fault })
    }

    /// With the engine's words, or with those in which a file has another one in its place.
    fn become_runtime(&self, words: Option<&[OsString]>) -> Result<ExitCode, Failure> {
        let words = words.unwrap_or(&self.call.forwarded);
        let error = match become_program(&self.runtime, words) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        Err(self.cannot_run(&error))
    }

    /// The vendor whose own runtime the low-level one is. Looked up once: it may be a link, and one
    /// start must not take it for two things.
    fn vendor(&self) -> Option<Vendor> {
        *self.vendor.get_or_init(|| lowlevel::vendor_of(&self.runtime))
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

    fn kind(&self) -> lowlevel::RuntimeKind {
        lowlevel::RuntimeKind::of(&self.runtime)
    }

    /// Why it is not certain what the runtime will make of its words. That runc or crun refuse them
    /// is certain; a program that calls one may put others in their place.
    fn doubt(&self) -> Option<String> {
        match &self.call.certainty {
            Certainty::Sure => None,
            Certainty::Wrong if lowlevel::is_itself(&self.runtime) => None,
            Certainty::Wrong => Some(format!("{} takes no such options", self.kind().name())),
            Certainty::Unsure(why) => Some(why.clone()),
        }
    }

    fn key(&self) -> Result<LeaseKey, Failure> {
        self.key_of(self.call.id.as_deref().unwrap_or_default())
    }

    fn key_of(&self, id: &str) -> Result<LeaseKey, Failure> {
        let root = home::root_of(&self.call, self.kind());
        Ok(LeaseKey::new(&root, ContainerId::new(id)?)?)
    }

    /// The lease that is recorded for the container, whoever holds it.
    fn lease(&self) -> Option<Lease> {
        self.lease_of(self.call.id.as_deref().unwrap_or_default())
    }

    fn lease_of(&self, id: &str) -> Option<Lease> {
        let store = self.host.store();
        store.check().ok()?;
        match store.entry(&self.key_of(id).ok()?) {
            Ok(Some(Entry::Lease(lease))) => Some(*lease),
            _ => None,
        }
    }
}
