//! The tests' labs of real engines, for the bench.

#![allow(dead_code, reason = "the tests need more of it")]

#[path = "../../tests/support/engine.rs"]
pub mod engine;

/// Where the labs take the programs from, instead of cargo's: see `tests/support/engine.rs`.
pub const PROGRAMS: &str = "GPULEASE_TEST_BIN";

// By their names in that folder.
const SHIM: &str = "gpulease-runtime";
const HOOK: &str = "gpulease-hook";
const CLI: &str = "gpulease";

/// As main has seen to.
fn is_root(_test: &str) -> bool {
    true
}
