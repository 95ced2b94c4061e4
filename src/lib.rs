//! gpulease gives containers GPUs by lease.
//!
//! An engine (Docker, containerd, Podman, …) calls `gpulease-runtime` in place of runc or crun.
//! Before a container starts, the shim reads its GPU request from OCI annotations, allocates
//! devices against the leases in a node-local directory, records the lease, edits the bundle's
//! `config.json` and becomes the real runtime by `execve`. Hooks tie the lease to the container's
//! init process; when that is gone, however it went, the devices are free again.
//!
//! The modules are layers; each uses only those above it in this list.
//!
//! * pure: [`model`] the shared words, [`request`] annotations to requests, [`allocator`]
//!   requests to grants, [`injection`] grants to spec edits. No I/O, no clock, no chance: clippy's
//!   `disallowed_*` lints are denied on them below, and `tests/layering.rs` holds the arrows.
//! * machine: [`sys`] the kernel, [`paths`], [`config`], [`inventory`] what the node has,
//!   [`store`] leases on disk, [`isolation`] what makes shares true.
//! * host: `host` — the configuration, read once, and the directories that a call works with.
//! * transaction: [`claim`] — the only place that changes leases; [`failure`] what users hear.
//! * faces: [`runtime`] the shim, [`hook`] the OCI hooks, `cli` the command line, `rocm` the
//!   optional program that asks ROCm's library.

// The pure modules may decide, not act.
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod allocator;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod injection;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod model;
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
pub mod request;

pub mod config;
pub mod inventory;
pub mod isolation;
pub mod paths;
pub mod store;
#[allow(unsafe_code, reason = "system calls that std and nix do not wrap live here and only here")]
pub mod sys;

pub mod claim;
pub mod failure;
pub(crate) mod host;

#[cfg(feature = "cli")]
pub mod cli;
pub mod hook;
#[cfg(feature = "rocm-smi")]
pub mod rocm;
pub mod runtime;

/// Version and commit, as every binary prints them: `0.1.0 (commit 1a2b3c4d5e)`.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("GPULEASE_COMMIT"), ")");
