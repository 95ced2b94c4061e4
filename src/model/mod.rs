//! The shared words: plain data that every layer speaks, without I/O or clock.

#![forbid(unsafe_code)]

pub mod code;
pub mod device;
pub mod id;
pub mod isolation;
pub mod lease;
pub mod mig;
pub mod quantity;
pub mod text;
