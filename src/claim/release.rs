//! Releasing leases: at the end of a container, or by hand.

use super::facts::{KnownFacts, always, with_ledger};
use super::liveness::{Holder, Judge};
use super::{Ctx, error};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::{Lease, LeaseState};
use crate::model::text::shown;
use crate::paths::Paths;
use crate::store::{Entry, Ledger};
use crate::sys::proc::{self, Life};
use crate::sys::{clock, failpoint, identity};
use std::time::{Duration, Instant};

/// The result of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOutcome {
    Released,
    /// Nothing: there is no such lease, or it belongs to a later start.
    NotOurs,
    /// Nothing: its holder lives.
    StillAlive,
}

/// Releases the lease of this start of the container if its holder is dead. A bound lease goes into
/// its grace. A pending one is removed, because its container never ran. `deadline` is for all of it,
/// the wait for the holder's end and the wait for the lock. Fails if the ledger is not free in time
/// or cannot be written; then the next sweep releases the lease.
pub fn release_if_dead(
    ctx: Ctx<'_>,
    key: &LeaseKey,
    nonce: &Nonce,
    deadline: Duration,
) -> Result<ReleaseOutcome, Failure> {
    // Before the lock is taken: the holder may still be ending.
    let Some(lease) = own(ctx.store.entry(key)?, nonce) else {
        return Ok(ReleaseOutcome::NotOurs);
    };
    let start = Instant::now();
    if lease.state != LeaseState::Grace {
        wait_for_end(&lease, deadline * 2 / 3, ctx.paths);
    }
    let left = deadline.saturating_sub(start.elapsed());
    let is_done = |outcome: &ReleaseOutcome| *outcome != ReleaseOutcome::StillAlive;
    with_ledger(ctx, left, is_done, |ledger, known| {
        failpoint::hit("release.locked");
        let Some(lease) = own(ledger.entry(key)?, nonce) else {
            return Ok(ReleaseOutcome::NotOurs);
        };
        let holder = known.judge(ctx.paths).holder_at_end(&lease);
        match (lease.state, holder) {
            (LeaseState::Grace, _) => Ok(ReleaseOutcome::Released),
            (_, Holder::Dead) => {
                let_go(&ledger, lease, ctx.paths)?;
                Ok(ReleaseOutcome::Released)
            }
            (_, _) => Ok(ReleaseOutcome::StillAlive),
        }
    })
}

/// Waits for the end of the holder and of all processes in its cgroup. Where a runtime was killed
/// during a create, its container's init may be ending only when the engine deletes the container.
fn wait_for_end(lease: &Lease, patience: Duration, paths: &Paths) {
    let start = Instant::now();
    if lease.precreate.is_none() && proc::life_after(&lease.owner, patience, paths) == Life::Alive {
        return;
    }
    let is_dead = || Judge::look(paths).holder_at_end(lease) == Holder::Dead;
    while !is_dead() && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn own(entry: Option<Entry>, nonce: &Nonce) -> Option<Lease> {
    match entry {
        Some(Entry::Lease(lease)) if lease.nonce == *nonce => Some(*lease),
        _ => None,
    }
}

/// Takes back the lease of a dead holder. The answer is its grace, if it has one.
pub(super) fn let_go(
    ledger: &Ledger<'_>,
    lease: Lease,
    paths: &Paths,
) -> Result<Option<Lease>, Failure> {
    let grace = grace_of(&lease, paths);
    match &grace {
        Some(grace) => ledger.put(grace)?,
        None => lease.key().map_or(Ok(()), |key| ledger.remove(&key))?,
    }
    Ok(grace)
}

/// The lease's current record. Fails if it is gone, of a later start or not in this state.
pub(super) fn still(
    ledger: &Ledger<'_>,
    lease: &Lease,
    state: LeaseState,
) -> Result<Lease, Failure> {
    let current = lease.key().ok().map(|key| ledger.entry(&key)).transpose()?.flatten();
    let current = own(current, &lease.nonce).filter(|current| current.state == state);
    current.ok_or_else(|| error::taken_back(lease))
}

/// The grace of a dead holder's lease, if its container ever ran and it has one. A record of an
/// earlier boot has none, for its times are of another clock.
pub(super) fn grace_of(lease: &Lease, paths: &Paths) -> Option<Lease> {
    let ran = lease.state == LeaseState::Bound;
    if !ran || lease.release_grace_ms == 0 || !is_of_this_boot(lease, paths) {
        return None;
    }
    let until = clock::boottime_ms().saturating_add(lease.release_grace_ms);
    Some(Lease { state: LeaseState::Grace, grace_until_ms: Some(until), ..lease.clone() })
}

fn is_of_this_boot(lease: &Lease, paths: &Paths) -> bool {
    identity::boot_id(paths).is_ok_and(|boot_id| boot_id == lease.owner.boot_id)
}

/// Takes back a lease that this process has just recorded, because the start failed before the
/// runtime was called. Fails if the ledger is not free in time; then the first sweep after the end
/// of this process takes it back.
pub fn abandon(ctx: Ctx<'_>, lease: &Lease) -> Result<(), Failure> {
    let Ok(key) = lease.key() else { return Ok(()) };
    let ledger = ctx.store.lock(super::CREATE_DEADLINE, ctx.paths)?;
    let current = own(ledger.entry(&key)?, &lease.nonce);
    if current.is_some_and(|current| current.state == LeaseState::Pending) {
        ledger.remove(&key)?;
    }
    Ok(())
}

/// How far an administrator insists that a lease be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insistence {
    /// Only if its holder is known to be dead.
    None,
    /// Also if its holder cannot be judged.
    AssumeDead,
    /// In any case. A container that lives keeps its device nodes, and its devices are given to
    /// others all the same.
    Force,
}

