//! From a container's spec to a leased and edited one: what the shim's `create` and `run` do, and
//! Podman's `precreate` hook as well.

use super::ask::{Ask, Launch};
use super::interpret::Interpretation;
use super::{busy, edits, policy, shares};
use crate::allocator::Requester;
use crate::claim::Ctx;
use crate::claim::busy::BusyProcesses;
use crate::claim::create::{self, LeaseRequest, NewHolder};
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{Document, Facts};
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::paths::Paths;
use crate::request::RequestSource;
use crate::store::BundleRecord;
use crate::sys::gpu_users::GpuUser;
use crate::sys::{PathError, cgroup, failpoint};
use std::path::Path;

/// Who has the container started, and where its spec goes.
pub trait Starter {
    /// The container. Fails if it has no id, or none that can be one.
    fn key(&self, facts: &Facts) -> Result<LeaseKey, Failure>;

    /// The engine, as far as can be told. For display.
    fn engine(&self, facts: &Facts) -> &'static str;

    /// Where the container's pid will be written.
    fn pid_file(&self) -> Option<String>;

    /// Clears what an earlier start of the container may have left in the way of this one. Fails if
    /// that cannot be done.
    fn make_way(&self, _: Ctx<'_>, _: &LeaseKey) -> Result<(), Failure> {
        Ok(())
    }

    /// Puts the edited spec where the runtime will read it; `lease` is what was granted. Fails if
    /// that fails: what the runtime reads is then as it was, or nothing.
    fn write(&self, ctx: Ctx<'_>, lease: Option<&Lease>, spec: &[u8]) -> Result<(), Failure>;
}

/// What became of a start.
pub enum StartOutcome {
    /// It has nothing to do with us: the spec stays as it is.
    Untouched(Vec<u8>),
    /// It gets nothing, and what its spec pretended to have is taken out.
    Cleaned,
    /// It is leased and edited, and not yet handed to the runtime.
    Granted(Box<Prepared>),
}

/// A container that is leased and edited.
pub struct Prepared {
    pub lease: Lease,
    /// Its spec, as it was.
    pub before: Vec<u8>,
}

/// Does what a spec comes to, before the low-level runtime sees it. Fails if what is asked for
/// cannot be had; nothing is left behind then.
pub fn prepare(
    host: &Host,
    launch: &Launch<'_>,
    starter: &dyn Starter,
    answer: Interpretation,
) -> Result<StartOutcome, Failure> {
    match answer {
        Interpretation::Untouched(spec) => Ok(StartOutcome::Untouched(spec)),
        Interpretation::Cleaned(document) => {
            write(host, starter, None, &document).map(|()| StartOutcome::Cleaned)
        }
        Interpretation::Ask(ask) => {
            let prepared = Start { host, launch, starter, ask: *ask }.lease()?;
            Ok(StartOutcome::Granted(Box::new(prepared)))
        }
    }
}

/// Hands the request for a lease that a container's wish comes to to `act`.
pub(super) fn request_lease<T>(
    host: &Host,
    ask: &Ask,
    launch: &Launch<'_>,
    holder: NewHolder<'_>,
    requester: Requester,
    users: &[GpuUser],
    act: impl FnOnce(&LeaseRequest<'_>) -> T,
) -> T {
    let asked = &ask.asked;
    act(&LeaseRequest {
        holder,
        config: &host.config_path,
        request: &asked.request,
        node: &asked.inventory.node,
        requester,
        facilities: shares::facilities_for(asked, host),
        release_grace: asked.config.policy.release_grace,
        busy: BusyProcesses { users, policy: asked.config.policy.busy },
        adopt: &ask.spec.nonces,
        env: &|lease| edits::environment(ask, launch, lease),
    })
}

/// One start of a container that asks for devices.
struct Start<'a> {
    host: &'a Host,
    launch: &'a Launch<'a>,
    starter: &'a dyn Starter,
    ask: Ask,
}

impl Start<'_> {
    /// Leases, edits, and leaves nothing behind where that fails.
    fn lease(mut self) -> Result<Prepared, Failure> {
        let (host, launch, starter, ask) = (self.host, self.launch, self.starter, &self.ask);
        let facts = &ask.spec.facts;
        let ctx = Ctx::of(host);
        let key = starter.key(facts)?;
        starter.make_way(ctx, &key)?;
        let holder = NewHolder {
            key,
            engine: starter.engine(facts),
            runtime: &launch.runtime.display().to_string(),
            bundle: &launch.bundle_name(),
            pid_file: starter.pid_file(),
            cgroup: ask.expected_cgroup(&host.paths)?,
        };
        let users = busy::users(host, &ask.asked);
        let requester = ask.requester(host);
        let created =
            request_lease(host, ask, launch, holder, requester, &users, |r| create::create(ctx, r));
        if created.left_daemons {
            // The next one that ends would look after them as well.
            let _ = shares::reap(host.own_arguments(), &host.paths);
        }
        let recorded = created.lease.map_err(|failure| ask.refusal(failure))?;
        let attached = shares::attach(host, ctx, &ask.asked, recorded.clone());
        let edited = attached.and_then(|lease| self.edit(&lease).map(|()| lease));
        let lease = edited.map_err(|failure| shares::undo(host, &recorded, failure))?;
        Ok(Prepared { lease, before: std::mem::take(&mut self.ask.spec.bytes) })
    }

