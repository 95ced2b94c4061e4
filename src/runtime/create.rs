//! `create` and `run`: from the bundle's words to a leased and edited container.

use super::ask::{self, Asked};
use super::bundle::{Bundle, read_limited};
use super::{Shim, granted, lowlevel, nodes};
use crate::claim::{Ground, create, create::Claimant, release};
use crate::failure::{Failure, chain};
use crate::injection::{
    self, Document, Facts, Injection, SpecHook, apply, revert, strip_granted, strip_our_hooks,
};
use crate::model::code::Code;
use crate::model::lease::Lease;
use crate::request::Source;
use crate::request::policy::Injected;
use crate::store::{BundleRecord, Edit};
use crate::sys::{atomic, cgroup, failpoint};
use std::path::PathBuf;

/// Does all that has to be done before the low-level runtime sees the bundle. A container that
/// asks for no GPU leaves here with nothing read but its own `config.json`.
pub(super) fn prepare(shim: &Shim<'_>) -> Result<Option<Prepared>, Failure> {
    let bundle = Bundle::of(shim.call)?;
    let bytes = match read_limited(&bundle.config) {
        Ok(bytes) => bytes,
        // Not there: the runtime says so better, and nothing is leased.
        Err(error) if error.is_missing() => return Ok(None),
        // There, and we cannot see whether it asks for a GPU.
        Err(error) => return Err(bad_bundle(&error)),
    };
    let facts = match injection::facts(&bytes) {
        Ok(facts) => facts,
        Err(error) if mentions_us(&bytes) => return Err(bad_bundle(&error)),
        Err(_) => return Ok(None),
    };
    let Some(mut start) = Start::begin(shim, bundle, bytes, facts)? else { return Ok(None) };
    match ask::request(shim, &start.facts)? {
        Some(asked) => start.lease(&asked).map(Some),
        None => start.write().map(|()| None),
    }
}

/// A container that is leased and edited, and not yet handed to the runtime.
pub(super) struct Prepared {
    lease: Lease,
    config: PathBuf,
    before: Vec<u8>,
}

impl Prepared {
    /// The runtime could not be executed: puts everything back.
    pub(super) fn take_back(&self, shim: &Shim<'_>) -> Result<(), Failure> {
        let store = shim.store();
        atomic::replace_keeping_owner(&self.config, &self.before)?;
        release::abandon(Ground { paths: &shim.paths, store: &store }, &self.lease)?;
        Ok(())
    }
}

/// One start of a container that may have something to do with us.
struct Start<'a> {
    shim: &'a Shim<'a>,
    bundle: Bundle,
    bytes: Vec<u8>,
    facts: Facts,
    /// The tree, once something is to be changed in it.
    edited: Option<Document>,
    /// The edits of an earlier start, as they were found.
    earlier: Option<Edit>,
    /// There are edits of an earlier start of which we have no record.
    unknown_edits: bool,
}

impl<'a> Start<'a> {
    /// `None` for the great majority: a container that has nothing to do with us.
    fn begin(
        shim: &'a Shim<'a>,
        bundle: Bundle,
        bytes: Vec<u8>,
        facts: Facts,
    ) -> Result<Option<Self>, Failure> {
        let edited_before = facts.hooks.iter().any(SpecHook::is_ours);
        if !edited_before && !facts.granted_keys && !ask::may_ask(&facts) {
            return Ok(None);
        }
        let mut start =
            Self { shim, bundle, bytes, facts, edited: None, earlier: None, unknown_edits: false };
        if edited_before {
            start.undo_earlier_edits()?;
        }
        if start.facts.granted_keys {
            let mut document = start.document()?;
            strip_granted(&mut document);
            start.edited = Some(document);
        }
        Ok(Some(start))
    }

    /// The tree as it stands now.
    fn document(&mut self) -> Result<Document, Failure> {
        match self.edited.take() {
            Some(document) => Ok(document),
            None => Document::parse(&self.bytes).map_err(|error| bad_bundle(&error)),
        }
    }

    /// A bundle that ran before carries the edits of its earlier grant. They are taken out by our
    /// own record of them, if it is of the start whose nonce the hooks carry. Where that record is
    /// gone (a reboot), our hooks and annotations are taken out, and the nodes are withheld later.
    fn undo_earlier_edits(&mut self) -> Result<(), Failure> {
        let record = self.shim.store().bundle(&self.bundle.dir);
        let mut document = self.document()?;
        let nonces = self.facts.our_nonces();
        self.unknown_edits = nonces.is_empty();
        for nonce in nonces {
            match record.as_ref().and_then(|record| record.undo_of(&nonce)) {
                Some(undo) => {
                    revert(&mut document, undo);
                    self.earlier = Some(Edit { nonce, undo: undo.clone() });
                }
                None => self.unknown_edits = true,
            }
        }
        strip_our_hooks(&mut document);
        self.facts = injection::facts(&document.to_bytes()).map_err(|error| bad_bundle(&error))?;
        self.edited = Some(document);
        Ok(())
    }

