//! Plain data that all layers share, without I/O or clock.

#![forbid(unsafe_code)]

pub mod cdi;
pub mod code;
pub mod cu_set;
mod details;
pub mod device;
pub mod driver;
#[cfg(feature = "cli")]
pub mod encoding;
pub mod facilities;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod id;
pub mod isolation;
pub mod lease;
mod link;
pub mod machine;
pub mod mig;
pub mod mig_layout;
pub mod order;
pub mod quantity;
pub mod spelled;
pub mod text;
pub mod variables;