/// Releases, for an administrator, the lease with this id or of this container; a unique beginning of
/// either is enough. The answer says how its holder was judged. Fails if no lease or several fit, or
/// if its holder is not known to be dead and `insistence` does not allow that.
pub fn release_by_name(
    ctx: Ctx<'_>,
    name: &str,
    insistence: Insistence,
    deadline: Duration,
) -> Result<(Entry, Holder), Failure> {
    ctx.store.prepare(ctx.paths)?;
    with_ledger(ctx, deadline, always, |ledger, known| {
        release_locked(&ledger, known, ctx, name, insistence)
    })
}

fn release_locked(
    ledger: &Ledger<'_>,
    known: &KnownFacts,
    ctx: Ctx<'_>,
    name: &str,
    insistence: Insistence,
) -> Result<(Entry, Holder), Failure> {
    let entry = find(ledger.entries()?, name)?;
    let may = |holder: &Holder| match (holder, insistence) {
        (Holder::Dead, _) | (_, Insistence::Force) => true,
        (Holder::Unjudged(_), Insistence::AssumeDead) => true,
        (Holder::Alive | Holder::AliveAs(_) | Holder::Unjudged(_), _) => false,
    };
    let holder = match &entry {
        Entry::Lease(lease) => {
            let holder = known.judge(ctx.paths).holder(lease);
            // A lease in its grace has no holder: the container has ended.
            if lease.state != LeaseState::Grace && !may(&holder) {
                return Err(not_released(lease, holder));
            }
            if let Ok(key) = lease.key() {
                ledger.remove(&key)?;
            }
            holder
        }
        Entry::Corrupt(corrupt) => {
            let witnesses = ctx.store.witnesses([&entry]);
            let holder = known.judge(ctx.paths).holder_of_corrupt(corrupt, &witnesses);
            if !may(&holder) {
                return Err(error::corrupt(corrupt));
            }
            ledger.set_aside(&corrupt.key)?;
            holder
        }
    };
    Ok((entry, holder))
}

fn not_released(lease: &Lease, holder: Holder) -> Failure {
    let held = format!("lease {} is held by container {}", lease.id, lease.container_id);
    match holder {
        Holder::Unjudged(why) => Failure::new(Code::HolderUnknown, format!("{held}, which {why}"))
            .hint(
                "release it where it was recorded; where that is gone for good, --assume-dead \
                 takes it back",
            ),
        _ => Failure::new(
            Code::HolderAlive,
            format!("{held}, whose process {} or cgroup is alive", lease.owner.pid),
        )
        .hint(
            "stop the container; --force drops the lease and leaves the container running with \
             its devices",
        ),
    }
}

/// The one entry with this lease id or container id, or with an id that begins so.
pub(super) fn find(entries: Vec<Entry>, name: &str) -> Result<Entry, Failure> {
    let names = |entry: &Entry| match entry {
        Entry::Lease(lease) => vec![lease.id.to_string(), lease.container_id.to_string()],
        Entry::Corrupt(corrupt) => vec![corrupt.key.container_id.to_string()],
    };
    let unknown = |message| Failure::new(Code::UnknownLease, message);
    let (exact, rest): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| names(entry).iter().any(|n| n == name));
    let begins =
        |entry: &Entry| !name.is_empty() && names(entry).iter().any(|n| n.starts_with(name));
    let mut fits =
        if exact.is_empty() { rest.into_iter().filter(begins).collect::<Vec<_>>() } else { exact };
    match (fits.pop(), fits.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(_), false) => Err(unknown(format!(
            "`{}` is the beginning of the names of several leases",
            shown(name)
        ))
        .hint("give more of the id")),
        (None, _) => Err(unknown(format!("no lease `{}`", shown(name)))
            .hint("`gpulease leases --all` lists them")),
    }
}
