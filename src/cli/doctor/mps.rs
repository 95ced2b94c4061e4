//! MPS daemons that no lease uses, or that are gone while leases use them.

use super::finding::{Findings, plain, quoted};
use crate::claim::Ctx;
use crate::claim::sweep::{describe, survey};
use crate::cli::words;
use crate::config::{Config, MpsDaemon};
use crate::host::Host;
use crate::host::facilities::facilities;
use crate::model::text::shown;
use crate::mps::daemon::DaemonState;
use crate::mps::directory::DaemonDir;
use crate::mps::leases::cut_off;
use crate::mps::status::{OwnDaemon, own_daemons};
use crate::store::mps_journal::DIRECTORY;
use std::path::Path;

/// The form of NVIDIA's UUIDs, which are the names of daemons.
const UUID_FORM: &str = "GPU-00000000-0000-0000-0000-000000000000";

/// Checks what keeps all daemons from being started.
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
    // As the daemon sees the directory: its root is the host's.
    let root = &host.paths.root;
    let run = Path::new("/").join(config.run_dir.strip_prefix(root).unwrap_or(&config.run_dir));
    let name = match config.mps.daemon {
        MpsDaemon::Device => UUID_FORM,
        MpsDaemon::Lease => "l-000000000000",
    };
    let too_long = DaemonDir::new(&run, name).ok().and_then(|dir| dir.too_long());
    if let (Ok(_), Some(why)) = (means, too_long) {
        found.fault(
            "mps-path-too-long",
            format!("{why}: every start with a share by MPS is refused"),
            format!("set `run_dir` in {} to a shorter path", quoted(&host.config_path)),
        );
    }
}

/// Checks the daemons that are there. Leases that cannot be read are another check's finding.
pub(super) fn check(host: &Host, found: &mut Findings) {
    let dir = host.paths.run.join(DIRECTORY);
    if !dir.is_dir() {
        return;
    }
    let ctx = Ctx::of(host);
    let Ok(swept) = survey(ctx) else { return };
    let daemons = match own_daemons(&swept, &host.paths) {
        Ok(daemons) => daemons,
        Err(fault) => return found.unchecked(&dir, &fault),
    };
    let before = found.list.len();
    for lease in cut_off(&swept, &host.paths) {
        let message = format!(
            "{} was attached to an MPS daemon that is gone: its container can start no computing",
            describe(lease)
        );
        found.fault("mps-lost", message, "start the container anew: no other daemon can serve it");
    }
    for daemon in &daemons {
        judge(daemon, host, found);
    }
    if !daemons.is_empty() && found.list.len() == before {
        let verb = if daemons.len() == 1 { "serves" } else { "serve" };
        found.ok("mps", format!("{} {verb} leases", words::count(daemons.len(), "MPS daemon")));
    }
}

fn judge(daemon: &OwnDaemon, host: &Host, found: &mut Findings) {
    let OwnDaemon { dir, status, .. } = daemon;
    let (name, journal) = (dir.name(), dir.journal());
    let users = daemon.leases.len() + daemon.cut_off;
    let kept = status.is_kept();
    match (&status.unreadable, &status.state) {
        // Only root can read it.
        (Some(why), _) if !host.is_root() => found.unchecked(&journal, why),
        (Some(why), _) => found.warning(
            "mps-journal",
            format!("{} cannot be read: {}", quoted(&journal), shown(why)),
            format!(
                "`gpulease mps stop {name}`, then look at the GPU's compute mode, which only the \
                 journal could restore: `nvidia-smi --query-gpu=compute_mode --format=csv`"
            ),
        ),
        (None, DaemonState::Dead) if users == 0 && !kept => found.warning(
            "mps-daemon-dead",
            format!("the MPS daemon of {name} is gone, and its files and settings are left"),
            "`gpulease mps reap --now`",
        ),
        (None, DaemonState::Dead) => found.fault(
            "mps-daemon-dead",
            format!(
                "the MPS daemon of {name} is gone while {}: no process can start to compute by it",
                match users {
                    0 => "it was to be kept".to_owned(),
                    1 => "1 lease was attached to it".to_owned(),
                    _ => format!("{users} leases were attached to it"),
                }
            ),
            format!(
                "see {}; `gpulease mps stop {name} --force` and start the containers anew",
                plain(&dir.log())
            ),
        ),
        (None, DaemonState::Stale) => found.note(
            "mps-daemon-stale",
            format!("{} is of an MPS daemon that was never started", quoted(&dir.path())),
            "`gpulease mps reap --now`",
        ),
        (None, DaemonState::Running(_)) if daemon.leases.is_empty() && !kept => found.note(
            "mps-daemon-idle",
            format!("the MPS daemon of {name} serves no lease"),
            "`gpulease mps reap --now`, unless a container has just ended: `mps.stop_grace`",
        ),
        (None, DaemonState::Running(_)) => {}
    }
}
