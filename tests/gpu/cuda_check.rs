//! A CUDA program without a toolkit: opens the driver's library, adds two vectors on the first device
//! that it sees and checks the sum. For `tests/gpu/run.sh`, in a container that has nothing of
//! NVIDIA's but what gpulease put there.

#![allow(unsafe_code, reason = "the driver API is a C library")]
#![allow(clippy::print_stdout, reason = "the script reads what it says")]

use libloading::{Library, Symbol};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::process::ExitCode;
use std::ptr;

/// `sum[i] = a[i] + b[i]`, in the assembly that every driver compiles for its own device.
const PTX: &CStr = c"
.version 6.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 sum, .param .u32 n)
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [sum];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra END;
    cvta.to.global.u64 %rd4, %rd1;
    cvta.to.global.u64 %rd5, %rd2;
    cvta.to.global.u64 %rd6, %rd3;
    mul.wide.u32 %rd7, %r5, 4;
    add.s64 %rd8, %rd4, %rd7;
    add.s64 %rd9, %rd5, %rd7;
    add.s64 %rd10, %rd6, %rd7;
    ld.global.f32 %f1, [%rd8];
    ld.global.f32 %f2, [%rd9];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd10], %f3;
END:
    ret;
}
";

const COUNT: usize = 1 << 20;
const BYTES: usize = COUNT * size_of::<f32>();
const BLOCK: c_uint = 256;

/// A device address (`CUdeviceptr`).
type Address = u64;
/// A handle of a context, a module or a function.
type Handle = *mut c_void;

/// The driver's library.
struct Cuda(Library);

impl Cuda {
    /// Calls a function of the library and says which one failed, and why.
    fn call<F>(&self, name: &str, call: impl FnOnce(&F) -> c_int) -> Result<(), String> {
        // SAFETY: each caller names the type that the CUDA Driver API documents for the name.
        let function: Symbol<'_, F> =
            unsafe { self.0.get(name.as_bytes()) }.map_err(|error| format!("{name}: {error}"))?;
        match call(&function) {
            0 => Ok(()),
            code => Err(format!("{name}: CUDA error {code}")),
        }
    }
}

fn main() -> ExitCode {
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cuda-check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    // SAFETY: the library's initialisers are the driver's; nothing else runs in this process yet.
    let library = unsafe { Library::new("libcuda.so.1") };
    let cuda = Cuda(library.map_err(|error| error.to_string())?);
    cuda.call("cuInit", |f: &extern "C" fn(c_uint) -> c_int| f(0))?;
    let mut version = 0;
    cuda.call("cuDriverGetVersion", |f: &extern "C" fn(*mut c_int) -> c_int| f(&raw mut version))?;
    let mut count = 0;
    cuda.call("cuDeviceGetCount", |f: &extern "C" fn(*mut c_int) -> c_int| f(&raw mut count))?;
    println!("cuda: {}.{}", version / 1000, version % 1000 / 10);
    println!("devices: {count}");
    let mut device = 0;
    cuda.call("cuDeviceGet", |f: &extern "C" fn(*mut c_int, c_int) -> c_int| {
        f(&raw mut device, 0)
    })?;
    let mut name = [0 as c_char; 128];
    cuda.call("cuDeviceGetName", |f: &extern "C" fn(*mut c_char, c_int, c_int) -> c_int| {
        f(name.as_mut_ptr(), 127, device)
    })?;
    // SAFETY: the driver ends the name within the length that it was given; the last byte is 0.
    println!("device 0: {}", unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy());
    let mut context: Handle = ptr::null_mut();
    cuda.call("cuDevicePrimaryCtxRetain", |f: &extern "C" fn(*mut Handle, c_int) -> c_int| {
        f(&raw mut context, device)
    })?;
    cuda.call("cuCtxSetCurrent", |f: &extern "C" fn(Handle) -> c_int| f(context))?;
    add(&cuda)
}

/// Adds on the device, and checks every element.
fn add(cuda: &Cuda) -> Result<(), String> {
    let mut module: Handle = ptr::null_mut();
    cuda.call("cuModuleLoadData", |f: &extern "C" fn(*mut Handle, *const c_char) -> c_int| {
        f(&raw mut module, PTX.as_ptr())
    })?;
    let mut function: Handle = ptr::null_mut();
    cuda.call(
        "cuModuleGetFunction",
        |f: &extern "C" fn(*mut Handle, Handle, *const c_char) -> c_int| {
            f(&raw mut function, module, c"add".as_ptr())
        },
    )?;
    let a: Vec<f32> = (0_u16..1024).cycle().take(COUNT).map(f32::from).collect();
    let b: Vec<f32> = a.iter().rev().map(|value| value * 2.0).collect();
    let mut addresses: [Address; 3] = [0; 3];
    for address in &mut addresses {
        cuda.call("cuMemAlloc_v2", |f: &extern "C" fn(*mut Address, usize) -> c_int| {
            f(address, BYTES)
        })?;
    }
    let [on_a, on_b, on_sum] = &mut addresses;
    for (address, data) in [(*on_a, &a), (*on_b, &b)] {
        type Copy = extern "C" fn(Address, *const c_void, usize) -> c_int;
        cuda.call("cuMemcpyHtoD_v2", |f: &Copy| f(address, data.as_ptr().cast(), BYTES))?;
    }
    let mut number = u32::try_from(COUNT).map_err(|error| error.to_string())?;
    let mut arguments: [*mut c_void; 4] = [
        (&raw mut *on_a).cast(),
        (&raw mut *on_b).cast(),
        (&raw mut *on_sum).cast(),
        (&raw mut number).cast(),
    ];
    type Launch = extern "C" fn(
        Handle,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        Handle,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> c_int;
    cuda.call("cuLaunchKernel", |f: &Launch| {
        let blocks = number.div_ceil(BLOCK);
        let stream = ptr::null_mut();
        f(function, blocks, 1, 1, BLOCK, 1, 1, 0, stream, arguments.as_mut_ptr(), ptr::null_mut())
    })?;
    cuda.call("cuCtxSynchronize", |f: &extern "C" fn() -> c_int| f())?;
    let mut sum = vec![0.0_f32; COUNT];
    cuda.call("cuMemcpyDtoH_v2", |f: &extern "C" fn(*mut c_void, Address, usize) -> c_int| {
        f(sum.as_mut_ptr().cast(), *on_sum, BYTES)
    })?;
    let wrong = sum.iter().zip(a.iter().zip(&b)).filter(|(sum, (a, b))| **sum != *a + *b).count();
    if wrong > 0 {
        return Err(format!("{wrong} of {COUNT} sums are wrong"));
    }
    println!("added {COUNT} pairs: all right");
    Ok(())
}
