//! Facts about containers from files of engines and runtimes, for decisions under the lock.
//!
//! A low-level runtime's state and an engine's pid file can lie on file systems that are slow or gone.
//! So none of them is read while the ledger is locked. A decision that needs one takes the holder for
//! alive and notes the question. The questions are answered without the lock, and the decision is made
//! once more.

use super::Ctx;
use super::liveness::{ContainerFacts, Judge};
use super::runtime_state::{self, Evidence};
use crate::failure::Failure;
use crate::model::id::{LeaseKey, Nonce};
use crate::model::lease::Lease;
use crate::paths::Paths;
use crate::store::{Corrupt, Ledger};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Once with the facts that are known, once with the answers.
const ROUNDS: u32 = 2;

/// The answers so far, and the questions.
#[derive(Debug, Default)]
pub(super) struct KnownFacts {
    leases: BTreeMap<Nonce, Evidence>,
    /// Whether the container of an unreadable record may be alive.
    corrupt: BTreeMap<LeaseKey, bool>,
    questions: RefCell<Vec<FactQuestion>>,
}

#[derive(Debug)]
enum FactQuestion {
    Lease(Box<Lease>),
    Corrupt(LeaseKey),
}

/// A question without an answer yet counts as unclear, and as alive.
impl ContainerFacts for KnownFacts {
    fn of_lease(&self, lease: &Lease) -> Evidence {
        self.leases.get(&lease.nonce).cloned().unwrap_or_else(|| {
            self.questions.borrow_mut().push(FactQuestion::Lease(Box::new(lease.clone())));
            Evidence::Unclear
        })
    }

    fn of_corrupt(&self, record: &Corrupt) -> bool {
        self.corrupt.get(&record.key).copied().unwrap_or_else(|| {
            self.questions.borrow_mut().push(FactQuestion::Corrupt(record.key.clone()));
            true
        })
    }
}

impl KnownFacts {
    pub(super) fn judge<'a>(&'a self, paths: &'a Paths) -> Judge<'a> {
        Judge::by(self, paths)
    }

    fn has_questions(&self) -> bool {
        !self.questions.borrow().is_empty()
    }

    /// Answers the questions. Never to be called with the ledger locked.
    fn ask(&mut self, ctx: Ctx<'_>) {
        for question in self.questions.take() {
            match question {
                FactQuestion::Lease(lease) => {
                    let evidence = runtime_state::of_lease(&lease, ctx.paths);
                    self.leases.insert(lease.nonce, evidence);
                }
                FactQuestion::Corrupt(key) => {
                    let alive = runtime_state::is_alive_or_unreadable(&key, ctx.paths);
                    self.corrupt.insert(key, alive);
                }
            }
        }
    }
}

/// For an act that is done once it has not failed.
pub(super) const fn always<T>(_: &T) -> bool {
    true
}

/// Does `act` with the ledger locked. If it failed or `is_done` denies it, and it had questions, it is
/// done once more with the answers. Fails as `act` does, or if the ledger is not free within
/// `deadline`.
pub(super) fn with_ledger<'a, T>(
    ctx: Ctx<'a>,
    deadline: Duration,
    is_done: impl Fn(&T) -> bool,
    mut act: impl FnMut(Ledger<'a>, &KnownFacts) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut known = KnownFacts::default();
    let mut round = 1;
    loop {
        let ledger = ctx.store.lock(deadline, ctx.paths)?;
        let result = act(ledger, &known);
        let is_settled = result.as_ref().is_ok_and(&is_done) || round == ROUNDS;
        if is_settled || !known.has_questions() {
            return result;
        }
        // The result may have the lock in it.
        drop(result);
        known.ask(ctx);
        round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Entry, Store};

    #[test]
    fn questions_are_answered_without_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, store) = (Paths::default(), Store::at(dir.path()));
        store.prepare(&paths).unwrap();
        let lease = crate::store::tests::lease("web", "/nonexistent/root");
        let path = dir.path().join("leases/bad@nonexistent!root.json");
        std::fs::write(path, "{").unwrap();
        let ctx = Ctx { paths: &paths, store: &store };
        let mut heard = Vec::new();
        let kept = with_ledger(
            ctx,
            Duration::from_secs(5),
            |_| false,
            |ledger, known| {
                let entries = ledger.entries()?;
                let Some(Entry::Corrupt(corrupt)) = entries.first() else { panic!("{entries:?}") };
                heard.push((known.of_lease(&lease), known.of_corrupt(corrupt)));
                Ok(ledger)
            },
        );
        // It would wait for its own lock if the second round began with the ledger locked.
        drop(kept.unwrap());
        assert_eq!(heard, [(Evidence::Unclear, true), (Evidence::None, false)]);
    }

    #[test]
    fn a_decision_without_questions_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (paths, store) = (Paths::default(), Store::at(dir.path()));
        store.prepare(&paths).unwrap();
        let ctx = Ctx { paths: &paths, store: &store };
        let lease = crate::store::tests::lease("web", "/nonexistent/root");
        for (asks, is_done, times) in [(false, false, 1), (true, true, 1), (true, false, 2)] {
            let mut count = 0;
            let act = |_: Ledger<'_>, known: &KnownFacts| {
                count += 1;
                if asks {
                    let _ = known.of_lease(&lease);
                }
                Ok(())
            };
            with_ledger(ctx, Duration::ZERO, |()| is_done, act).unwrap();
            assert_eq!(count, times, "{asks} {is_done}");
        }
    }
}
