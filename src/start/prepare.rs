//! From a container's spec to a leased and edited one: what the shim's `create` and `run` do, and
//! Podman's `precreate` hook as well.

use super::driver::{self, Wanted, Way};
use super::request::{self, Asked};
use super::{busy, device_nodes, in_doubt, injected, marks, namespaces, policy, shares};
use crate::claim::busy::Crowd;
use crate::claim::{Ground, create, create::Claimant};
use crate::failure::{Failure, chain};
use crate::host::Host;
use crate::injection::{
    self, Document, Facts, GRANTED_PREFIX, Injection, SpecHook, apply, revert, strip_granted,
    strip_our_hooks,
};
use crate::model::code::Code;
use crate::model::device::Vendor;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::Lease;
use crate::request::Source;
use crate::request::policy::Injected;
use crate::store::{BundleRecord, Edit};
use crate::sys::{PathError, cgroup, failpoint};
use std::cell::Cell;
use std::path::Path;

/// Who has the container started, and where its spec goes.
pub(crate) trait Caller {
    /// The container. Fails if it has no id, or none that can be one.
    fn key(&self, facts: &Facts) -> Result<LeaseKey, Failure>;

    /// The bundle's directory, absolute.
    fn bundle(&self) -> &Path;

    /// The engine, as far as can be told. For display.
    fn engine(&self, facts: &Facts) -> &'static str;

    /// The low-level runtime, as far as can be told. For display.
    fn runtime(&self) -> String;

    /// The vendor, if the low-level runtime is a vendor's own, which gives GPUs by itself: those of
    /// a lease, and it must be told to give none to a container without one. Whether it may give
    /// any is not weighed here: `driver` rules out leases, and without one it is told all the more.
    fn vendor(&self) -> Option<Vendor> {
        None
    }

    /// Where the container's pid will be written.
    fn pid_file(&self) -> Option<String>;

    /// What rules a grant out, whatever is asked for.
    fn fault(&self) -> Option<Failure> {
        None
    }

    /// Clears what an earlier start of the container may have left in the way of this one. Fails if
    /// that cannot be done.
    fn make_way(&self, _: Ground<'_>, _: &LeaseKey) -> Result<(), Failure> {
        Ok(())
    }

    /// Puts the edited spec where the runtime will read it; `lease` is what was granted. Fails if
    /// that fails. What the runtime reads is then as it was, or nothing.
    fn write(&self, ground: Ground<'_>, lease: Option<&Lease>, spec: &[u8]) -> Result<(), Failure>;
}

/// What became of a start.
pub(crate) enum Outcome {
    /// It has nothing to do with us: the spec stays as it is.
    Untouched(Vec<u8>),
    /// It gets nothing, and what its spec pretended to have is taken out.
    Cleaned,
    /// It is leased and edited, and not yet handed to the runtime.
    Granted(Box<Prepared>),
}

/// A container that is leased and edited.
pub(crate) struct Prepared {
    pub(crate) lease: Lease,
    /// Its spec, as it was.
    pub(crate) before: Vec<u8>,
}

/// What a spec says, if it can say anything to us: `None` for the great majority, containers that
/// have nothing to do with gpulease. A vendor's runtime below has to do with every one. Fails if it
/// speaks of us and cannot be understood.
pub(crate) fn concerns_us(spec: &[u8], chained: Option<Vendor>) -> Result<Option<Facts>, Failure> {
    let mut facts = match injection::facts(spec) {
        Ok(facts) => facts,
        Err(error) if mentions_us(spec) => return Err(bad_bundle(&error)),
        Err(_) => return Ok(None),
    };
    facts.named = driver::chain::named(&facts, chained);
    let asks = |facts: &Facts| is_edited(facts) || facts.granted_keys || request::may_ask(facts);
    let ours = chained.is_some() || facts.readings().any(asks);
    Ok(ours.then_some(facts))
}

/// Does all that has to be done before the low-level runtime sees the spec. Fails if what is asked
/// for cannot be had; nothing is left behind then.
pub(crate) fn prepare(
    host: &Host,
    caller: &dyn Caller,
    spec: Vec<u8>,
    facts: Facts,
) -> Result<Outcome, Failure> {
    if let Some(doubt) = &facts.doubt {
        in_doubt::permit(host, caller, &facts, doubt)?;
        return Ok(Outcome::Untouched(spec));
    }
    let mut start = Start::begin(host, caller, spec, facts)?;
    match request::request(host, caller, &start.facts)? {
        Some(asked) => start.lease(&asked).map(|prepared| Outcome::Granted(Box::new(prepared))),
        None => {
            start.close()?;
            if start.edited.is_none() {
                return Ok(Outcome::Untouched(start.bytes));
            }
            start.write(None).map(|()| Outcome::Cleaned)
        }
    }
}

pub(super) fn is_edited(facts: &Facts) -> bool {
    facts.hooks.iter().any(SpecHook::is_ours)
}

/// One start of a container that may have something to do with us.
struct Start<'a> {
    host: &'a Host,
    caller: &'a dyn Caller,
    bytes: Vec<u8>,
    facts: Facts,
    /// The starts whose hooks the spec carries.
    nonces: Vec<Nonce>,
    /// The tree, once something is to be changed in it.
    edited: Option<Document>,
    /// The edits of an earlier start, as they were found.
    earlier: Option<Edit>,
    /// There are edits of an earlier start of which we have no record.
    unknown_edits: bool,
}

