//! `create` and `run`: the bundle's `config.json`, leased and edited in its place.

use super::args::Verb;
use super::bundle::{Bundle, read_limited};
use super::start::{self, Caller, Outcome, Prepared, bad_bundle};
use super::{Shim, lowlevel, share};
use crate::claim::{Ground, release};
use crate::failure::Failure;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::sys::atomic;
use std::path::Path;

/// Does all that has to be done before the low-level runtime sees the bundle. A container that
/// asks for no GPU leaves here with nothing read but its own `config.json`.
pub(super) fn prepare<'a>(shim: &'a Shim<'a>) -> Result<Option<Leased<'a>>, Failure> {
    let bundle = Bundle::of(shim.call)?;
    let bytes = match read_limited(&bundle.config) {
        Ok(bytes) => bytes,
        // Not there: the runtime says so better, and nothing is leased.
        Err(error) if error.is_missing() => return Ok(None),
        // There, and we cannot see whether it asks for a GPU.
        Err(error) => return Err(bad_bundle(&error)),
    };
    let create = Create { shim, bundle };
    let Some(facts) = start::concerns_us(&bytes, create.vendor())? else { return Ok(None) };
    match start::prepare(&shim.host, &create, bytes, facts)? {
        Outcome::Granted(prepared) => {
            shim.host.store().remember_runtime(&shim.runtime);
            Ok(Some(Leased { create, prepared }))
        }
        Outcome::Untouched(_) | Outcome::Cleaned => Ok(None),
    }
}

/// A container that is leased and edited, and not yet handed to the runtime.
pub(super) struct Leased<'a> {
    create: Create<'a>,
    prepared: Box<Prepared>,
}

impl Leased<'_> {
    /// The runtime could not be executed: puts everything back.
    pub(super) fn take_back(&self) -> Result<(), Failure> {
        let Create { shim, bundle } = &self.create;
        let store = shim.host.store();
        atomic::replace_keeping_owner(&bundle.config, &self.prepared.before)?;
        let ground = Ground { paths: &shim.host.paths, store: &store };
        release::abandon(ground, &self.prepared.lease)?;
        if share::may_leave_daemon(&self.prepared.lease) {
            share::reap(shim.host.own_arguments(), &shim.host.paths)?;
        }
        Ok(())
    }
}

/// A call of `create`, `run` or `restore`.
struct Create<'a> {
    shim: &'a Shim<'a>,
    bundle: Bundle,
}

impl Caller for Create<'_> {
    fn key(&self, _: &Facts) -> Result<LeaseKey, Failure> {
        self.shim.key()
    }

    fn bundle(&self) -> &Path {
        &self.bundle.dir
    }

    fn engine(&self, facts: &Facts) -> &'static str {
        engine(self.shim, facts)
    }

    fn runtime(&self) -> String {
        self.shim.runtime.display().to_string()
    }

    fn vendor(&self) -> Option<Vendor> {
        lowlevel::vendor_of(&self.shim.runtime)
    }

    fn pid_file(&self) -> Option<String> {
        let path = self.shim.call.pid_file.as_ref()?;
        let absolute = std::path::absolute(path).ok()?;
        Some(absolute.display().to_string())
    }

    fn fault(&self) -> Option<Failure> {
        if self.shim.call.verb == Verb::Restore {
            let text = "a container with a GPU request cannot be restored from a checkpoint";
            return Some(Failure::new(Code::RestoreUnsupported, text).hint("create it anew"));
        }
        if let Some(fault) = &self.shim.runtime_fault {
            return Some(fault.clone());
        }
        // Both vendors' only look at `create`.
        let vendor = self.vendor().filter(|_| self.shim.call.verb == Verb::Run)?;
        let text = format!("{}'s runtime gives no GPU to a container by `run`", vendor.name());
        Some(
            Failure::new(Code::BadRequest, text).hint("call `create`, then `start`, as engines do"),
        )
    }

    fn write(&self, _: Ground<'_>, _: Option<&Lease>, spec: &[u8]) -> Result<(), Failure> {
        atomic::replace_keeping_owner(&self.bundle.config, spec).map_err(|error| bad_bundle(&error))
    }
}

/// Who called, by what only that engine does. For display.
fn engine(shim: &Shim<'_>, facts: &Facts) -> &'static str {
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
        match lowlevel::Kind::of(&shim.runtime) {
            lowlevel::Kind::Crun => "crun",
            lowlevel::Kind::Runc => "runc",
        }
    }
}
