//! `gpulease-rocm`: prints the measurements of ROCm's management library once, and ends.

use crate::inventory::amd::{SmiReading, Telemetry};
use crate::sys::rocm_smi::{Measured, RocmLibrary};
use anyhow::Context;
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints a [`Telemetry`] as one line of JSON. If the library finds no driver, it prints a line on
/// stderr and exits with 1.
pub fn main() -> ExitCode {
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "gpulease-rocm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> anyhow::Result<()> {
    let measured = RocmLibrary::open().map_err(anyhow::Error::msg)?.measure();
    let devices = measured.iter().map(reading).collect();
    let text = serde_json::to_string(&Telemetry { v: Telemetry::VERSION, devices })?;
    writeln!(io::stdout(), "{text}").context("cannot write to stdout")
}

fn reading(measured: &Measured) -> SmiReading {
    let [edge, junction, memory] = measured.temperatures;
    SmiReading {
        render_minor: measured.render_minor,
        unique_id: measured.unique_id.map(|id| format!("{id:016x}")),
        temperature_edge_c: edge,
        temperature_junction_c: junction,
        temperature_memory_c: memory,
        power_w: measured.power_w,
        busy_percent: measured.busy_percent,
    }
}
