//! The values that `gpulease-rocm` adds where it is installed. ROCm's library can measure values on
//! some GPUs that sysfs has no file for. `gpulease-rocm` is a separate program because it links
//! that library, which most hosts do not have. If it is missing, hangs or fails, nothing changes.

use super::activity;
use crate::inventory::activity::Usage;
use crate::model::device::{Device, Vendor};
use crate::paths::Paths;
use crate::sys::ask::ask_bounded;
use crate::sys::programs;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

const PROGRAM: &str = "gpulease-rocm";
/// ROCm's library reads some hundred files, and a GPU in a reset delays it.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    pub v: u32,
    /// One reading for each device that the library knows.
    pub devices: Vec<SmiReading>,
}

impl Telemetry {
    /// The version of the format that this build writes and reads.
    pub const VERSION: u32 = 1;
}

/// The library's values for one device. Null means unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SmiReading {
    /// The minor number of the render node, which identifies the device.
    pub render_minor: Option<u32>,
    /// ROCm's id of the GPU, 16 hexadecimal digits. The partitions of a GPU share it.
    pub unique_id: Option<String>,
    /// In degrees Celsius, at the edge of the chip.
    pub temperature_edge_c: Option<f64>,
    /// In degrees Celsius, at the hottest point of the chip.
    pub temperature_junction_c: Option<f64>,
    /// In degrees Celsius, of the memory.
    pub temperature_memory_c: Option<f64>,
    pub power_w: Option<f64>,
    /// The part of the time in which it computed, in percent.
    pub busy_percent: Option<u32>,
}

/// The load by sysfs and procfs, completed by `gpulease-rocm`.
pub fn usage_with_rocm(paths: &Paths, devices: &[Device]) -> Vec<Usage> {
    let mut usage = activity::usage(paths, devices);
    if let Some(program) = programs::find(PROGRAM).filter(|_| !usage.is_empty()) {
        let readings = ask(&program, DEADLINE);
        for one in &mut usage {
            if let Some(device) = devices.iter().find(|device| device.uuid == one.device) {
                add(one, device, &readings);
            }
        }
    }
    usage
}

/// The program's readings; none if it does not answer, or answers in another format.
pub(super) fn ask(program: &Path, deadline: Duration) -> Vec<SmiReading> {
    let Ok(text) = ask_bounded(program, &[""; 0], deadline) else { return Vec::new() };
    // The library may have printed lines before it.
    match serde_json::from_str::<Telemetry>(text.lines().last().unwrap_or_default()) {
        Ok(telemetry) if telemetry.v == Telemetry::VERSION => telemetry.devices,
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Fills in values that sysfs did not have. As there, load and power are left out for a partition.
pub(super) fn add(usage: &mut Usage, device: &Device, readings: &[SmiReading]) {
    let is_its = |reading: &&SmiReading| {
        let path = reading.render_minor.map(|minor| format!("/dev/dri/renderD{minor}"));
        path.is_some_and(|path| device.nodes.iter().any(|node| node.path == path))
    };
    if device.vendor != Vendor::Amd {
        return;
    }
    let Some(reading) = readings.iter().find(is_its) else { return };
    let temperature = reading.temperature_edge_c.or(reading.temperature_junction_c);
    usage.temperature_c = usage.temperature_c.or_else(|| whole(temperature?, -273.0, 1000.0));
    if device.details.partition.is_none() {
        let power = || u32::try_from(whole(reading.power_w?, 0.0, 100_000.0)?).ok();
        usage.power_w = usage.power_w.or_else(power);
        let busy = reading.busy_percent.filter(|percent| *percent <= 100);
        usage.busy_percent = usage.busy_percent.or(busy);
    }
}

/// The value rounded down; `None` if it is outside of the possible range.
fn whole(value: f64, least: f64, most: f64) -> Option<i32> {
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    (least..=most).contains(&value).then(|| value.floor() as i32)
}

#[cfg(test)]
mod tests;
