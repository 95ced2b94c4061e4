//! The one lease directory that a configuration file grants in. If `run_dir` is changed, the old
//! directory counts until no lease is held there any more.

use super::facts::{always, with_ledger};
use super::sweep::survey;
use super::sweep::{Swept, sweep};
use super::{CREATE_DEADLINE, Ctx};
use crate::failure::Failure;
use crate::model::code::Code;
use crate::model::lease::LeaseState;
use crate::paths::Paths;
use crate::store::Store;
use crate::store::run_dirs::RunDirs;
use std::path::Path;

/// Whether this configuration file grants in this lease directory. To be called with the leases of
/// the directory locked: a move takes that lock as well. Fails if the record cannot be read.
pub(super) fn is_here(ctx: Ctx<'_>, config: &Path) -> Result<bool, Failure> {
    let place = RunDirs::at(&ctx.paths.var).current_of(config, ctx.paths)?;
    Ok(place.as_deref() == Some(ctx.store.run_dir()))
}

/// Checks, without a lock and so for display only, that this configuration file may grant in this
/// lease directory. Fails with [`Code::BadConfig`] if leases are held in the directory in which it
/// granted before, and with other codes if that cannot be read.
pub fn check(ctx: Ctx<'_>, config: &Path) -> Result<(), Failure> {
    let before = RunDirs::at(&ctx.paths.var).current_of(config, ctx.paths)?;
    let before = before.map(|before| ctx.paths.on_host(&before));
    let Some(before) = before.filter(|before| before != ctx.store.run_dir()) else {
        return Ok(());
    };
    let store = Store::at(&before);
    let swept = survey(Ctx { store: &store, ..ctx })?;
    refuse_if_held(&swept, &before, ctx, config)
}

/// Refuses to leave a lease directory in which leases are held, for their containers may run.
fn refuse_if_held(
    swept: &Swept,
    before: &Path,
    ctx: Ctx<'_>,
    config: &Path,
) -> Result<(), Failure> {
    let held = swept.leases.iter().filter(|lease| lease.state != LeaseState::Grace);
    match held.count() + swept.corrupt.len() {
        0 => Ok(()),
        leases => {
            let are = if leases == 1 { " is" } else { "s are" };
            let message = format!(
                "`run_dir` is `{}` in `{}`, but {leases} lease{are} held in `{}`, where that file \
                 granted before",
                ctx.store.run_dir().display(),
                config.display(),
                before.display()
            );
            Err(Failure::new(Code::BadConfig, message)
                .hint("set `run_dir` back, or stop the containers that hold these leases first"))
        }
    }
}

/// Has this configuration file grant in this lease directory from now on. Fails if leases are held
/// in the directory in which it granted before, or if that cannot be read.
pub(super) fn move_here(ctx: Ctx<'_>, config: &Path) -> Result<(), Failure> {
    let run_dirs = RunDirs::at(&ctx.paths.var);
    let changing = run_dirs.lock(CREATE_DEADLINE, ctx.paths)?;
    let record = || run_dirs.record(&changing, config, ctx.store.run_dir(), ctx.paths);
    let before = run_dirs.current_of(config, ctx.paths)?;
    match before.filter(|before| before != ctx.store.run_dir()) {
        Some(before) if before.exists() => {
            let paths = Paths { run: before.clone(), ..ctx.paths.clone() };
            let store = Store::at(&before);
            let old = Ctx { paths: &paths, store: &store };
            with_ledger(old, CREATE_DEADLINE, always, |ledger, known| {
                refuse_if_held(&sweep(&ledger, known, old)?, &before, ctx, config)?;
                record()
            })
        }
        _ => record(),
    }
}
