//! MPS daemons that nobody uses, or that are gone while somebody does.

use super::finding::{Findings, plain, quoted};
use crate::claim::Ctx;
use crate::claim::sweep::{describe, survey};
use crate::cli::mps::{Seat, cut_off, seats};
use crate::cli::words;
use crate::config::{Config, MpsDaemon};
use crate::host::Host;
use crate::host::facilities::facilities;
use crate::model::text::shown;
use crate::mps::daemon::DaemonState;
use crate::mps::directory::DaemonDir;
use crate::store::mps_journal::DIRECTORY;
use std::path::Path;

/// A UUID as NVIDIA's GPUs have it, after which their daemons are called.
const SOME_UUID: &str = "GPU-00000000-0000-0000-0000-000000000000";

/// What keeps daemons from being started at all.
pub(super) fn check_means(host: &Host, config: &Config, found: &mut Findings) {
    let means = facilities(config, &host.paths).mps;
    if let (Some(path), Err(why)) = (&config.mps.control, &means) {
        let file = quoted(&host.config_path);
        found.warning(
            "mps-control-missing",
            format!("`mps.control` is {}: {why}; no share is made true by MPS", quoted(path)),
            format!(
                "correct it in {file}, or leave it out: the program is found below `driver_root`"
            ),
        );
    }
    // As the daemon sees it, which is no part of another root.
    let root = &host.paths.root;
    let run = Path::new("/").join(config.run_dir.strip_prefix(root).unwrap_or(&config.run_dir));
    let name = match config.mps.daemon {
        MpsDaemon::Device => SOME_UUID,
        MpsDaemon::Lease => "l-000000000000",
    };
    let too_long = DaemonDir::new(&run, name).ok().and_then(|place| place.is_too_long());
    if let (Ok(_), Some(why)) = (means, too_long) {
        found.fault(
            "mps-path-too-long",
            format!("{why}: every start with a share by MPS is refused"),
            format!("set `run_dir` in {} to a shorter path", quoted(&host.config_path)),
        );
    }
}

/// Nothing is said where the leases cannot be read: another check says that.
pub(super) fn check(host: &Host, found: &mut Findings) {
    let dir = host.paths.run.join(DIRECTORY);
    if !dir.is_dir() {
        return;
    }
    let ctx = Ctx::of(host);
    let Ok(swept) = survey(ctx) else { return };
    let seats = match seats(&swept, &host.paths) {
        Ok(seats) => seats,
        Err(fault) => return found.unchecked(&dir, &fault),
    };
    let before = found.list.len();
    for lease in cut_off(&swept, &host.paths) {
        let message = format!(
            "{} was attached to an MPS daemon that is gone: nothing of it can start to compute",
            describe(lease)
        );
        found.fault("mps-lost", message, "start the container anew: no other daemon can serve it");
    }
    for seat in &seats {
        judge(seat, host, found);
    }
    if !seats.is_empty() && found.list.len() == before {
        let verb = if seats.len() == 1 { "serves" } else { "serve" };
        found.ok("mps", format!("{} {verb} leases", words::count(seats.len(), "MPS daemon")));
    }
}

fn judge(seat: &Seat, host: &Host, found: &mut Findings) {
    let name = seat.place.name();
    let journal = seat.place.journal();
    let users = seat.leases.len() + seat.cut_off;
    let kept = seat.seen.journal.as_ref().is_some_and(|journal| journal.kept);
    match (&seat.seen.garbage, &seat.seen.state) {
        // It is root's, as a rule.
        (Some(why), _) if !host.is_root() => found.unchecked(&journal, why),
        (Some(why), _) => found.warning(
            "mps-journal",
            format!("{} cannot be read: {}", quoted(&journal), shown(why)),
            format!(
                "`gpulease mps stop {name}`, then look at the GPU's compute mode, which it would have \
                 restored: `nvidia-smi --query-gpu=compute_mode --format=csv`"
            ),
        ),
        (None, DaemonState::Dead) if users == 0 && !kept => found.warning(
            "mps-daemon-dead",
            format!("the MPS daemon of {name} is gone, and what was done for it is not undone"),
            "`gpulease mps reap --now`",
        ),
        (None, DaemonState::Dead) => found.fault(
            "mps-daemon-dead",
            format!(
                "the MPS daemon of {name} is gone while {}: nothing starts to compute by it",
                match users {
                    0 => "it was to be kept".to_owned(),
                    1 => "1 lease was attached to it".to_owned(),
                    _ => format!("{users} leases were attached to it"),
                }
            ),
            format!(
                "see {}; `gpulease mps stop {name} --force` and start the containers anew",
                plain(&seat.place.log())
            ),
        ),
        (None, DaemonState::Stale) => found.note(
            "mps-daemon-stale",
            format!("{} is of a daemon that was never started", quoted(&seat.place.dir())),
            "`gpulease mps reap --now`",
        ),
        (None, DaemonState::Running(_)) if seat.leases.is_empty() && !kept => found.note(
            "mps-daemon-idle",
            format!("the MPS daemon of {name} serves no lease, or not any more"),
            "`gpulease mps reap --now`, unless a container has just ended: `mps.stop_grace`",
        ),
        (None, DaemonState::Running(_)) => {}
    }
}
