//! MPS daemons with NVIDIA's real control program, on devices that do not exist: it needs no GPU until a
//! client comes. As root, and only there. The program is that of Debian's package
//! (tests/lab/nvidia.sh); servers and clients are beyond this: they need a GPU.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy does not know as tests"
)]

mod support;

#[path = "mps/crashes.rs"]
mod crashes;
#[path = "mps/foreign.rs"]
mod foreign;
#[path = "mps/json.rs"]
mod json;
#[path = "mps/lifecycle.rs"]
mod lifecycle;
#[path = "mps/lost.rs"]
mod lost;
#[path = "mps/modes.rs"]
mod modes;
#[path = "mps/node.rs"]
mod node;
#[path = "mps/trouble.rs"]
mod trouble;
