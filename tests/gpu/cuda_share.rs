//! A CUDA program that takes device memory and then works on it for a while, without a kernel of its
//! own: `cuda-share MIB SECONDS`. For `tests/gpu/run.sh`, as two containers at once.
//!
//! It prints one line of JSON: whether the memory was had, and how often in each second of the clock
//! it set a part of it. Exit status 3 says that there was not enough memory.

#![allow(unsafe_code, reason = "the driver API is a C library")]
#![allow(clippy::print_stdout, reason = "the script reads what it says")]

use libloading::{Library, Symbol};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::process::ExitCode;
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: c_int = 2;
/// What is set at a time.
const PART: usize = 64 << 20;

/// A device address (`CUdeviceptr`).
type Address = u64;
/// A handle of a context or a stream.
type Handle = *mut c_void;

/// The driver's library.
struct Cuda(Library);

impl Cuda {
    /// Calls a function of the library; its result is not judged.
    fn ask<F>(&self, name: &str, call: impl FnOnce(&F) -> c_int) -> Result<c_int, String> {
        // SAFETY: each caller names the type that the CUDA Driver API documents for the name.
        let function: Symbol<'_, F> =
            unsafe { self.0.get(name.as_bytes()) }.map_err(|error| format!("{name}: {error}"))?;
        Ok(call(&function))
    }

    /// The same of one that must not fail.
    fn call<F>(&self, name: &str, call: impl FnOnce(&F) -> c_int) -> Result<(), String> {
        match self.ask(name, call)? {
            0 => Ok(()),
            code => Err(format!("{name}: CUDA error {code}")),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [mib, seconds] = arguments[..] else {
        println!("{{\"error\": \"usage: cuda-share MIB SECONDS\"}}");
        return ExitCode::FAILURE;
    };
    match work(mib, seconds) {
        Ok(status) => status.into(),
        Err(error) => {
            println!("{{\"error\": {error:?}}}");
            ExitCode::FAILURE
        }
    }
}

fn work(mib: u64, seconds: u64) -> Result<u8, String> {
    // SAFETY: the library's initialisers are the driver's; nothing else runs in this process yet.
    let library = unsafe { Library::new("libcuda.so.1") };
    let cuda = Cuda(library.map_err(|error| error.to_string())?);
    cuda.call("cuInit", |f: &extern "C" fn(c_uint) -> c_int| f(0))?;
    let mut device = 0;
    cuda.call("cuDeviceGet", |f: &extern "C" fn(*mut c_int, c_int) -> c_int| {
        f(&raw mut device, 0)
    })?;
    let mut context: Handle = ptr::null_mut();
    cuda.call("cuDevicePrimaryCtxRetain", |f: &extern "C" fn(*mut Handle, c_int) -> c_int| {
        f(&raw mut context, device)
    })?;
    cuda.call("cuCtxSetCurrent", |f: &extern "C" fn(Handle) -> c_int| f(context))?;
    let bytes = usize::try_from(mib << 20).map_err(|error| error.to_string())?;
    let mut address: Address = 0;
    let code = cuda.ask("cuMemAlloc_v2", |f: &extern "C" fn(*mut Address, usize) -> c_int| {
        f(&raw mut address, bytes)
    })?;
    match code {
        0 => {}
        OUT_OF_MEMORY => {
            println!("{{\"mib\": {mib}, \"allocated\": false, \"code\": {code}}}");
            return Ok(3);
        }
        code => return Err(format!("cuMemAlloc_v2: CUDA error {code}")),
    }
    let counts = set_for(&cuda, address, bytes, Duration::from_secs(seconds))?;
    let total: u64 = counts.values().sum();
    let each: Vec<String> = counts.iter().map(|(at, count)| format!("\"{at}\": {count}")).collect();
    println!(
        "{{\"mib\": {mib}, \"allocated\": true, \"sets\": {total}, \"by_second\": {{{}}}}}",
        each.join(", ")
    );
    Ok(0)
}

/// Sets the memory again and again, and counts by the second of the clock.
fn set_for(
    cuda: &Cuda,
    address: Address,
    bytes: usize,
    span: Duration,
) -> Result<BTreeMap<u64, u64>, String> {
    let mut stream: Handle = ptr::null_mut();
    cuda.call("cuStreamCreate", |f: &extern "C" fn(*mut Handle, c_uint) -> c_int| {
        f(&raw mut stream, 0)
    })?;
    type Set = extern "C" fn(Address, c_uchar, usize, Handle) -> c_int;
    let (start, mut counts, mut value) = (Instant::now(), BTreeMap::new(), 0_u8);
    while start.elapsed() < span {
        value = value.wrapping_add(1);
        cuda.call("cuMemsetD8Async", |f: &Set| f(address, value, bytes.min(PART), stream))?;
        cuda.call("cuStreamSynchronize", |f: &extern "C" fn(Handle) -> c_int| f(stream))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        *counts.entry(now.map_err(|error| error.to_string())?.as_secs()).or_default() += 1;
    }
    Ok(counts)
}
