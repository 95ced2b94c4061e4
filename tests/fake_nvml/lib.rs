//! A `libnvidia-ml.so.1` that plays a node, for tests/nvml.rs: a shared library with the functions of
//! NVIDIA's that gpulease calls, by NVIDIA's own types (nvml-wrapper-sys has them from its header).
//!
//! What it plays is in `node.json` beside the library. A value that is absent or null is one that the
//! device does not support. `errors` gives the NVML error code that a function returns for a device
//! (`*` for all of them), `init` what becomes of the initialisation. See tests/nvml/nodes.rs.

#![allow(
    unsafe_code,
    missing_docs,
    non_snake_case,
    clippy::missing_safety_doc,
    clippy::undocumented_unsafe_blocks,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::not_unsafe_ptr_arg_deref,
    reason = "a test's library, in C's manner: whoever calls passes pointers that are good"
)]

mod calls;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT, nvmlReturn_enum_NVML_ERROR_NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED, nvmlReturn_enum_NVML_ERROR_UNINITIALIZED,
    nvmlReturn_enum_NVML_SUCCESS, nvmlReturn_t,
};
use serde_json::Value;
use std::ffi::CStr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

const SUCCESS: nvmlReturn_t = nvmlReturn_enum_NVML_SUCCESS;
const INVALID: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
const NOT_FOUND: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
const UNSUPPORTED: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
const UNINITIALIZED: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
const LOST: nvmlReturn_t = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;

/// Handles of MIG devices are above those of GPUs.
const MIG: usize = 1000;
const MIG_OF_EACH: usize = 100;

static NODE: OnceLock<Value> = OnceLock::new();

/// Reads `node.json` from the directory that this library was loaded from.
fn load() -> Option<Value> {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    if unsafe { libc::dladdr(load as *const libc::c_void, &raw mut info) } == 0 {
        return None;
    }
    let path = unsafe { CStr::from_ptr(info.dli_fname) }.to_str().ok()?;
    let text = std::fs::read_to_string(Path::new(path).with_file_name("node.json")).ok()?;
    serde_json::from_str(&text).ok()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    let Some(node) = load() else { return INVALID };
    let init = &node["init"];
    if let Some(text) = init["print"].as_str() {
        println!("{text}");
    }
    if let Some(milliseconds) = init["sleep_ms"].as_u64() {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    if init["crash"] == true {
        unsafe { std::ptr::without_provenance_mut::<u32>(64).write_volatile(1) };
    }
    let code = code(&init["error"]);
    if code == SUCCESS {
        let _ = NODE.set(node);
    }
    code
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

fn code(value: &Value) -> nvmlReturn_t {
    value.as_u64().map_or(SUCCESS, |code| nvmlReturn_t::try_from(code).unwrap())
}

fn gpus() -> &'static [Value] {
    NODE.get().and_then(|node| node["gpus"].as_array()).map_or(&[], Vec::as_slice)
}

fn handle(number: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(number)
}

/// The position of a GPU, and of a MIG device on it.
fn place(device: nvmlDevice_t) -> Option<(usize, Option<usize>)> {
    let number = device.addr().checked_sub(1)?;
    match number.checked_sub(MIG) {
        None => Some((number, None)),
        Some(mig) => Some((mig / MIG_OF_EACH, Some(mig % MIG_OF_EACH))),
    }
}

fn of_handle(device: nvmlDevice_t) -> Option<&'static Value> {
    match place(device)? {
        (gpu, None) => gpus().get(gpu),
        (gpu, Some(instance)) => gpus().get(gpu)?["mig"]["instances"].get(instance),
    }
}

/// Calls a function of a device: it may fail as the node says, or not be supported.
fn with(
    function: &str,
    device: nvmlDevice_t,
    answer: impl FnOnce(&'static Value) -> Option<()>,
) -> nvmlReturn_t {
    if NODE.get().is_none() {
        return UNINITIALIZED;
    }
    let Some(value) = of_handle(device) else { return INVALID };
    let failure = failure(value, function);
    if failure != SUCCESS {
        return failure;
    }
    answer(value).map_or(UNSUPPORTED, |()| SUCCESS)
}

/// The code that the node has for this function of this device.
fn failure(device: &Value, function: &str) -> nvmlReturn_t {
    let errors = &device["errors"];
    let one = code(&errors[function]);
    if one == SUCCESS { code(&errors["*"]) } else { one }
}

/// Writes a value where the caller wants it.
fn put<T>(pointer: *mut T, value: T) {
    unsafe { pointer.write(value) };
}

/// Writes a text with its end, if there is room.
fn put_text(pointer: *mut libc::c_char, room: u32, text: &str) -> Option<()> {
    if text.len() + 1 > room as usize {
        return None;
    }
    for (offset, byte) in text.bytes().chain([0]).enumerate() {
        unsafe { pointer.add(offset).write(byte.cast_signed()) };
    }
    Some(())
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}
