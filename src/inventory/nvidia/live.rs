//! The current use of the devices, for `gpulease processes`, `gpulease memory` and the check for
//! busy devices. The probe is asked anew each time.

use super::answer::{self, Memory, NvmlProcess, Used};
use super::ask::{ProbeError, ProbeQuestion, ask};
use crate::config::Config;
use crate::inventory::activity::{GpuProcess, Running, Usage};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::paths::Paths;

/// The processes on all NVIDIA devices, in the order of devices and process ids. A MIG instance is
/// a device; its GPU then has no processes. Process ids are those of the caller's pid namespace. A
/// device that does not report all its processes may have others. Fails if NVML does not answer.
pub fn processes(paths: &Paths, config: &Config) -> Result<Running, ProbeError> {
    let told: answer::NvmlActivity = ask(paths, config, ProbeQuestion::Processes, &[])?;
    let process = |process: NvmlProcess| {
        Some(GpuProcess {
            device: DeviceId::new(&process.device).ok()?,
            pid: i32::try_from(process.pid).ok()?,
            kind: process.kind,
            memory: process.memory.map(Bytes),
        })
    };
    Ok(Running {
        processes: told.processes.into_iter().filter_map(process).collect(),
        asked: told.asked.iter().filter_map(|uuid| DeviceId::new(uuid).ok()).collect(),
    })
}

/// The load of each NVIDIA device, or of each instance of a GPU in MIG mode. Unknown values are
/// null: only the memory of a MIG instance is known. Fails if NVML does not answer.
pub fn usage(paths: &Paths, config: &Config) -> Result<Vec<Usage>, ProbeError> {
    let told: Vec<Used> = ask(paths, config, ProbeQuestion::Usage, &[])?;
    let usage = |told: Used| {
        Some(Usage {
            device: DeviceId::new(&told.device).ok()?,
            used: told.memory.map(used),
            busy_percent: told.utilization,
            temperature_c: told.temperature.and_then(|degrees| i32::try_from(degrees).ok()),
            power_w: told.power.map(|milliwatts| milliwatts / 1000),
        })
    };
    Ok(told.into_iter().filter_map(usage).collect())
}

/// The used memory with the driver's reserve, which only drivers before 510 include.
fn used(memory: Memory) -> Bytes {
    Bytes(memory.used.saturating_add(memory.reserved.unwrap_or_default()))
}
