//! What a start would be granted at this moment. Nothing is taken and nothing is written.

use super::ask::{Ask, Asked, Launch};
use super::prepare::request_lease;
use super::{busy, edits};
use crate::allocator::{Asker, Grant};
use crate::claim::Ground;
use crate::claim::create::{self, Foreseen, LeaseRequest, Requester};
use crate::claim::look::entries;
use crate::claim::processes::Users;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::code::Code;
use crate::model::id::{ContainerId, LeaseKey};
use crate::store::Entry;
use std::path::Path;

/// The grant that a start would get now, by the rules of a start: its edits are composed as well,
/// since they may not be possible.
pub fn foresee(
    host: &Host,
    launch: &Launch<'_>,
    ask: &mut Ask,
    asker: Asker,
) -> Result<Grant, Failure> {
    let ground = Ground::of(host);
    let requester = Requester {
        key: key_of(host, launch.bundle)?,
        engine: "",
        runtime: &launch.runtime.display().to_string(),
        bundle: &launch.bundle.unwrap_or(Path::new("")).display().to_string(),
        pid_file: None,
        cgroup: ask.expected_cgroup(&host.paths)?,
    };
    let Asked { config, inventory, .. } = &ask.asked;
    let users = match busy::counts(&ask.asked) {
        true => Users::that_count(&inventory.node, &host.paths, config).list,
        false => Vec::new(),
    };
    let claim = |request: &LeaseRequest<'_>| create::foresee(ground, request);
    let Foreseen { grant, lease } =
        request_lease(host, ask, launch, requester, asker, &users, claim)
            .map_err(|failure| ask.refusal(failure))?;
    edits::edited(host, launch, ask, &lease)?;
    Ok(grant)
}

/// The container that a bundle is recorded for, which may have its former devices back; else one that
/// has none.
fn key_of(host: &Host, bundle: Option<&Path>) -> Result<LeaseKey, Failure> {
    let is_same = |recorded: &str| bundle.is_some_and(|dir| dir == Path::new(recorded));
    let entries = entries(host)?;
    let own = entries.iter().find_map(|entry| match entry {
        Entry::Lease(lease) if is_same(&lease.bundle) => lease.key().ok(),
        _ => None,
    });
    if let Some(key) = own {
        return Ok(key);
    }
    let unnamed = ContainerId::new("unnamed").and_then(|id| LeaseKey::new("/unnamed", id));
    unnamed.map_err(|error| Failure::of(Code::BadRequest, &error))
}
