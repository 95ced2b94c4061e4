//! From a container's spec to a leased and edited one: what every way to start a container shares.

mod adopted;
pub mod bundle;
mod busy;
pub mod device_nodes;
mod driver;
pub mod in_doubt;
mod injected;
mod known;
pub mod lowlevel;
mod marks;
mod mounted;
pub mod namespaces;
pub mod policy;
mod prepare;
pub mod request;
pub mod shares;

pub(crate) use prepare::{Caller, Outcome, Prepared, bad_bundle, concerns_us, prepare};
