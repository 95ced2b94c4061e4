//! Computes the grant that a start would get now. Nothing is claimed or written.

use super::ask::{Ask, Asked, Launch};
use super::interpret::{Interpretation, interpret_facts};
use super::prepare::request_lease;
use super::{busy, driver, edits};
use crate::allocator::{Grant, Requester};
use crate::claim::Ctx;
use crate::claim::create::{self, Foreseen, LeaseRequest, NewHolder};
use crate::claim::look::entries;
use crate::claim::processes::GpuUsers;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{Facts, Injection};
use crate::model::code::Code;
use crate::model::id::{ContainerId, LeaseKey};
use crate::request::keys::PREFIX;
use crate::store::Entry;
use crate::sys::gpu_users::GpuUser;
use std::path::Path;

/// The grant that a start would get now, by the same rules. The edits are composed too, because
/// they may not be possible.
pub fn foresee(
    host: &Host,
    launch: &Launch<'_>,
    ask: &mut Ask,
    requester: Requester,
) -> Result<Grant, Failure> {
    let key = key_of(host, launch.bundle)?;
    let Asked { config, inventory, .. } = &ask.asked;
    let users = match busy::counts(&ask.asked) {
        true => GpuUsers::that_count(&inventory.node, &host.paths, config).list,
        false => Vec::new(),
    };
    let Foreseen { grant, lease } =
        claimed(host, launch, ask, key, requester, &users, create::foresee)?;
    edits::edited(host, launch, ask, &lease)?;
    Ok(grant)
}

/// Fails if the configuration makes a container with only `gpulease/count=1` fail on an idle node.
/// A missing device, hook or node is not the configuration's fault: a node may have MIG instances
/// only.
pub fn check_default(host: &Host, launch: &Launch<'_>) -> Result<(), Failure> {
    let mut facts = Facts::usual();
    facts.annotations.insert(format!("{PREFIX}count"), "1".to_owned());
    let answer = interpret_facts(host, launch, b"{}".to_vec(), facts)?;
    let Interpretation::Ask(ask) = answer else { return Ok(()) };
    let requester = ask.requester(host);
    let lease = match claimed(host, launch, &ask, unnamed()?, requester, &[], create::foresee_idle)
    {
        Ok(foreseen) => foreseen.lease,
        Err(failure) if failure.code == Code::NoMatch => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let request = driver::DriverRequest { ask: &ask, lease: &lease, launch, paths: &host.paths };
    let mode = driver::mode(&request)?;
    driver::add(&mut Injection::default(), &request, mode)
}

/// The lease that `claim` would make.
fn claimed(
    host: &Host,
    launch: &Launch<'_>,
    ask: &Ask,
    key: LeaseKey,
    requester: Requester,
    users: &[GpuUser],
    claim: fn(Ctx<'_>, &LeaseRequest<'_>) -> Result<Foreseen, Failure>,
) -> Result<Foreseen, Failure> {
    let holder = NewHolder {
        key,
        engine: "",
        runtime: &launch.runtime.display().to_string(),
        bundle: &launch.bundle_name(),
        pid_file: None,
        cgroup: ask.expected_cgroup(&host.paths)?,
    };
    let claim = |request: &LeaseRequest<'_>| claim(Ctx::of(host), request);
    request_lease(host, ask, launch, holder, requester, users, claim)
        .map_err(|failure| ask.refusal(failure))
}

/// The container that a bundle is recorded for, which may get its former devices again; otherwise a
/// container without a lease.
fn key_of(host: &Host, bundle: Option<&Path>) -> Result<LeaseKey, Failure> {
    let is_same = |recorded: &str| bundle.is_some_and(|dir| dir == Path::new(recorded));
    let entries = entries(host)?;
    let own = entries.iter().find_map(|entry| match entry {
        Entry::Lease(lease) if is_same(&lease.bundle) => lease.key().ok(),
        _ => None,
    });
    own.map_or_else(unnamed, Ok)
}

fn unnamed() -> Result<LeaseKey, Failure> {
    Ok(LeaseKey::new("/unnamed", ContainerId::new("unnamed")?)?)
}