    /// Leases, edits, and leaves nothing behind where that fails.
    fn lease(&mut self, asked: &Asked) -> Result<Prepared, Failure> {
        let store = self.shim.store();
        let ground = Ground { paths: &self.shim.paths, store: &store };
        let runtime = self.shim.runtime.display().to_string();
        let bundle = self.bundle.dir.display().to_string();
        let claimant = Claimant {
            key: self.shim.key()?,
            engine: engine(self.shim, &self.facts),
            runtime: &runtime,
            bundle: &bundle,
            pid_file: self.pid_file(),
            expected_cgroup: self.expected_cgroup(),
            env: &self.facts.env,
            release_grace: asked.config.policy.release_grace,
        };
        let lease = create::create(ground, &asked.node, &asked.request, &claimant)?;
        if let Err(failure) = self.edit(asked, &lease) {
            // Both reasons, if even that failed: the lease then ends with this process.
            return Err(match release::abandon(ground, &lease) {
                Ok(()) => failure,
                Err(error) => failure
                    .hint(format!("and its lease stays until the next sweep: {}", chain(&error))),
            });
        }
        remember_runtime(self.shim);
        // This process becomes the runtime in a moment: to take the tree apart would be for nothing.
        std::mem::forget(self.edited.take());
        let before = std::mem::take(&mut self.bytes);
        Ok(Prepared { lease, config: self.bundle.config.clone(), before })
    }

    fn edit(&mut self, asked: &Asked, lease: &Lease) -> Result<(), Failure> {
        let injection = self.injection(asked, lease)?;
        let mut document = self.document()?;
        let undo = apply(&mut document, &injection).map_err(|error| bad_bundle(&error))?;
        let record = BundleRecord {
            nonce: lease.nonce.clone(),
            key: self.shim.key()?,
            bundle: self.bundle.dir.display().to_string(),
            devices: lease.devices.clone(),
            cgroup: lease.cgroup.clone(),
            undo,
            earlier: self.earlier.take(),
        };
        let store = self.shim.store();
        store.put_bundle(&record)?;
        self.edited = Some(document);
        if let Err(failure) = self.write() {
            // The file is as it was, so its record must be too.
            return Err(match store.take_back_bundle(record) {
                Ok(()) => failure,
                Err(error) => failure.hint(format!("and its record stays: {}", chain(&error))),
            });
        }
        failpoint::hit("create.edited");
        Ok(())
    }

    fn injection(&self, asked: &Asked, lease: &Lease) -> Result<Injection, Failure> {
        let mut injection = Injection {
            annotations: granted::annotations(lease),
            hooks: granted::hooks(self.shim, &asked.config, lease)?,
            ..Injection::default()
        };
        // What the engine injected is leased as it stands.
        if asked.request.source == Source::Injected {
            return Ok(injection);
        }
        let simulated = lease.devices.iter().any(|device| device.simulated);
        if simulated && self.facts.user_namespace {
            return Err(Failure::new(
                Code::BadRequest,
                "simulated devices have no node on the host, and a container in a user namespace can only get nodes that are there",
            )
            .hint("run the container without a user namespace"));
        }
        let paths = &self.shim.paths;
        injection.nodes = nodes::granted(lease, &asked.node, paths)?;
        injection.gids = nodes::gids(&injection.nodes);
        injection.env = lease.env.clone();
        let withhold = self.facts.privileged
            || self.unknown_edits
            || asked.config.policy.injected != Injected::Ignore;
        if withhold {
            injection.withhold = nodes::withheld(&asked.node, &injection.nodes, paths);
        }
        Ok(injection)
    }

    fn pid_file(&self) -> Option<String> {
        let path = self.shim.call.pid_file.as_ref()?;
        let absolute = std::path::absolute(path).ok()?;
        Some(absolute.display().to_string())
    }

    fn expected_cgroup(&self) -> Option<String> {
        let path = cgroup::expected(self.facts.cgroups_path.as_deref()?, &self.shim.paths)?;
        Some(path.display().to_string())
    }

    /// Replaces `config.json` if anything in it was changed.
    fn write(&self) -> Result<(), Failure> {
        let Some(document) = &self.edited else { return Ok(()) };
        failpoint::hit("create.before-edit");
        atomic::replace_keeping_owner(&self.bundle.config, &document.to_bytes())
            .map_err(|error| Failure::of(Code::BadBundle, &error))
    }
}

fn bad_bundle(error: &dyn std::error::Error) -> Failure {
    Failure::of(Code::BadBundle, error)
}

/// A file that is not JSON to us may be to the runtime; if it speaks of us, we must not guess.
fn mentions_us(bytes: &[u8]) -> bool {
    [&b"gpulease"[..], b"kaiwo.ai/gpu"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|w| w == *word))
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

/// Keeps the choice of a runtime that just served, for the day on which the configuration does
/// not parse. Losing it is no reason to fail a start.
fn remember_runtime(shim: &Shim<'_>) {
    let path = shim.store().last_runtime_path();
    let text = format!("{}\n", shim.runtime.display());
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return;
    }
    let _ = atomic::replace(&path, text.as_bytes(), atomic::Durability::Renamed);
}
