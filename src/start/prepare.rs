//! Prepares a container's start: leases its devices and edits its spec. The shim's `create` and
//! `run` and Podman's `precreate` hook do this.

use super::ask::{Ask, Asked, Launch};
use super::interpret::Interpretation;
use super::{busy, edits, policy, shares};
use crate::allocator::Requester;
use crate::claim::Ctx;
use crate::claim::busy::BusyProcesses;
use crate::claim::create::{self, LeaseRequest, NewHolder};
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{Document, Facts};
use crate::inventory::missing::find_devices;
use crate::model::code::Code;
use crate::model::id::LeaseKey;
use crate::model::lease::Lease;
use crate::paths::Paths;
use crate::request::RequestSource;
use crate::store::BundleRecord;
use crate::sys::gpu_users::GpuUser;
use crate::sys::{PathError, cgroup, failpoint};
use std::path::Path;

/// The program that starts the container: it names the container and writes its spec.
pub trait Starter {
    /// The container's key. Fails if the container has no valid id.
    fn key(&self, facts: &Facts) -> Result<LeaseKey, Failure>;

    /// The engine's name for display, as far as it is known.
    fn engine(&self, facts: &Facts) -> &'static str;

    /// The path of the file for the container's pid.
    fn pid_file(&self) -> Option<String>;

    /// Removes traces of an earlier start of the container that would be in the way. Fails if that
    /// is not possible.
    fn make_way(&self, _: Ctx<'_>, _: &LeaseKey) -> Result<(), Failure> {
        Ok(())
    }

    /// Writes the edited spec to the place where the runtime reads it; `lease` is the grant. On
    /// failure the runtime's file is unchanged or missing.
    fn write(&self, ctx: Ctx<'_>, lease: Option<&Lease>, spec: &[u8]) -> Result<(), Failure>;
}

/// The result of a start.
pub enum StartOutcome {
    /// The spec does not concern gpulease and stays as it is.
    Untouched(Vec<u8>),
    /// The container gets no device, and false traces of a grant were removed from its spec.
    Cleaned,
    /// The container is leased and its spec edited. The runtime does not have it yet.
    Granted(Box<Prepared>),
}

/// A container that is leased and edited.
pub struct Prepared {
    pub lease: Lease,
    /// The original spec.
    pub before: Vec<u8>,
}

/// Carries out the decision about a spec, before the low-level runtime sees it. Fails if the
/// request cannot be met; then nothing is left behind.
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

/// Builds the request for a container's lease and passes it to `act`.
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

/// One start of a container that requests devices.
struct Start<'a> {
    host: &'a Host,
    launch: &'a Launch<'a>,
    starter: &'a dyn Starter,
    ask: Ask,
}

impl Start<'_> {
    /// Leases the devices and edits the spec. On failure nothing is left behind.
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
            // The next lease that ends would look for the daemons as well.
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
            // The spec is unchanged, so its record must go.
            let taken_back = store.take_back_bundle(Path::new(&record.bundle), &lease.nonce);
            return Err(match taken_back {
                Ok(()) => failure,
                Err(error) => failure.and(&format!("the record of the edit remains: {error}")),
            });
        }
        // The process ends in a moment, so freeing the tree would be wasted time.
        std::mem::forget(document);
        failpoint::hit("create.edited");
        store.forget_some_bundles(&lease.nonce);
        Ok(())
    }
}

/// Passes the edited spec on.
fn write(
    host: &Host,
    starter: &dyn Starter,
    lease: Option<&Lease>,
    document: &Document,
) -> Result<(), Failure> {
    failpoint::hit("create.before-edit");
    starter.write(Ctx::of(host), lease, &document.to_bytes())
}

/// Added to a hint if no annotation names the devices, because few users would know the reason.
const BY_SPEC: &str = "the request comes from the container's own device nodes, device rules, \
                       mounts or hooks";

impl Ask {
    /// The container that requests, as far as it affects how a share is enforced.
    pub fn requester(&self, host: &Host) -> Requester {
        let (asked, facts) = (&self.asked, &self.spec.facts);
        let confined = policy::confines(facts, &asked.request, &asked.inventory.node, &host.paths);
        Requester { uid: facts.uid, confined }
    }

    /// The failure of a claim, worded for the container's user.
    pub(super) fn refusal(&self, failure: Failure) -> Failure {
        let Asked { request, config, inventory } = &self.asked;
        let failure = match inventory.node.devices.as_slice() {
            // The allocator does not know where devices are looked for.
            [] if failure.code == Code::NoMatch => failure.hint(find_devices(config)),
            _ => failure,
        };
        match request.source {
            RequestSource::Injected => failure.and(BY_SPEC),
            _ => failure,
        }
    }

    /// The cgroup that the container will have, if its spec names one.
    pub(super) fn expected_cgroup(&self, paths: &Paths) -> Result<Option<String>, Failure> {
        let Some(path) = self.spec.facts.cgroups_path.as_deref() else { return Ok(None) };
        let place = cgroup::expected(path, paths)
            .map_err(PathError::new("find the container's cgroup by", &paths.sys))?;
        Ok(place.map(|place| place.display().to_string()))
    }
}
