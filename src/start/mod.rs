//! From a container's spec to a leased and edited one: what every way to start a container shares.

mod adopted;
pub mod bundle;
mod busy;
mod device_nodes;
mod driver;
mod edits;
#[cfg(feature = "cli")]
mod foresee;
mod in_doubt;
mod injected;
mod interpret;
mod known;
pub mod lowlevel;
mod marks;
mod mounted;
mod namespaces;
mod policy;
mod prepare;
pub mod request;
pub mod shares;
mod spec;
#[cfg(feature = "cli")]
mod typed;

pub use driver::permit;
#[cfg(feature = "cli")]
pub use foresee::foresee;
pub use interpret::{Answer, Ask, Launch, bad_bundle, concerns_us, facts_of, interpret_facts};
pub use prepare::{Outcome, Prepared, Starter, prepare};
#[cfg(feature = "cli")]
pub use typed::{SpecFault, fault_of};
