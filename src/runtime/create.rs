//! `create` and `run`: lease devices and edit the bundle's `config.json`.

use super::args::Verb;
use super::bundle::{self, Bundle, ConfigRedirect};
use super::shim::Shim;
use crate::claim::{Ctx, release};
use crate::failure::Failure;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::start::bundle::{fixed, read_limited};
use crate::start::{self, Launch, Prepared, StartOutcome, Starter, bad_bundle};
use crate::start::{lowlevel, shares};
use crate::sys::atomic;
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;

/// Does everything that has to be done before the low-level runtime sees the bundle. For a
/// container that asks for no GPU, only `config.json` is read.
pub(super) fn prepare(shim: &Shim) -> Result<Ready<'_>, Failure> {
    if let Some(why) = shim.doubt() {
        return rule_out(shim, &why).map(|()| Ready::default());
    }
    let bundle = Bundle::of(&shim.call, shim.kind())?;
    let (read, way) = match bundle.read(shim.kind()) {
        Ok(found) => found,
        // The file is missing. The runtime has the better message, and nothing is leased.
        Err(error) if error.is_missing() => return Ok(Ready::default()),
        // The file exists, but it is unknown whether it asks for a GPU.
        Err(error) => return Err(bad_bundle(&error)),
    };
    let create = Create { shim, bundle, way, words: RefCell::default() };
    if let Some(vendor) = shim.vendor().filter(|_| way == ConfigRedirect::Copy) {
        let text = format!("{}'s runtime reads the bundle's config.json alone", vendor.name());
        return Err(Failure::new(Code::BadBundle, text).hint("leave out `--config`"));
    }
    let spec = match create.start(read.bytes)? {
        StartOutcome::Granted(prepared) => {
            shim.host.store().remember_runtime(&shim.runtime);
            let words = create.words.take();
            return Ok(Ready { words, leased: Some(Leased { create, prepared }) });
        }
        StartOutcome::Cleaned => return Ok(Ready { words: create.words.take(), leased: None }),
        StartOutcome::Untouched(spec) => spec,
    };
    // A pipe is empty now, but the runtime needs what was in it.
    if !read.is_regular {
        create.hand_on(&spec)?;
    }
    Ok(Ready { words: create.words.take(), leased: None })
}

/// Refuses a call whose container is uncertain, unless none of the candidates has to do with GPUs.
fn rule_out(shim: &Shim, why: &str) -> Result<(), Failure> {
    for config in Bundle::likely(&shim.call) {
        if !fs::metadata(&config).is_ok_and(|found| !found.is_dir()) {
            continue;
        }
        let spec = read_limited(&config).map_err(|error| bad_bundle(&error))?;
        if start::concerns_us(&spec, shim.vendor())?.is_some() {
            let text = format!("cannot tell which container is to be made: {why}");
            let hint =
                "write every option in full, `--bundle DIR` too, and the container behind them";
            return Err(Failure::new(Code::BadRequest, text).hint(hint));
        }
    }
    Ok(())
}

/// How the low-level runtime is to be called.
#[derive(Default)]
pub(super) struct Ready<'a> {
    /// Other words than the engine's.
    pub words: Option<Vec<OsString>>,
    pub leased: Option<Leased<'a>>,
}

/// A container that is leased and edited, but not yet passed to the runtime.
pub(super) struct Leased<'a> {
    create: Create<'a>,
    prepared: Box<Prepared>,
}

impl Leased<'_> {
    /// Puts everything back, because the runtime could not be executed.
    pub(super) fn take_back(&self) -> Result<(), Failure> {
        let Create { shim, bundle, way, .. } = &self.create;
        let store = shim.host.store();
        if *way == ConfigRedirect::InPlace {
            atomic::replace_keeping_owner(&bundle.config, &self.prepared.before)?;
        }
        store.take_back_bundle(&bundle.dir, &self.prepared.lease.nonce)?;
        let ctx = Ctx::of(&shim.host);
        release::abandon(ctx, &self.prepared.lease)?;
        if shares::may_leave_daemon(&self.prepared.lease) {
            shares::reap(shim.host.own_arguments(), &shim.host.paths)?;
        }
        Ok(())
    }
}

