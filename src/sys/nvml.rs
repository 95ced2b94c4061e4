//! Calls of NVIDIA's management library that `nvml-wrapper` does not wrap correctly, or not at all.
//!
//! Only the process that asks the library for others (`inventory::nvidia`) runs this.

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH as SWITCH,
    nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_UNKNOWN as UNKNOWN, nvmlMemory_t,
    nvmlReturn_t,
};

/// The memory of a device, in bytes, as drivers before 510 report it: the driver's reserve counts
/// as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryV1 {
    /// The total.
    pub total: u64,
    pub free: u64,
    pub used: u64,
}

/// The state of memory rows that are replaced by spare ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemappedRows {
    /// Some rows will be replaced only when the GPU is reset.
    pub is_pending: bool,
    /// A row could not be replaced.
    pub has_failed: bool,
}

/// The memory of a device by `nvmlDeviceGetMemoryInfo`. Fails with the library's error, or if it
/// has no such function.
pub fn memory_v1(device: &Device<'_>) -> Result<MemoryV1, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the handle is of the library that the function is of, which is initialised as long as
    // the device is borrowed; the function fills the struct, whose layout is that of its header.
    nvml_try(unsafe { call(device.handle(), &raw mut memory) })?;
    Ok(MemoryV1 { total: memory.total, free: memory.free, used: memory.used })
}

/// The id of a MIG device's GPU instance. Fails with the library's error, or if it has no such
/// function.
pub fn gpu_instance_id(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, *nvml_sym(device.nvml().lib().nvmlDeviceGetGpuInstanceId.as_ref())?)
}

/// The id of a MIG device's compute instance. Fails with the library's error, or if it has no such
/// function.
pub fn compute_instance_id(device: &Device<'_>) -> Result<u32, NvmlError> {
    number(device, *nvml_sym(device.nvml().lib().nvmlDeviceGetComputeInstanceId.as_ref())?)
}

/// A function that returns one number of a device.
type Number = unsafe extern "C" fn(nvmlDevice_t, *mut u32) -> nvmlReturn_t;

fn number(device: &Device<'_>, call: Number) -> Result<u32, NvmlError> {
    let mut number = 0;
    // SAFETY: as above; the function writes one number.
    nvml_try(unsafe { call(device.handle(), &raw mut number) })?;
    Ok(number)
}

/// The state of remapped memory rows, which GPUs since Ampere have in place of retired pages. Fails
/// with the library's error, or if it has no such function.
pub fn remapped_rows(device: &Device<'_>) -> Result<RemappedRows, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetRemappedRows.as_ref())?;
    let (mut correctable, mut uncorrectable, mut pending, mut failed) = (0, 0, 0, 0);
    // SAFETY: as above; the function writes four numbers.
    nvml_try(unsafe {
        call(
            device.handle(),
            &raw mut correctable,
            &raw mut uncorrectable,
            &raw mut pending,
            &raw mut failed,
        )
    })?;
    Ok(RemappedRows { is_pending: pending != 0, has_failed: failed != 0 })
}

/// Whether an NVLink ends at a switch. (`NvLink::remote_device_type` of nvml-wrapper 0.13 discards
/// the library's answer and always says "unknown".) Fails with the library's error, or if it has no
/// such function.
pub fn is_to_switch(device: &Device<'_>, link: u32) -> Result<bool, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetNvLinkRemoteDeviceType.as_ref())?;
    let mut kind = UNKNOWN;
    // SAFETY: as above; the function writes one number.
    nvml_try(unsafe { call(device.handle(), link, &raw mut kind) })?;
    Ok(kind == SWITCH)
}

/// A second handle to the same device, for a function that consumes it.
pub fn again<'nvml>(device: &Device<'nvml>) -> Device<'nvml> {
    // SAFETY: the handle is a valid one of that library: it is taken from a device of it.
    unsafe { Device::new(device.handle(), device.nvml()) }
}
