//! A GPU's compute mode, by `nvidia-smi`: in `EXCLUSIVE_PROCESS` one process can use it, which then
//! is the MPS server.

use super::fault;
use crate::failure::Failure;
use crate::model::id::DeviceId;
use crate::model::text::shown_line;
use crate::sys::ask::{ask_bounded, run_bounded};
use crate::sys::checked::check_program;
use std::path::Path;
use std::time::Duration;

/// The mode while a daemon serves the GPU.
pub const EXCLUSIVE: &str = "EXCLUSIVE_PROCESS";

/// What `nvidia-smi` prints, and what it takes.
const MODES: &[(&str, &str)] = &[
    ("Default", "DEFAULT"),
    ("Exclusive_Thread", "EXCLUSIVE_THREAD"),
    ("Exclusive_Process", EXCLUSIVE),
    ("Prohibited", "PROHIBITED"),
];

/// The program wakes the driver where no process keeps it awake, which takes seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// The GPU's mode, as `-c` takes it. Fails if the program is not safe to run, fails,
/// or says something else.
pub fn read(smi: &Path, gpu: &DeviceId) -> Result<&'static str, Failure> {
    check_program(smi).map_err(super::failed)?;
    let args = ["-i", gpu.as_str(), "--query-gpu=compute_mode", "--format=csv,noheader"];
    let failed = |why: &str| {
        fault(format!("nvidia-smi does not tell the compute mode of {gpu}: {}", shown_line(why)))
    };
    let answer = ask_bounded(smi, &args, DEADLINE).map_err(|error| failed(&error.to_string()))?;
    let found = MODES.iter().find(|(printed, _)| *printed == answer.trim());
    found.map(|(_, mode)| *mode).ok_or_else(|| failed(&answer))
}

/// Sets it to one that [`read`] gave, or to [`EXCLUSIVE`]. Fails if it is no mode, or the program
/// is not safe to run or fails.
pub fn set(smi: &Path, gpu: &DeviceId, mode: &str) -> Result<(), Failure> {
    let failed = |why: &str| {
        fault(format!(
            "nvidia-smi does not set the compute mode of {gpu} to {}: {}",
            shown_line(mode),
            shown_line(why)
        ))
    };
    if !MODES.iter().any(|(_, known)| *known == mode) {
        return Err(failed("there is no such mode"));
    }
    check_program(smi).map_err(super::failed)?;
    let args = ["-i", gpu.as_str(), "-c", mode];
    let done = run_bounded(smi, &args, DEADLINE).map_err(|error| failed(&error.to_string()))?;
    if done.success { Ok(()) } else { Err(failed(&done.stderr)) }
}
