//! Is a lease's holder dead? The owner's process must be gone **and** the container's cgroup
//! empty; what cannot be judged is kept as if it were alive, and is said to be so.

use super::runtime_state::{self, Evidence};
use crate::model::lease::{Lease, LeaseState, Owner, PrecreateHolder};
use crate::model::spelled::spelled;
use crate::paths::Paths;
use crate::store::{Corrupt, Witness, Witnesses};
use crate::sys::cgroup_of_others::CgroupState;
use crate::sys::namespaces::Here;
use crate::sys::namespaces::RecordedNamespace;
use crate::sys::proc::{self, Life};
use crate::sys::{cgroup, clock};
use std::fmt;
use std::path::{Path, PathBuf};
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
    /// That cannot be told from here, so its lease is kept.
    Unjudged(Unjudged),
}

/// Why a holder cannot be judged: it was recorded in another pid namespace, as by an engine that
/// runs in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unjudged {
    /// And this is not the host, which alone sees into it.
    Elsewhere,
    /// Or which one that was is not known, and this is not the host.
    Nowhere,
    InUse,
    /// And something hides who is in it.
    Hidden(String),
    /// Which is empty, but this cgroup, which may be the holder's, is not.
    Cgroup(PathBuf),
    /// Which is empty, but this cgroup of the holder's is in no hierarchy that is seen from here.
    NoCgroup(PathBuf),
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be judged from here: ")?;
        match self {
            Self::Elsewhere => f.write_str(
                "it was recorded in another pid namespace, and this one is not the host's",
            ),
            Self::Nowhere => f.write_str(
                "in which pid namespace it was recorded is not known, and this one is not the host's",
            ),
            Self::InUse => {
                f.write_str("it was recorded in another pid namespace, which has processes")
            }
            Self::Hidden(why) => write!(f, "it was recorded in another pid namespace, and {why}"),
            Self::Cgroup(dir) => write!(
                f,
                "its pid namespace is gone, and `{}`, which may be its cgroup, has processes",
                dir.display()
            ),
            Self::NoCgroup(dir) => write!(
                f,
                "its pid namespace is gone, and its cgroup `{}` is in no hierarchy that is seen here",
                dir.display()
            ),
        }
    }
}

spelled! {
    /// How it stands with a lease, in the one word that all have for it.
    pub enum LeaseStanding {
        /// Its container is being made.
        Pending = "pending",
        Bound = "bound",
        /// Its container has ended and may have the devices back for a while.
        Grace = "grace",
        /// That while is over.
        Over = "over",
        /// Its holder is dead.
        Dead = "dead",
        /// Its holder cannot be judged from here.
        Unjudged = "unjudged",
    }
}

impl LeaseStanding {
    /// Of a lease whose holder was judged so.
    pub const fn of(lease: &Lease, holder: &Holder) -> Self {
        match (lease.state, holder) {
            (LeaseState::Grace, Holder::Dead) => Self::Over,
            (LeaseState::Grace, _) => Self::Grace,
            (_, Holder::Dead) => Self::Dead,
            (_, Holder::Unjudged(_)) => Self::Unjudged,
            (LeaseState::Pending, _) => Self::Pending,
            (LeaseState::Bound, _) => Self::Bound,
        }
    }

    /// What there is of a holder: in its grace there is none, for its container is gone.
    pub const fn holder(self) -> &'static str {
        match self {
            Self::Pending | Self::Bound => "alive",
            Self::Grace => "gone",
            Self::Over | Self::Dead => "dead",
            Self::Unjudged => "unknown",
        }
    }

    /// Whether the next start takes what it holds.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Over | Self::Dead)
    }
}

impl Holder {
    /// Why it cannot be judged, if so.
    pub const fn unjudged(&self) -> Option<&Unjudged> {
        if let Self::Unjudged(why) = self { Some(why) } else { None }
    }
}

/// What tells of containers that the ledger alone does not know enough of: this host's files do,
/// and are never read with the ledger locked.
pub(super) trait ContainerFacts {
    /// What there is of a container whose start is not seen through any more.
    fn of_lease(&self, lease: &Lease) -> Evidence;

    /// Whether the container of a record that cannot be read may be alive, by
    /// the low-level runtime's state.
    fn of_corrupt(&self, record: &Corrupt) -> bool;
}

impl ContainerFacts for Paths {
    fn of_lease(&self, lease: &Lease) -> Evidence {
        runtime_state::of_lease(lease, self)
    }

    fn of_corrupt(&self, record: &Corrupt) -> bool {
        runtime_state::is_alive_or_unreadable(&record.key, self)
    }
}

/// Judges the holder of a lease by the files of this host. Never with the ledger locked.
pub fn holder(lease: &Lease, paths: &Paths) -> Holder {
    Judge::look(paths).holder(lease)
}

/// Judges many holders: what is the same for all of them is looked at once.
pub struct Judge<'a> {
    pub(super) here: Here,
    pub(super) now: SystemTime,
    paths: &'a Paths,
    told: &'a dyn ContainerFacts,
}

impl<'a> Judge<'a> {
    /// Who goes by the files of this host. Never with the ledger locked.
    pub fn look(paths: &'a Paths) -> Self {
        Self::by(paths, paths)
    }

    pub(super) fn by(told: &'a dyn ContainerFacts, paths: &'a Paths) -> Self {
        Self { here: Here::look(paths), now: SystemTime::now(), paths, told }
    }

