//! `librocm_smi64`, ROCm's management library. Only `gpulease-rocm` links it.
//!
//! The crate's functions are used where they are sound. The crate ignores the result of
//! `rsmi_init`, and its function for power dereferences a null pointer. So these two, and the ids,
//! are called directly.

use rocm_smi_lib::{
    IntoRocmErr, RocmErr, RocmSmi, RsmiTemperatureMetric, RsmiTemperatureType,
    rsmi_dev_drm_render_minor_get, rsmi_dev_power_get, rsmi_dev_unique_id_get, rsmi_init,
    rsmi_shut_down,
};

pub struct RocmLibrary(RocmSmi);

/// The values of one device. Unknown values are `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// The minor number of the render node.
    pub render_minor: Option<u32>,
    /// ROCm's id of the GPU.
    pub unique_id: Option<u64>,
    /// In degrees Celsius: at the edge, at the hottest point, and of the memory.
    pub temperatures: [Option<f64>; 3],
    pub power_w: Option<f64>,
    /// The part of the time in which it computed, in percent.
    pub busy_percent: Option<u32>,
}

impl RocmLibrary {
    /// Makes the library look for devices. Fails with the library's error: there is no driver, or
    /// something cannot be read.
    pub fn open() -> Result<Self, String> {
        let words = |error: RocmErr| error.to_string();
        // SAFETY: takes flags alone, and 0 are none. It may be called more than once: the library
        // counts, and the crate calls it again.
        unsafe { rsmi_init(0) }.into_rocm_err().map_err(words)?;
        RocmSmi::init().map(Self).map_err(words)
    }

    /// Measures all devices.
    pub fn measure(&mut self) -> Vec<Measured> {
        (0..self.0.get_device_count()).map(|index| self.measure_one(index)).collect()
    }

    fn measure_one(&mut self, index: u32) -> Measured {
        let mut temperature = |sensor| {
            let now = RsmiTemperatureMetric::Current;
            self.0.get_device_temperature_metric(index, sensor, now).ok()
        };
        let temperatures = [
            temperature(RsmiTemperatureType::Edge),
            temperature(RsmiTemperatureType::Junction),
            temperature(RsmiTemperatureType::Memory),
        ];
        Measured {
            render_minor: render_minor(index),
            unique_id: unique_id(index).filter(|id| *id > 0),
            temperatures,
            power_w: power(index),
            busy_percent: self.0.get_device_busy_percent(index).ok(),
        }
    }
}

impl Drop for RocmLibrary {
    fn drop(&mut self) {
        // Once for each initialisation. A failure does not matter, because the process ends.
        for _ in 0..2 {
            // SAFETY: takes nothing, and no call into the library follows.
            let _ = unsafe { rsmi_shut_down() };
        }
    }
}

fn render_minor(index: u32) -> Option<u32> {
    let mut minor = 0;
    // SAFETY: the library checks the index, and writes one u32 to the address of one.
    let status = unsafe { rsmi_dev_drm_render_minor_get(index, &raw mut minor) };
    status.into_rocm_err().ok().map(|()| minor)
}

fn unique_id(index: u32) -> Option<u64> {
    let mut id = 0;
    // SAFETY: the library checks the index, and writes one u64 to the address of one.
    let status = unsafe { rsmi_dev_unique_id_get(index, &raw mut id) };
    status.into_rocm_err().ok().map(|()| id)
}

/// The average where the GPU has one, else the power of this moment: the library picks.
fn power(index: u32) -> Option<f64> {
    let (mut microwatts, mut kind) = (0_u64, 0);
    // SAFETY: the library checks the index, and writes one u64 and one enumerator to the addresses
    // of such.
    let status = unsafe { rsmi_dev_power_get(index, &raw mut microwatts, &raw mut kind) };
    status.into_rocm_err().ok()?;
    // Exact up to 2^53 millionths of a watt.
    #[allow(clippy::cast_precision_loss, reason = "no GPU takes nine gigawatts")]
    let watts = microwatts as f64 / 1_000_000.0;
    Some(watts)
}
