//! The functions, each by its name in NVIDIA's header.

use super::{
    INVALID, LOST, MIG, MIG_OF_EACH, NODE, NOT_FOUND, SUCCESS, UNINITIALIZED, UNSUPPORTED, failure,
    gpus, handle, number, of_handle, place, put, put_text, with,
};
use libc::{c_char, c_int, c_uint, c_ulonglong};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceAttributes_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlPciInfo_t,
    nvmlProcessInfo_t, nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as TOO_SMALL, nvmlReturn_t,
    nvmlUtilization_t,
};
use serde_json::Value;
use std::ffi::CStr;

fn system_text(key: &str, pointer: *mut c_char, room: c_uint) -> nvmlReturn_t {
    let Some(node) = NODE.get() else { return UNINITIALIZED };
    node[key]
        .as_str()
        .and_then(|text| put_text(pointer, room, text))
        .map_or(UNSUPPORTED, |()| SUCCESS)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetDriverVersion(text: *mut c_char, room: c_uint) -> nvmlReturn_t {
    system_text("driver", text, room)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetNVMLVersion(text: *mut c_char, room: c_uint) -> nvmlReturn_t {
    system_text("nvml", text, room)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    let Some(node) = NODE.get() else { return UNINITIALIZED };
    let Some(cuda) = number(&node["cuda"]) else { return UNSUPPORTED };
    put(version, c_int::try_from(cuda).unwrap());
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    put(count, c_uint::try_from(gpus().len()).unwrap());
    SUCCESS
}

fn get_handle(position: Option<usize>, function: &str, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    let Some(position) = position.filter(|position| *position < gpus().len()) else {
        return NOT_FOUND;
    };
    let failure = failure(&gpus()[position], function);
    // Only a GPU that is gone has no handle; `*` is for what is asked of one.
    let is_meant = gpus()[position]["errors"].get(function).is_some() || failure == LOST;
    if is_meant && failure != SUCCESS {
        return failure;
    }
    put(device, handle(position + 1));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    if index as usize >= gpus().len() {
        return INVALID;
    }
    get_handle(Some(index as usize), "nvmlDeviceGetHandleByIndex_v2", device)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    pci: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let Ok(pci) = (unsafe { CStr::from_ptr(pci) }).to_str() else { return INVALID };
    let position = gpus().iter().position(|gpu| gpu["pci"] == pci);
    get_handle(position, "nvmlDeviceGetHandleByPciBusId_v2", device)
}

/// As NVML writes it: eight digits of domain, capitals.
fn put_pci(info: *mut nvmlPciInfo_t, pci: &str) -> Option<()> {
    let info = unsafe { &mut *info };
    let (domain, rest) = pci.split_once(':')?;
    let (bus, device) = rest.split_once(':')?;
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    (info.domain, info.bus) = (hex(domain)?, hex(bus)?);
    info.device = hex(device.split('.').next()?)?;
    (info.pciDeviceId, info.pciSubSystemId) = (0x2330_10de, 0x16c1_10de);
    put_text(info.busIdLegacy.as_mut_ptr(), 16, &pci.to_uppercase())?;
    put_text(info.busId.as_mut_ptr(), 32, &format!("{:0>8}:{}", domain, rest.to_uppercase()))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetPciInfo_v3(
    device: nvmlDevice_t,
    info: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    with("nvmlDeviceGetPciInfo_v3", device, |gpu| put_pci(info, gpu["pci"].as_str()?))
}

/// Functions that tell a text.
macro_rules! texts {
    ($($function:ident $key:literal),* $(,)?) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $function(
            device: nvmlDevice_t,
            text: *mut c_char,
            room: c_uint,
        ) -> nvmlReturn_t {
            with(stringify!($function), device, |gpu| put_text(text, room, gpu[$key].as_str()?))
        }
    )*};
}

texts! { nvmlDeviceGetUUID "uuid", nvmlDeviceGetName "name" }

/// Functions that tell a number.
macro_rules! numbers {
    ($($function:ident $key:literal),* $(,)?) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $function(device: nvmlDevice_t, told: *mut c_uint) -> nvmlReturn_t {
            with(stringify!($function), device, |gpu| {
                put(told, number(&gpu[$key])?);
                Some(())
            })
        }
    )*};
}

