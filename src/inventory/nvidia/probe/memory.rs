//! The memory of a GPU or a MIG device.

use crate::inventory::nvidia::answer::Memory;
use crate::sys::nvml;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// Drivers before 510 know only the first version, which has no reserve.
pub(super) fn memory(device: &Device<'_>) -> Result<Memory, NvmlError> {
    match device.memory_info() {
        Ok(memory) => Ok(Memory {
            total: memory.total,
            reserved: Some(memory.reserved),
            used: memory.used,
            free: memory.free,
        }),
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => Err(error),
        Err(_) => nvml::memory_v1(device).map(|memory| Memory {
            total: memory.total,
            reserved: None,
            used: memory.used,
            free: memory.free,
        }),
    }
}