    pub fn holder(&self, lease: &Lease) -> Holder {
        let Self { here, paths, .. } = self;
        if here.boot_id.as_ref().is_some_and(|boot_id| *boot_id != lease.owner.boot_id) {
            return Holder::Dead;
        }
        match lease.state {
            LeaseState::Grace => {
                let over = lease.grace_until_ms.is_none_or(|until| clock::boottime_ms() >= until);
                if over { Holder::Dead } else { Holder::Alive }
            }
            LeaseState::Pending | LeaseState::Bound
                if here.pid_namespace != Some(lease.owner.pid_namespace) =>
            {
                let seen = here.namespace_of(&lease.owner, paths);
                self.elsewhere(seen, lease.cgroup.as_deref())
            }
            LeaseState::Bound => {
                let life = proc::life_here(&lease.owner, here, paths);
                let gone = life == Life::Gone && cgroup_is_empty(lease);
                if gone { Holder::Dead } else { Holder::Alive }
            }
            LeaseState::Pending => self.pending(lease),
        }
    }

    /// The owner of a pending lease is the shim, which became the low-level runtime. When that
    /// ends, the container may exist all the same: its hook may not have been run, or not by this
    /// runtime. Where it is a podman, which may be a service, it counts for a while only.
    fn pending(&self, lease: &Lease) -> Holder {
        let in_time = |precreate: &PrecreateHolder| clock::boottime_ms() < precreate.until_ms;
        let counts = lease.precreate.as_ref().is_none_or(in_time);
        if counts && proc::life_here(&lease.owner, &self.here, self.paths) == Life::Alive {
            return Holder::Alive;
        }
        self.container(lease)
    }

    /// Judges the holder of a lease whose container the engine deletes, or starts anew. A podman
    /// that it was handed to by `precreate` does not count any more: it lives on after
    /// a start that failed.
    pub(super) fn holder_at_end(&self, lease: &Lease) -> Holder {
        let is_ours = self.here.pid_namespace == Some(lease.owner.pid_namespace);
        match (lease.state, &lease.precreate) {
            (LeaseState::Pending, Some(_)) if is_ours => self.container(lease),
            _ => self.holder(lease),
        }
    }

    /// Judges what was recorded in another pid namespace. Its pids, its runtimes' state and its
    /// paths mean nothing here, and it is not asked whether the container runs yet: once the
    /// namespace is empty, it does not run.
    fn elsewhere(&self, seen: RecordedNamespace, cgroup: Option<&str>) -> Holder {
        Holder::Unjudged(match seen {
            RecordedNamespace::Empty => {
                let Some(dir) = cgroup.map(Path::new) else { return Holder::Dead };
                match self.here.cgroups.find(dir, self.paths) {
                    CgroupState::Empty => return Holder::Dead,
                    CgroupState::Populated(dir) => Unjudged::Cgroup(dir),
                    CgroupState::NotSeen => Unjudged::NoCgroup(dir.to_owned()),
                }
            }
            RecordedNamespace::Populated => Unjudged::InUse,
            RecordedNamespace::Unclear(why) => Unjudged::Hidden(why),
            RecordedNamespace::Ours | RecordedNamespace::NotFromHere => Unjudged::Elsewhere,
        })
    }

    /// What is left of a container whose start is not seen through any more.
    fn container(&self, lease: &Lease) -> Holder {
        let lives = |owner: &Owner| proc::life(owner, self.paths) == Life::Alive;
        match self.told.of_lease(lease) {
            // It may have ended since it was asked for.
            Evidence::Init(owner) if lives(&owner) => Holder::AliveAs(owner),
            Evidence::Init(_) | Evidence::None if cgroup_is_empty(lease) => Holder::Dead,
            _ => Holder::Alive,
        }
    }

    /// Judges the container of a record that cannot be read, by what else is known of it: the
    /// low-level runtime's state, and the cgroup that we noted when we edited its bundle.
    pub fn holder_of_corrupt(&self, corrupt: &Corrupt, witnesses: &Witnesses) -> Holder {
        let known = witnesses.of(&corrupt.key);
        if let Some(unjudged) = self.recorded_elsewhere(known) {
            return Holder::Unjudged(unjudged);
        }
        let in_cgroup = || {
            let mut cgroups = known.iter().filter_map(|witness| witness.cgroup.as_deref());
            cgroups.any(|dir| !cgroup::is_empty(Path::new(dir)))
        };
        if self.told.of_corrupt(corrupt) || in_cgroup() || witnesses.is_cut_off() {
            return Holder::Alive;
        }
        let age = corrupt.modified.and_then(|modified| self.now.duration_since(modified).ok());
        if age.is_some_and(|age| age >= CREATE_TIME) { Holder::Dead } else { Holder::Alive }
    }

    /// Why a record that cannot be read is not to be judged from here, if so.
    fn recorded_elsewhere(&self, known: &[Witness]) -> Option<Unjudged> {
        let here = &self.here;
        let mut namespaces = known.iter().filter_map(|witness| witness.pid_namespace);
        if namespaces.next().is_none() && !here.is_in_initial_pid_namespace() {
            return Some(Unjudged::Nowhere);
        }
        known.iter().find_map(|witness| {
            let namespace = witness.pid_namespace?;
            if here.pid_namespace == Some(namespace) {
                return None;
            }
            // Of when it was made nothing is known.
            let seen = here.namespace(namespace, u64::MAX, self.paths);
            self.elsewhere(seen, witness.cgroup.as_deref()).unjudged().cloned()
        })
    }
}

fn cgroup_is_empty(lease: &Lease) -> bool {
    lease.cgroup.as_deref().is_none_or(|dir| cgroup::is_empty(Path::new(dir)))
}

#[cfg(test)]
mod tests;