numbers! {
    nvmlDeviceGetMinorNumber "minor",
    nvmlDeviceGetBrand "brand",
    nvmlDeviceGetNumGpuCores "cores",
    nvmlDeviceGetComputeMode "compute_mode",
    nvmlDeviceGetPersistenceMode "persistence",
    nvmlDeviceGetRetiredPagesPendingStatus "retired_pending",
    nvmlDeviceGetGpuInstanceId "gi",
    nvmlDeviceGetComputeInstanceId "ci",
    nvmlDeviceGetPowerUsage "power",
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    sensor: c_uint,
    told: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetTemperature", device, |gpu| {
        put(told, number(&gpu["temperature"]).filter(|_| sensor == 0)?);
        Some(())
    })
}

fn memory(device: &Value) -> Option<[u64; 3]> {
    let memory = device["memory"].as_array()?;
    Some([memory[0].as_u64()?, memory[1].as_u64()?, memory[2].as_u64()?])
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    info: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    let version = size_of::<nvmlMemory_v2_t>() | (2 << 24);
    if unsafe { (*info).version } as usize != version {
        return INVALID;
    }
    with("nvmlDeviceGetMemoryInfo_v2", device, |gpu| {
        let [total, reserved, used] = memory(gpu)?;
        let info = unsafe { &mut *info };
        (info.total, info.reserved, info.used) = (total, reserved, used);
        info.free = total - reserved - used;
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo(
    device: nvmlDevice_t,
    info: *mut nvmlMemory_t,
) -> nvmlReturn_t {
    with("nvmlDeviceGetMemoryInfo", device, |gpu| {
        let [total, reserved, used] = memory(gpu)?;
        let free = total - reserved - used;
        put(info, nvmlMemory_t { total, free, used: used + reserved });
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    with("nvmlDeviceGetCudaComputeCapability", device, |gpu| {
        put(major, c_int::try_from(gpu["cc"][0].as_i64()?).ok()?);
        put(minor, c_int::try_from(gpu["cc"][1].as_i64()?).ok()?);
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetEccMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetEccMode", device, |gpu| {
        let ecc = number(&gpu["ecc"])?;
        put(current, ecc);
        put(pending, 1 - ecc);
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    kind: c_uint,
    counter: c_uint,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    with("nvmlDeviceGetTotalEccErrors", device, |gpu| {
        let uncorrected = gpu["uncorrected"].as_u64()?;
        // Errors that were corrected, and those of all times, are others.
        put(count, if (kind, counter) == (1, 0) { uncorrected } else { 77 });
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvmlDevice_t,
    correctable: *mut c_uint,
    uncorrectable: *mut c_uint,
    pending: *mut c_uint,
    failed: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetRemappedRows", device, |gpu| {
        let rows = &gpu["remapped"];
        for (at, pointer) in [correctable, uncorrectable, pending, failed].into_iter().enumerate() {
            put(pointer, number(&rows[at])?);
        }
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetMigMode", device, |gpu| {
        put(current, number(&gpu["mig"]["mode"])?);
        put(pending, 1 - number(&gpu["mig"]["mode"])?);
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    count: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetMaxMigDeviceCount", device, |gpu| {
        gpu["mig"].as_object()?;
        put(count, 7);
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    instance: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let Some((gpu, None)) = place(device) else { return INVALID };
    let index = index as usize;
    let there = of_handle(device).and_then(|gpu| gpu["mig"]["instances"].get(index));
    if there.is_none_or(Value::is_null) {
        return NOT_FOUND;
    }
    put(instance, handle(MIG + gpu * MIG_OF_EACH + index + 1));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetAttributes_v2(
    device: nvmlDevice_t,
    attributes: *mut nvmlDeviceAttributes_t,
) -> nvmlReturn_t {
    with("nvmlDeviceGetAttributes_v2", device, |gpu| {
        let size = &gpu["attributes"];
        let attributes = unsafe { &mut *attributes };
        attributes.multiprocessorCount = number(&size[0])?;
        attributes.gpuInstanceSliceCount = number(&size[1])?;
        attributes.computeInstanceSliceCount = number(&size[2])?;
        attributes.memorySizeMB = size[3].as_u64()?;
        Some(())
    })
}

/// What is at the other end of a link: `switch`, an address, or null for one that is down.
fn link(gpu: &'static Value, link: c_uint) -> Option<&'static Value> {
    gpu["nvlinks"].get(link as usize)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvmlDevice_t,
    number: c_uint,
    is_active: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetNvLinkState", device, |gpu| {
        put(is_active, u32::from(!link(gpu, number)?.is_null()));
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetNvLinkRemoteDeviceType(
    device: nvmlDevice_t,
    number: c_uint,
    kind: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetNvLinkRemoteDeviceType", device, |gpu| {
        put(kind, if link(gpu, number)? == "switch" { 2 } else { 0 });
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: nvmlDevice_t,
    number: c_uint,
    info: *mut nvmlPciInfo_t,
) -> nvmlReturn_t {
    with("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, |gpu| {
        // A switch has an address, too.
        let remote = link(gpu, number)?.as_str()?;
        put_pci(info, if remote == "switch" { "0000:85:00.0" } else { remote })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    one: nvmlDevice_t,
    other: nvmlDevice_t,
    level: *mut c_uint,
) -> nvmlReturn_t {
    with("nvmlDeviceGetTopologyCommonAncestor", one, |_| {
        let levels = &NODE.get()?["levels"];
        let ((one, None), (other, None)) = (place(one)?, place(other)?) else { return None };
        let pair = format!("{}-{}", one.min(other), one.max(other));
        // By default as far apart as can be.
        put(level, number(&levels[pair]).or_else(|| number(&levels["*"])).unwrap_or(50));
        Some(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUtilizationRates(
    device: nvmlDevice_t,
    rates: *mut nvmlUtilization_t,
) -> nvmlReturn_t {
    with("nvmlDeviceGetUtilizationRates", device, |gpu| {
        put(rates, nvmlUtilization_t { gpu: number(&gpu["utilization"])?, memory: 1 });
        Some(())
    })
}

/// A list of `[pid, bytes]`; without bytes the memory is not available.
fn processes(
    function: &str,
    device: nvmlDevice_t,
    key: &str,
    count: *mut c_uint,
    infos: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let mut result = SUCCESS;
    let told = with(function, device, |gpu| {
        let none = Vec::new();
        let list = gpu["processes"][key].as_array().unwrap_or(&none);
        let room = unsafe { count.read() } as usize;
        put(count, u32::try_from(list.len()).ok()?);
        if room < list.len() {
            result = TOO_SMALL;
            return Some(());
        }
        for (at, process) in list.iter().enumerate() {
            let info = nvmlProcessInfo_t {
                pid: number(&process[0])?,
                usedGpuMemory: process[1].as_u64().unwrap_or(u64::MAX),
                gpuInstanceId: u32::MAX,
                computeInstanceId: u32::MAX,
            };
            unsafe { infos.add(at).write(info) };
        }
        Some(())
    });
    if told == SUCCESS { result } else { told }
}

/// Functions that tell processes.
macro_rules! lists {
    ($($function:ident $key:literal),* $(,)?) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $function(
            device: nvmlDevice_t,
            count: *mut c_uint,
            infos: *mut nvmlProcessInfo_t,
        ) -> nvmlReturn_t {
            processes(stringify!($function), device, $key, count, infos)
        }
    )*};
}

lists! {
    nvmlDeviceGetComputeRunningProcesses_v3 "compute",
    nvmlDeviceGetGraphicsRunningProcesses_v3 "graphics",
    nvmlDeviceGetMPSComputeRunningProcesses_v3 "mps",
}
