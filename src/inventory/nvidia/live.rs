//! What goes on at this moment, for `gpulease processes`, `gpulease memory` and the check for busy
//! devices. Asked anew each time, in the probe as everything else.

pub use super::answer::ProcessKind;
use super::answer::{Process, Used};
use super::ask::{Question, Silence, ask};
use crate::config::Config;
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;

/// A process that uses a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuProcess {
    /// The device: a GPU, or a MIG instance of one in MIG mode.
    pub device: DeviceId,
    /// Its process id, in the pid namespace of who asks.
    pub pid: u32,
    /// What it does.
    pub kind: ProcessKind,
    /// The memory of the device that it has; null where the driver does not say.
    pub memory: Option<Bytes>,
}

/// How much of a device is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The device: a GPU, or a MIG instance of one in MIG mode.
    pub device: DeviceId,
    /// Memory in use, the driver's reserve not among it (except with drivers before 510); null where
    /// the device does not say.
    pub used: Option<Bytes>,
    /// Memory that is free.
    pub free: Option<Bytes>,
    /// Per cent of the last second or so in which something computed on it; null where the device
    /// does not say, as MIG instances do not.
    pub utilization: Option<u32>,
}

/// The processes on all NVIDIA devices, in the order of devices and process ids.
///
/// # Errors
/// If NVML does not answer.
pub fn processes(paths: &Paths, config: &Config) -> Result<Vec<GpuProcess>, Silence> {
    let told: Vec<Process> = ask(paths, config, Question::Processes, &[])?;
    let process = |process: Process| {
        let device = DeviceId::new(&process.device).ok()?;
        let Process { pid, kind, memory, .. } = process;
        Some(GpuProcess { device, pid, kind, memory: memory.map(Bytes) })
    };
    Ok(told.into_iter().filter_map(process).collect())
}

/// How much of each NVIDIA device is in use.
///
/// # Errors
/// If NVML does not answer.
pub fn usage(paths: &Paths, config: &Config) -> Result<Vec<Usage>, Silence> {
    let told: Vec<Used> = ask(paths, config, Question::Usage, &[])?;
    let usage = |told: Used| {
        Some(Usage {
            device: DeviceId::new(&told.device).ok()?,
            used: told.memory.map(|memory| Bytes(memory.used)),
            free: told.memory.map(|memory| Bytes(memory.free)),
            utilization: told.utilization,
        })
    };
    Ok(told.into_iter().filter_map(usage).collect())
}
