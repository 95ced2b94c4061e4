//! Whether a lease's holder is dead: the owner's process must be gone **and** the container's cgroup
//! empty. A holder that cannot be judged keeps its lease, and is shown as unjudged.

use super::runtime_state::{self, Evidence};
use crate::model::lease::{Lease, LeaseState, Owner, PrecreateHolder};
use crate::model::spelled::spelled;
use crate::paths::Paths;
use crate::store::{Corrupt, Witness, Witnesses};
use crate::sys::cgroup_of_others::CgroupState;
use crate::sys::namespaces::{Here, RecordedNamespace};
use crate::sys::proc::{self, Life};
use crate::sys::{cgroup, clock};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A record that cannot be read and is younger than this may be of a container that is being created
/// and has no runtime state yet. (The longest create time-out is that of Podman and CRI-O, 240 s.)
pub(super) const CREATE_TIME: Duration = Duration::from_secs(240);

/// Whether a lease's holder lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It lives, or may live.
    Alive,
    /// It is certainly gone.
    Dead,
    /// The shim is gone and the container lives, with this init process, but no hook has bound the
    /// lease: the sweep does.
    AliveAs(Owner),
    /// It cannot be judged from here, so its lease is kept.
    Unjudged(Unjudged),
}

/// Why a holder cannot be judged. All of these were recorded in another pid namespace, as by an engine
/// that runs in a container, or may have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unjudged {
    /// This is not the host, and only the host sees all pid namespaces.
    Elsewhere,
    /// The pid namespace is not known, and this is not the host.
    Nowhere,
    /// The pid namespace has processes.
    InUse,
    /// The processes of the pid namespace cannot be seen, for this reason.
    Hidden(String),
    /// The pid namespace is gone. This cgroup, which may be the holder's, has processes.
    Cgroup(PathBuf),
    /// The pid namespace is gone. This cgroup of the holder is in no hierarchy that is seen here.
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
                "the pid namespace that it was recorded in is not known, and this one is not the \
                 host's",
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
    /// The standing of a lease, in the word that all outputs use.
    pub enum LeaseStanding {
        /// Its container is being made.
        Pending = "pending",
        Bound = "bound",
        /// Its container has ended and may have the devices back for a while.
        Grace = "grace",
        /// Its grace has ended.
        Over = "over",
        /// Its holder is dead.
        Dead = "dead",
        /// Its holder cannot be judged from here.
        Unjudged = "unjudged",
    }
}

impl LeaseStanding {
    /// The standing of a lease with this holder.
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

    /// Whether the holder lives, in a word. A lease in its grace has none: its container is gone.
    pub const fn holder(self) -> &'static str {
        match self {
            Self::Pending | Self::Bound => "alive",
            Self::Grace => "gone",
            Self::Over | Self::Dead => "dead",
            Self::Unjudged => "unknown",
        }
    }

    /// Whether the next start may take its devices.
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

/// Facts about containers that are not in the ledger. They are in files of this host that are never
/// read with the ledger locked.
pub(super) trait ContainerFacts {
    /// The traces of a container after its shim is gone.
    fn of_lease(&self, lease: &Lease) -> Evidence;

    /// Whether the container of a record that cannot be read may be alive, by the low-level runtime's
    /// state.
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

/// Judges many holders, and reads the facts that they have in common once.
pub struct Judge<'a> {
    pub(super) here: Here,
    pub(super) now: SystemTime,
    paths: &'a Paths,
    facts: &'a dyn ContainerFacts,
}

impl<'a> Judge<'a> {
    /// By the files of this host. Never with the ledger locked.
    pub fn look(paths: &'a Paths) -> Self {
        Self::by(paths, paths)
    }

    pub(super) fn by(facts: &'a dyn ContainerFacts, paths: &'a Paths) -> Self {
        Self { here: Here::look(paths), now: SystemTime::now(), paths, facts }
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

    /// The owner of a pending lease is the shim, which became the low-level runtime. When that has
    /// ended, the container may exist all the same: its hook may not have run. An owner that is a
    /// podman may be a service, and counts until the deadline only.
    fn pending(&self, lease: &Lease) -> Holder {
        let in_time = |precreate: &PrecreateHolder| clock::boottime_ms() < precreate.until_ms;
        let counts = lease.precreate.as_ref().is_none_or(in_time);
        if counts && proc::life_here(&lease.owner, &self.here, self.paths) == Life::Alive {
            return Holder::Alive;
        }
        self.container(lease)
    }

    /// Judges the holder of a lease whose container the engine deletes or starts anew. A podman that
    /// owns it by its `precreate` hook does not count any more: it lives on after a start that failed.
    pub(super) fn holder_at_end(&self, lease: &Lease) -> Holder {
        let is_ours = self.here.pid_namespace == Some(lease.owner.pid_namespace);
        match (lease.state, &lease.precreate) {
            (LeaseState::Pending, Some(_)) if is_ours => self.container(lease),
            _ => self.holder(lease),
        }
    }

    /// Judges a holder that was recorded in another pid namespace. The pids, the runtimes' state and
    /// the paths from there mean nothing here. The container has ended once the namespace is empty.
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

    /// Judges a container after its shim is gone.
    fn container(&self, lease: &Lease) -> Holder {
        let lives = |owner: &Owner| proc::life(owner, self.paths) == Life::Alive;
        match self.facts.of_lease(lease) {
            // It may have ended since its state was read.
            Evidence::Init(owner) if lives(&owner) => Holder::AliveAs(owner),
            Evidence::Init(_) | Evidence::None if cgroup_is_empty(lease) => Holder::Dead,
            _ => Holder::Alive,
        }
    }

    /// Judges the container of a record that cannot be read, by the low-level runtime's state and by
    /// the cgroup that was recorded when its bundle was edited.
    pub fn holder_of_corrupt(&self, corrupt: &Corrupt, witnesses: &Witnesses) -> Holder {
        let known = witnesses.of(&corrupt.key);
        if let Some(unjudged) = self.recorded_elsewhere(known) {
            return Holder::Unjudged(unjudged);
        }
        let in_cgroup = || {
            let mut cgroups = known.iter().filter_map(|witness| witness.cgroup.as_deref());
            cgroups.any(|dir| !cgroup::is_empty(Path::new(dir)))
        };
        if self.facts.of_corrupt(corrupt) || in_cgroup() || witnesses.is_cut_off() {
            return Holder::Alive;
        }
        let age = corrupt.modified.and_then(|modified| self.now.duration_since(modified).ok());
        if age.is_some_and(|age| age >= CREATE_TIME) { Holder::Dead } else { Holder::Alive }
    }

    /// Why a record that cannot be read cannot be judged from here, if so.
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
            // When the record was made is not known.
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
