//! A GPU's compute mode, by `nvidia-smi`. In `EXCLUSIVE_PROCESS` one process can use the GPU, which
//! then is the MPS server.

use super::daemon::Tools;
use super::directory::DaemonDir;
use super::{failed, fault};
use crate::failure::Failure;
use crate::model::id::DeviceId;
use crate::model::text::shown_line;
use crate::store::mps_journal::Journal;
use crate::sys::ask::{ask_bounded, run_bounded};
use crate::sys::checked::check_program;
use crate::sys::failpoint;
use std::path::Path;
use std::time::Duration;

/// The mode while a daemon serves the GPU.
const EXCLUSIVE: &str = "EXCLUSIVE_PROCESS";

/// The modes as `nvidia-smi` prints them, and as its option `-c` takes them.
const MODES: &[(&str, &str)] = &[
    ("Default", "DEFAULT"),
    ("Exclusive_Thread", "EXCLUSIVE_THREAD"),
    ("Exclusive_Process", EXCLUSIVE),
    ("Prohibited", "PROHIBITED"),
];

/// The program loads the driver's state where no process keeps it loaded, which takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);

impl Tools<'_> {
    /// Closes the GPU to all processes but the MPS server. The first time, the journal keeps the mode
    /// that was set before. Fails if there is no `nvidia-smi`, it fails, or the mode is another one
    /// afterwards.
    pub fn make_exclusive(&self, dir: &DaemonDir, journal: &mut Journal) -> Result<(), Failure> {
        let Some(smi) = &self.smi else {
            return Err(fault("nvidia-smi, which sets the compute mode, is not installed"));
        };
        // The mode may have been changed by hand since.
        let now = read(smi, &journal.device)?;
        if journal.prior_compute_mode.is_none() {
            journal.prior_compute_mode = Some(now.to_owned());
            dir.make()?;
            journal.write(&dir.journal()).map_err(failed)?;
        }
        failpoint::hit("mps.mode-journalled");
        if now == EXCLUSIVE {
            return Ok(());
        }
        // A program that fails, or is killed because it takes too long, may have set the mode all
        // the same: the journal keeps the one before.
        set(smi, &journal.device, EXCLUSIVE)?;
        failpoint::hit("mps.mode-set");
        match read(smi, &journal.device)? {
            EXCLUSIVE => Ok(()),
            other => Err(fault(format!(
                "nvidia-smi has set the compute mode of {} to {EXCLUSIVE}, and it is {other}",
                journal.device
            ))),
        }
    }

    /// Sets the mode that a journal keeps. Fails if there is no `nvidia-smi`, or it fails.
    pub(super) fn restore_mode(&self, journal: Option<&Journal>) -> Result<(), Failure> {
        let Some((device, mode)) = journal
            .and_then(|journal| Some((&journal.device, journal.prior_compute_mode.as_deref()?)))
        else {
            return Ok(());
        };
        let Some(smi) = &self.smi else {
            return Err(still_exclusive(device, mode, "nvidia-smi is not installed any more"));
        };
        // Another mode was set by hand, or `EXCLUSIVE_PROCESS` never was set.
        if read(smi, device).is_ok_and(|now| now != EXCLUSIVE) {
            return Ok(());
        }
        set(smi, device, mode).map_err(|fault| still_exclusive(device, mode, &fault.message))
    }
}

fn still_exclusive(device: &DeviceId, mode: &str, why: &str) -> Failure {
    fault(format!("the compute mode of {device} is still {EXCLUSIVE}: {why}")).hint(format!(
        "`nvidia-smi -i {device} -c {}`, then `gpulease mps reap --now`",
        shown_line(mode)
    ))
}

/// The GPU's mode, as `-c` takes it. Fails if the program is not safe to run, fails, or prints
/// no mode.
fn read(smi: &Path, gpu: &DeviceId) -> Result<&'static str, Failure> {
    check_program(smi).map_err(failed)?;
    let args = ["-i", gpu.as_str(), "--query-gpu=compute_mode", "--format=csv,noheader"];
    let fails = |why: &str| {
        fault(format!("nvidia-smi does not tell the compute mode of {gpu}: {}", shown_line(why)))
    };
    let answer = ask_bounded(smi, &args, DEADLINE).map_err(|error| fails(&error.to_string()))?;
    let found = MODES.iter().find(|(printed, _)| *printed == answer.trim());
    found.map(|(_, mode)| *mode).ok_or_else(|| fails(&answer))
}

/// Sets the mode. Fails if there is no such mode, or the program is not safe to run or fails.
fn set(smi: &Path, gpu: &DeviceId, mode: &str) -> Result<(), Failure> {
    let fails = |why: &str| {
        fault(format!(
            "nvidia-smi does not set the compute mode of {gpu} to {}: {}",
            shown_line(mode),
            shown_line(why)
        ))
    };
    if !MODES.iter().any(|(_, known)| *known == mode) {
        return Err(fails("there is no such mode"));
    }
    check_program(smi).map_err(failed)?;
    let args = ["-i", gpu.as_str(), "-c", mode];
    let done = run_bounded(smi, &args, DEADLINE).map_err(|error| fails(&error.to_string()))?;
    if done.success { Ok(()) } else { Err(fails(&done.stderr)) }
}