impl<'a> Start<'a> {
    fn begin(
        host: &'a Host,
        caller: &'a dyn Caller,
        bytes: Vec<u8>,
        facts: Facts,
    ) -> Result<Self, Failure> {
        let nonces = facts.our_nonces();
        let mut start = Self {
            host,
            caller,
            bytes,
            facts,
            nonces,
            edited: None,
            earlier: None,
            unknown_edits: false,
        };
        if is_edited(&start.facts) {
            start.undo_earlier_edits()?;
        }
        if start.facts.granted_keys {
            let mut document = start.document()?;
            strip_granted(&mut document);
            start.edited = Some(document);
        }
        Ok(start)
    }

    /// The tree as it stands now.
    fn document(&mut self) -> Result<Document, Failure> {
        match self.edited.take() {
            Some(document) => Ok(document),
            None => Document::parse(&self.bytes).map_err(|error| bad_bundle(&error)),
        }
    }

    /// A bundle that ran before carries the edits of its earlier grant. They are taken out by our
    /// own record of them, if it is of the start whose nonce the hooks carry. Where that record
    /// is gone (a reboot), our hooks and annotations are taken out, and the nodes are withheld
    /// later; but nobody can tell mounts of driver files, masked paths and what CDI specs brought
    /// from the author's own.
    fn undo_earlier_edits(&mut self) -> Result<(), Failure> {
        let (store, dir) = (self.host.store(), self.caller.bundle());
        // Podman's hook only knows the directory by its real name.
        let real = || store.bundle(&dir.canonicalize().ok()?);
        let record = store.bundle(dir).or_else(real);
        let mut document = self.document()?;
        self.unknown_edits = self.nonces.is_empty();
        for nonce in &self.nonces {
            match record.as_ref().and_then(|record| record.undo_of(nonce)) {
                Some(undo) => {
                    revert(&mut document, undo);
                    self.earlier = Some(Edit { nonce: nonce.clone(), undo: undo.clone() });
                }
                None => self.unknown_edits = true,
            }
        }
        if self.unknown_edits && self.has_driver_files() {
            return Err(Failure::new(
                Code::BadBundle,
                "config.json carries the driver files of an earlier lease, and gpulease's record of them is gone, as after a reboot",
            )
            .hint("write config.json anew; engines do so at each start"));
        }
        strip_our_hooks(&mut document);
        let named = std::mem::take(&mut self.facts.named);
        self.facts = injection::facts(&document.to_bytes()).map_err(|error| bad_bundle(&error))?;
        self.facts.named = named;
        self.edited = Some(document);
        Ok(())
    }

    /// Whether an earlier grant says that we put in more than nodes and variables.
    fn has_driver_files(&self) -> bool {
        let said = self.facts.annotations.get(&format!("{GRANTED_PREFIX}driver"));
        said.is_some_and(|way| way == "native" || way == "cdi")
    }

    /// Keeps a vendor's runtime, which may read what we cannot edit, from giving GPUs without a lease.
    fn close(&mut self) -> Result<(), Failure> {
        let Some(vendor) = self.caller.vendor() else { return Ok(()) };
        let was_edited = self.edited.is_some();
        let mut document = self.document()?;
        let closed = injection::close(&mut document, vendor, &self.facts);
        let closed = closed.map_err(|error| bad_bundle(&error))?;
        self.edited = (closed || was_edited).then_some(document);
        Ok(())
    }

    /// Leases, edits, and leaves nothing behind where that fails.
    fn lease(&mut self, asked: &Asked) -> Result<Prepared, Failure> {
        let ground = Ground::of(self.host);
        let key = self.caller.key(&self.facts)?;
        self.caller.make_way(ground, &key)?;
        let users = busy::users(self.host, asked);
        let claimant = Claimant {
            key,
            config: &self.host.config_path,
            engine: self.caller.engine(&self.facts),
            runtime: &self.caller.runtime(),
            bundle: &self.caller.bundle().display().to_string(),
            pid_file: self.caller.pid_file(),
            expected_cgroup: self.expected_cgroup()?,
            env: &self.facts.env,
            adopt: &self.nonces,
            chained: self.caller.vendor(),
            confined: policy::confines(
                &self.facts,
                &asked.request,
                &asked.inventory.node,
                &self.host.paths,
            ),
            uid: self.facts.uid,
            facilities: shares::means(asked, self.host),
            release_grace: asked.config.policy.release_grace,
            crowd: Crowd { users: &users, policy: asked.config.policy.busy },
            idle_daemons: &Cell::new(false),
        };
        let created = create::create(ground, &asked.inventory.node, &asked.request, &claimant);
        if claimant.idle_daemons.get() {
            // The next one that ends would look after them as well.
            let _ = shares::reap(self.host.own_arguments(), &self.host.paths);
        }
        let recorded = created.map_err(|error| injected::refusal(error.into(), &asked.request))?;
        let attached = shares::attach(self.host, ground, asked, recorded.clone());
        let edited = attached.and_then(|lease| self.edit(asked, &lease).map(|()| lease));
        let lease = edited.map_err(|failure| shares::undo(self.host, &recorded, failure))?;
        // This process has no more to do in a moment: to take the tree apart would be for nothing.
        std::mem::forget(self.edited.take());
        Ok(Prepared { lease, before: std::mem::take(&mut self.bytes) })
    }