/// A call of `create`, `run` or `restore`.
struct Create<'a> {
    shim: &'a Shim,
    bundle: Bundle,
    way: ConfigRedirect,
    /// The words that replace the engine's, once there is a copy of `config.json`.
    words: RefCell<Option<Vec<OsString>>>,
}

impl Create<'_> {
    fn start(&self, spec: Vec<u8>) -> Result<StartOutcome, Failure> {
        let launch = Launch {
            bundle: Some(&self.bundle.dir),
            vendor: self.shim.vendor(),
            fault: self.fault(),
            ..Launch::by(&self.shim.runtime)
        };
        let host = &self.shim.host;
        start::prepare(host, &launch, self, start::interpret(host, &launch, spec)?)
    }

    /// Why nothing can be granted in this call, whatever is requested.
    fn fault(&self) -> Option<Failure> {
        if self.shim.call.verb == Verb::Restore {
            let text = "a container with a GPU request cannot be restored from a checkpoint";
            return Some(Failure::new(Code::RestoreUnsupported, text).hint("create it anew"));
        }
        if let Some(fault) = &self.shim.runtime_fault {
            return Some(fault.clone());
        }
        if self.way == ConfigRedirect::Fixed {
            return Some(fixed(&self.bundle.config));
        }
        // Both vendors' runtimes only act on `create`.
        let vendor = self.shim.vendor().filter(|_| self.shim.call.verb == Verb::Run)?;
        let text = format!("{}'s runtime gives no GPU to a container by `run`", vendor.name());
        Some(
            Failure::new(Code::BadRequest, text).hint("call `create`, then `start`, as engines do"),
        )
    }

    /// Makes a copy and points the runtime to it.
    fn hand_on(&self, spec: &[u8]) -> Result<(), Failure> {
        let call = &self.shim.call;
        let copy = bundle::hand_on(call, &self.bundle.config, spec)?;
        let words = match &self.bundle.given {
            Some(given) => call.with(given, &copy),
            None => call.with_config(&copy),
        };
        self.words.replace(Some(words));
        Ok(())
    }
}

impl Starter for Create<'_> {
    fn key(&self, _: &Facts) -> Result<LeaseKey, Failure> {
        self.shim.key()
    }

    fn engine(&self, facts: &Facts) -> &'static str {
        engine(self.shim, facts)
    }

    fn pid_file(&self) -> Option<String> {
        let path = self.shim.call.pid_file.as_ref()?;
        let absolute = std::path::absolute(path).ok()?;
        Some(absolute.display().to_string())
    }

    fn write(&self, _: Ctx<'_>, _: Option<&Lease>, spec: &[u8]) -> Result<(), Failure> {
        match self.way {
            ConfigRedirect::InPlace => atomic::replace_keeping_owner(&self.bundle.config, spec)
                .map_err(|error| bad_bundle(&error)),
            ConfigRedirect::Copy => self.hand_on(spec),
            ConfigRedirect::Fixed => Err(fixed(&self.bundle.config)),
        }
    }
}

/// The engine that called, recognised by what only this engine does. It is for display.
fn engine(shim: &Shim, facts: &Facts) -> &'static str {
    let has = |key: &str| facts.annotations.contains_key(key);
    let has_prefix = |prefix: &str| facts.annotations.keys().any(|key| key.starts_with(prefix));
    let root = shim.call.root.as_deref().unwrap_or_default();
    if facts.annotations.get("io.container.manager").is_some_and(|m| m == "libpod") {
        "podman"
    } else if has_prefix("io.kubernetes.cri-o.") {
        "cri-o"
    } else if has("nerdctl/name") || has_prefix("nerdctl/") {
        "nerdctl"
    } else if root.contains("docker") {
        "docker"
    } else if root.contains("containerd") || has_prefix("io.kubernetes.cri.") {
        "containerd"
    } else {
        match shim.kind() {
            lowlevel::RuntimeKind::Crun => "crun",
            lowlevel::RuntimeKind::Runc => "runc",
        }
    }
}
