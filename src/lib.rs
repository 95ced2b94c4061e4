//! gpulease gives containers GPUs by lease.
//!
//! An engine (Docker, containerd, Podman, …) calls `gpulease-runtime` in place of runc or crun.
//! Before a container starts, the shim reads its GPU request from OCI annotations, allocates
//! devices against the leases in a node-local directory, records the lease, edits the bundle's
//! `config.json` and becomes the real runtime by `execve`. Hooks tie the lease to the container's
//! init process. Once that process is gone, for whatever reason, the devices are free again.
//!
//! The modules form floors. Each uses only those above it in this list, and no face uses another.
//! `tests/layering.rs` checks this, and `docs/architecture.md` is an introduction.
//!
//! * pure: `model` the shared words, `request` annotations to requests, `allocator` requests to
//!   grants, `injection` grants to spec edits. No I/O, no clock, no chance: clippy's `disallowed_*`
//!   lints are denied on them below.
//! * machine: `sys` the kernel, `paths`, `failure` errors for users, `config`, `inventory` the
//!   node's devices, `store` leases on disk, `engines` the engines' files.
//! * host: `host`, the directories, the configuration and the inventory of a call.
//! * transaction: `claim`, the only module that changes leases; `mps`, the only one that starts and
//!   ends MPS daemons.
//! * start: `start`, from a spec to a leased and edited one.
//! * view: `view`, the structs that are shown.
//! * faces: `runtime` the shim, `hook` the OCI hooks, `cli` the command line, `rocm` the optional
//!   program that asks ROCm's library.

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        reason = "code that only the command uses is left out by the linker"
    )
)]

// The pure modules may decide, not act.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod allocator;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod injection;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod model;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod request;

mod config;
#[cfg(feature = "cli")]
mod engines;
mod failure;
mod inventory;
mod paths;
mod store;
#[allow(unsafe_code, reason = "system calls that std and nix do not wrap live here and only here")]
mod sys;

mod host;

mod claim;
#[cfg(feature = "cli")]
mod mps;
mod start;
#[cfg(feature = "cli")]
mod view;

#[cfg(feature = "cli")]
mod cli;
mod hook;
#[cfg(feature = "rocm-smi")]
mod rocm;
mod runtime;

#[cfg(feature = "cli")]
pub use cli::main as cli;
pub use hook::main as hook;
#[cfg(feature = "rocm-smi")]
pub use rocm::main as rocm;
pub use runtime::main as runtime;

/// Version and commit, as every binary prints them: `0.1.0 (commit 1a2b3c4d5e)`.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("GPULEASE_COMMIT"), ")");

/// The parts of the library that the tests and benchmarks of this repository use. This is not a
/// public interface.
#[cfg(feature = "failpoints")]
pub mod door {
    pub mod allocator {
        pub use crate::allocator::*;
    }
    pub mod claim {
        pub use crate::claim::*;
    }
    pub mod config {
        pub use crate::config::*;
    }
    pub mod failure {
        pub use crate::failure::*;
    }
    pub mod host {
        pub use crate::host::*;
    }
    pub mod injection {
        pub use crate::injection::*;
    }
    pub mod inventory {
        pub use crate::inventory::*;
    }
    pub mod model {
        pub use crate::model::*;
    }
    pub mod paths {
        pub use crate::paths::*;
    }
    pub mod request {
        pub use crate::request::*;
    }
    pub mod runtime {
        pub use crate::runtime::*;
    }
    pub mod start {
        pub use crate::start::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
    pub mod sys {
        pub use crate::sys::*;
    }
}