    fn edit(&mut self, asked: &Asked, lease: &Lease) -> Result<(), Failure> {
        failpoint::hit("create.attached");
        let injection = self.injection(asked, lease)?;
        let mut document = self.document()?;
        let undo = apply(&mut document, &injection).map_err(|error| bad_bundle(&error))?;
        let record = BundleRecord {
            nonce: lease.nonce.clone(),
            key: lease.key().map_err(|error| Failure::of(Code::BadRequest, &error))?,
            bundle: self.caller.bundle().display().to_string(),
            devices: lease.devices.clone(),
            cgroup: lease.cgroup.clone(),
            pid_namespace: Some(lease.owner.pid_namespace),
            undo,
            earlier: self.earlier.take(),
        };
        let store = self.host.store();
        store.put_bundle(&record)?;
        self.edited = Some(document);
        if let Err(failure) = self.write(Some(lease)) {
            // The file is as it was, so its record must be too.
            return Err(match store.take_back_bundle(self.caller.bundle(), &lease.nonce) {
                Ok(()) => failure,
                Err(error) => failure.hint(format!("and its record stays: {}", chain(&error))),
            });
        }
        failpoint::hit("create.edited");
        store.forget_some_bundles(&lease.nonce);
        Ok(())
    }

    fn injection(&self, asked: &Asked, lease: &Lease) -> Result<Injection, Failure> {
        let mut injection = Injection {
            annotations: marks::annotations(lease),
            hooks: marks::hooks(self.host, &asked.config, lease)?,
            ..Injection::default()
        };
        let paths = &self.host.paths;
        let (node, chained) = (&asked.inventory.node, self.caller.vendor());
        // What the engine injected is leased as it stands. A rule for a GPU beside it, whose node
        // a container could make for itself, is not part of that.
        if asked.request.source == Source::Injected {
            injection.withhold = device_nodes::withheld_from(lease, node, paths);
            // What a vendor's runtime would give by the image's variables is not part of it either.
            if let Some(vendor) = chained.filter(|_| !self.facts.vendor_hooks.by_variables) {
                injection.env = injection::closed(vendor, &self.facts.env);
            }
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
        let (facts, bundle) = (&self.facts, self.caller.bundle());
        let wanted = Wanted { asked, lease, facts, bundle, paths, chained };
        let way = driver::way(&wanted)?;
        injection.env = lease.env.clone();
        // A vendor's runtime makes the nodes, which need not be there yet, and their rules.
        if way != Way::Chain {
            injection.nodes = device_nodes::granted(lease, node, paths)?;
        }
        let withhold = self.facts.privileged
            || self.unknown_edits
            || asked.config.policy.injected != Injected::Ignore;
        if withhold {
            injection.withhold = device_nodes::withheld_from(lease, node, paths);
        }
        driver::add(&mut injection, &wanted, way)?;
        if let Some(seat) = &lease.mps {
            shares::permit_shm(seat, &self.facts)?;
            // On a directory of that name no device can be mounted.
            let is_file = |path: &Path| path.metadata().is_ok_and(|found| !found.is_dir());
            injection.mounts.extend(injection::mps_mounts(seat, is_file));
        }
        injection.gids.extend(device_nodes::gids(&injection.nodes));
        namespaces::fit(&mut injection, facts, paths)?;
        Ok(injection)
    }

    fn expected_cgroup(&self) -> Result<Option<String>, Failure> {
        let Some(path) = self.facts.cgroups_path.as_deref() else { return Ok(None) };
        let place = cgroup::expected(path, &self.host.paths)
            .map_err(PathError::new("tell the container's cgroup by", &self.host.paths.sys))?;
        Ok(place.map(|place| place.display().to_string()))
    }

    /// Hands the spec on if anything in it was changed.
    fn write(&self, lease: Option<&Lease>) -> Result<(), Failure> {
        let Some(document) = &self.edited else { return Ok(()) };
        failpoint::hit("create.before-edit");
        let ground = Ground::of(self.host);
        self.caller.write(ground, lease, &document.to_bytes())
    }
}

pub(crate) fn bad_bundle(error: &dyn std::error::Error) -> Failure {
    Failure::of(Code::BadBundle, error)
}

/// A file that is not JSON to us may be to the runtime; if it speaks of us, we must not guess.
fn mentions_us(bytes: &[u8]) -> bool {
    [&b"gpulease"[..], b"kaiwo.ai/gpu"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|w| w == *word))
}
