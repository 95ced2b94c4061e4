//! The memory of a GPU or a MIG device.

use crate::inventory::nvidia::answer::Memory;
use crate::sys::nvml;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// The memory of a device. Drivers before 510 only know the first version of the call, which has no
/// reserve.
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
