//! Is a lease's holder dead? The owner's process must be gone **and** the container's cgroup
//! empty; whatever cannot be judged is alive.

use super::evidence::{self, Evidence};
use crate::model::lease::{Lease, LeaseState, Owner, Precreate};
use crate::paths::Paths;
use crate::store::{Corrupt, Witnesses};
use crate::sys::identity::Here;
use crate::sys::proc::{self, Life};
use crate::sys::{cgroup, clock};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A record that cannot be read and is younger than this may be of a container that is just
/// being created, of which no runtime state exists yet. (The longest create: Podman's and
/// CRI-O's container create time-out, 240 s.)
pub(super) const CREATE_TIME: Duration = Duration::from_secs(240);

/// What is true of a lease's holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It lives, or may live.
    Alive,
    /// It is certainly gone.
    Dead,
    /// The shim is gone, but the container lives: nobody told the lease, so the sweep does.
    AliveAs(Owner),
}

/// Judges the holder of a lease.
#[must_use]
pub fn holder(lease: &Lease, paths: &Paths) -> Holder {
    holder_here(lease, &Here::look(paths), paths)
}

/// [`holder`] for many leases: what is the same for all of them is looked at once.
#[must_use]
pub fn holder_here(lease: &Lease, here: &Here, paths: &Paths) -> Holder {
    if here.boot_id.as_ref().is_some_and(|boot_id| *boot_id != lease.owner.boot_id) {
        return Holder::Dead;
    }
    match lease.state {
        LeaseState::Grace => {
            let over = lease.grace_until_ms.is_none_or(|until| clock::boottime_ms() >= until);
            if over { Holder::Dead } else { Holder::Alive }
        }
        LeaseState::Bound => {
            let life = proc::life_here(&lease.owner, here, paths);
            let gone = life == Life::Gone && cgroup_is_empty(lease);
            if gone { Holder::Dead } else { Holder::Alive }
        }
        LeaseState::Pending => pending(lease, here, paths),
    }
}

/// The owner of a pending lease is the shim, which became the low-level runtime. When that ends,
/// the container may exist all the same: its hook may not have been run, or not by this runtime.
/// Where it is a podman, which may be a service, it counts for a while only.
fn pending(lease: &Lease, here: &Here, paths: &Paths) -> Holder {
    let in_time = |precreate: &Precreate| clock::boottime_ms() < precreate.until_ms;
    let counts = lease.precreate.as_ref().is_none_or(in_time);
    if counts && proc::life_here(&lease.owner, here, paths) == Life::Alive {
        return Holder::Alive;
    }
    container(lease, paths)
}

/// Judges the holder of a lease whose container the engine deletes, or starts anew. A podman that
/// it was handed to by `precreate` does not count any more: it lives on after a start that failed.
#[must_use]
pub fn holder_at_end(lease: &Lease, paths: &Paths) -> Holder {
    match (lease.state, &lease.precreate) {
        (LeaseState::Pending, Some(_)) => container(lease, paths),
        _ => holder(lease, paths),
    }
}

/// What a container whose start nobody sees through any more has left.
fn container(lease: &Lease, paths: &Paths) -> Holder {
    let known = match evidence::of_runtime_state(lease, paths) {
        Evidence::Init(owner) => return Holder::AliveAs(owner),
        other => other,
    };
    if let Some(owner) = evidence::of_pid_file(lease, paths) {
        return Holder::AliveAs(owner);
    }
    let is_dead = known == Evidence::None && cgroup_is_empty(lease);
    if is_dead { Holder::Dead } else { Holder::Alive }
}

fn cgroup_is_empty(lease: &Lease) -> bool {
    lease.cgroup.as_deref().is_none_or(|dir| cgroup::is_empty(Path::new(dir)))
}

/// Judges the container of a record that cannot be read, by what else is known of it: the low-level
/// runtime's state, and the cgroup that we noted when we edited its bundle.
#[must_use]
pub fn holder_of_corrupt(
    corrupt: &Corrupt,
    now: SystemTime,
    witnesses: &Witnesses,
    paths: &Paths,
) -> Holder {
    let in_cgroup = || {
        let known = witnesses.of(&corrupt.key).iter();
        let mut cgroups = known.filter_map(|witness| witness.cgroup.as_deref());
        cgroups.any(|dir| !cgroup::is_empty(Path::new(dir)))
    };
    let alive = evidence::is_alive_or_unreadable(&corrupt.key, paths) || in_cgroup();
    if alive || witnesses.is_cut_off() {
        return Holder::Alive;
    }
    let age = corrupt.modified.and_then(|modified| now.duration_since(modified).ok());
    if age.is_some_and(|age| age >= CREATE_TIME) { Holder::Dead } else { Holder::Alive }
}
