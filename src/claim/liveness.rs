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

/// Tells whether the container of a lease lives whose start is not seen through any more.
pub(super) type Told<'a> = &'a dyn Fn(&Lease) -> Evidence;

/// Judges the holder of a lease. Never with the ledger locked: it reads files of others.
#[must_use]
pub fn holder(lease: &Lease, paths: &Paths) -> Holder {
    holder_here(lease, &Here::look(paths), paths)
}

/// [`holder`] for many leases: what is the same for all of them is looked at once.
#[must_use]
pub fn holder_here(lease: &Lease, here: &Here, paths: &Paths) -> Holder {
    holder_by(lease, here, paths, &|lease| evidence::of_lease(lease, paths))
}

/// [`holder_here`], by what is told of the container.
pub(super) fn holder_by(lease: &Lease, here: &Here, paths: &Paths, told: Told<'_>) -> Holder {
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
        LeaseState::Pending => pending(lease, here, paths, told),
    }
}

/// The owner of a pending lease is the shim, which became the low-level runtime. When that ends,
/// the container may exist all the same: its hook may not have been run, or not by this runtime.
/// Where it is a podman, which may be a service, it counts for a while only.
fn pending(lease: &Lease, here: &Here, paths: &Paths, told: Told<'_>) -> Holder {
    let in_time = |precreate: &Precreate| clock::boottime_ms() < precreate.until_ms;
    let counts = lease.precreate.as_ref().is_none_or(in_time);
    if counts && proc::life_here(&lease.owner, here, paths) == Life::Alive {
        return Holder::Alive;
    }
    container(lease, paths, told)
}

/// Judges the holder of a lease whose container the engine deletes, or starts anew. A podman that
/// it was handed to by `precreate` does not count any more: it lives on after a start that failed.
pub(super) fn holder_at_end(lease: &Lease, paths: &Paths, told: Told<'_>) -> Holder {
    match (lease.state, &lease.precreate) {
        (LeaseState::Pending, Some(_)) => container(lease, paths, told),
        _ => holder_by(lease, &Here::look(paths), paths, told),
    }
}

/// What is left of a container whose start is not seen through any more.
fn container(lease: &Lease, paths: &Paths, told: Told<'_>) -> Holder {
    match told(lease) {
        // It may have ended since it was asked for.
        Evidence::Init(owner) if proc::life(&owner, paths) == Life::Alive => Holder::AliveAs(owner),
        Evidence::Init(_) | Evidence::None if cgroup_is_empty(lease) => Holder::Dead,
        _ => Holder::Alive,
    }
}

fn cgroup_is_empty(lease: &Lease) -> bool {
    lease.cgroup.as_deref().is_none_or(|dir| cgroup::is_empty(Path::new(dir)))
}

/// Judges the container of a record that cannot be read, by what else is known of it: the low-level
/// runtime's state, and the cgroup that we noted when we edited its bundle. Never with the ledger
/// locked: it reads files of others.
#[must_use]
pub fn holder_of_corrupt(
    corrupt: &Corrupt,
    now: SystemTime,
    witnesses: &Witnesses,
    paths: &Paths,
) -> Holder {
    let told = |record: &Corrupt| evidence::is_alive_or_unreadable(&record.key, paths);
    corrupt_holder_by(corrupt, now, witnesses, &told)
}

/// [`holder_of_corrupt`], by what is told of the low-level runtime's state.
pub(super) fn corrupt_holder_by(
    corrupt: &Corrupt,
    now: SystemTime,
    witnesses: &Witnesses,
    is_alive_or_unreadable: &dyn Fn(&Corrupt) -> bool,
) -> Holder {
    let in_cgroup = || {
        let known = witnesses.of(&corrupt.key).iter();
        let mut cgroups = known.filter_map(|witness| witness.cgroup.as_deref());
        cgroups.any(|dir| !cgroup::is_empty(Path::new(dir)))
    };
    if is_alive_or_unreadable(corrupt) || in_cgroup() || witnesses.is_cut_off() {
        return Holder::Alive;
    }
    let age = corrupt.modified.and_then(|modified| now.duration_since(modified).ok());
    if age.is_some_and(|age| age >= CREATE_TIME) { Holder::Dead } else { Holder::Alive }
}