    fn edit(&mut self, lease: &Lease) -> Result<(), Failure> {
        failpoint::hit("create.attached");
        let (document, undo) = edits::edited(self.host, self.launch, &mut self.ask, lease)?;
        let record = BundleRecord {
            nonce: lease.nonce.clone(),
            key: lease.key()?,
            bundle: lease.bundle.clone(),
            devices: lease.devices.clone(),
            cgroup: lease.cgroup.clone(),
            pid_namespace: Some(lease.owner.pid_namespace),
            undo,
            earlier: self.ask.spec.earlier.take(),
        };
        let store = self.host.store();
        store.put_bundle(&record)?;
        if let Err(failure) = write(self.host, self.starter, Some(lease), &document) {
            // The file is as it was, so its record must be too.
            let taken_back = store.take_back_bundle(Path::new(&record.bundle), &lease.nonce);
            return Err(match taken_back {
                Ok(()) => failure,
                Err(error) => failure.and(&format!("its record stays: {error}")),
            });
        }
        // This process has no more to do in a moment: to take the tree apart would be for nothing.
        std::mem::forget(document);
        failpoint::hit("create.edited");
        store.forget_some_bundles(&lease.nonce);
        Ok(())
    }
}

/// Hands the edited spec on.
fn write(
    host: &Host,
    starter: &dyn Starter,
    lease: Option<&Lease>,
    document: &Document,
) -> Result<(), Failure> {
    failpoint::hit("create.before-edit");
    starter.write(Ctx::of(host), lease, &document.to_bytes())
}

/// What a hint adds where no annotation names the devices, of which few would know.
const BY_SPEC: &str = "the devices are asked for by the container's own device nodes, device rules, \
                       mounts or hooks";

impl Ask {
    /// Who asks, as far as it matters to how a share is made true.
    pub fn requester(&self, host: &Host) -> Requester {
        let (asked, facts) = (&self.asked, &self.spec.facts);
        let confined = policy::confines(facts, &asked.request, &asked.inventory.node, &host.paths);
        Requester { uid: facts.uid, confined }
    }

    /// Why a claim failed, for the user of this container.
    pub(super) fn refusal(&self, failure: Failure) -> Failure {
        match self.asked.request.source {
            RequestSource::Injected => failure.and(BY_SPEC),
            _ => failure,
        }
    }

    /// The cgroup that the container will get, where its spec tells.
    pub(super) fn expected_cgroup(&self, paths: &Paths) -> Result<Option<String>, Failure> {
        let Some(path) = self.spec.facts.cgroups_path.as_deref() else { return Ok(None) };
        let place = cgroup::expected(path, paths)
            .map_err(PathError::new("tell the container's cgroup by", &paths.sys))?;
        Ok(place.map(|place| place.display().to_string()))
    }
}
