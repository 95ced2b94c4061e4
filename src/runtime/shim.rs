//! A call of the shim.

use super::args::{Certainty, Invocation, Words};
use super::home;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::id::{ContainerId, LeaseKey};
use crate::model::lease::Lease;
use crate::start::lowlevel;
use crate::store::Entry;
use crate::sys::exec::{become_program, run_child};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The parts of a call, which are known after the first look at the configuration.
pub(super) struct Shim {
    pub call: Invocation,
    pub host: Host,
    pub runtime: PathBuf,
    vendor: OnceCell<Option<Vendor>>,
    /// The fault of the configured runtime, if there is one. Then another runtime is in use.
    pub runtime_fault: Option<Failure>,
}

impl Shim {
    pub(super) fn new(words: &Words) -> Result<Self, Failure> {
        let host = Host::look(words.config.as_deref());
        let choice = home::runtime_of(words, &host)?;
        let (runtime, runtime_fault) = (choice.path, choice.fault);
        let call = words.read(lowlevel::RuntimeKind::of(&runtime));
        Ok(Self { call, host, runtime, vendor: OnceCell::new(), runtime_fault })
    }

    /// Becomes the runtime, with the engine's words, or with words in which a file is replaced.
    pub(super) fn become_runtime(&self, words: Option<&[OsString]>) -> Result<ExitCode, Failure> {
        let words = words.unwrap_or(&self.call.forwarded);
        let error = match become_program(&self.runtime, words) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        Err(self.cannot_run(&error))
    }

    /// The vendor, if the low-level runtime is a vendor's own. It is looked up once, because the
    /// path may be a link that changes, and one start needs one answer.
    pub(super) fn vendor(&self) -> Option<Vendor> {
        *self.vendor.get_or_init(|| lowlevel::vendor_of(&self.runtime))
    }

    pub(super) fn cannot_run(&self, error: &io::Error) -> Failure {
        Failure::new(
            Code::NoRuntime,
            format!("cannot execute the low-level runtime `{}`: {error}", self.runtime.display()),
        )
    }

    /// Prints the real runtime's answer, which engines parse, and then ours.
    pub(super) fn version(&self) -> Result<ExitCode, Failure> {
        let status = run_child(&self.runtime, &self.call.forwarded)
            .map_err(|error| self.cannot_run(&error))?;
        // This line must not have the word "version": Docker takes the last line that has it for
        // the runtime's.
        let _ = writeln!(io::stdout(), "gpulease-runtime: {}", crate::VERSION);
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    pub(super) fn kind(&self) -> lowlevel::RuntimeKind {
        lowlevel::RuntimeKind::of(&self.runtime)
    }

    /// Why it is uncertain how the runtime reads its words. Words that are wrong for runc or crun
    /// are refused by them for certain, but a program that calls one of them may change the words.
    pub(super) fn doubt(&self) -> Option<String> {
        match &self.call.certainty {
            Certainty::Sure => None,
            Certainty::Wrong if lowlevel::is_itself(&self.runtime) => None,
            Certainty::Wrong => Some(format!("{} takes no such options", self.kind().name())),
            Certainty::Unsure(why) => Some(why.clone()),
        }
    }

    pub(super) fn key(&self) -> Result<LeaseKey, Failure> {
        self.key_of(self.call.id.as_deref().unwrap_or_default())
    }

    fn key_of(&self, id: &str) -> Result<LeaseKey, Failure> {
        let root = home::root_of(&self.call, self.kind());
        Ok(LeaseKey::new(&root, ContainerId::new(id)?)?)
    }

    /// The lease of the container, if one is recorded.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease_of(self.call.id.as_deref().unwrap_or_default())
    }

    pub(super) fn lease_of(&self, id: &str) -> Option<Lease> {
        let store = self.host.store();
        store.check().ok()?;
        match store.entry(&self.key_of(id).ok()?) {
            Ok(Some(Entry::Lease(lease))) => Some(*lease),
            _ => None,
        }
    }
}
