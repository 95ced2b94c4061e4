//! NVIDIA's GPUs by NVML: the real wrapper in the real probe process loads a library that plays a
//! node (tests/fake_nvml), and Debian's real one, without a driver.
//!
//! The library is an example of this crate, which `cargo nextest run` and `cargo test` build; for
//! this file alone: `cargo build --features failpoints --example fake_nvml`.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not know as tests"
)]

mod support;

#[path = "nvml/debian.rs"]
mod debian;
#[path = "nvml/devices.rs"]
mod devices;
#[path = "nvml/failures.rs"]
mod failures;
#[path = "nvml/host.rs"]
mod host;
#[path = "nvml/live.rs"]
mod live;
#[path = "nvml/looking.rs"]
mod looking;
#[path = "nvml/nodes.rs"]
mod nodes;
