//! From a container's spec to a leased and edited one. All ways to start a container share this
//! module.

mod adopted;
mod ask;
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
#[cfg(feature = "cli")]
pub mod planned;
mod policy;
mod prepare;
#[cfg(feature = "cli")]
pub mod release;
pub mod request;
pub mod shares;
mod spec;
#[cfg(feature = "cli")]
mod typed;

pub use ask::{Asked, Launch};
pub use driver::permit;
#[cfg(feature = "cli")]
pub use foresee::{check_default, foresee};
pub use interpret::{Interpretation, concerns_us, facts_of, interpret, interpret_facts};
pub use prepare::{Prepared, StartOutcome, Starter, prepare};
pub use spec::bad_bundle;
#[cfg(feature = "cli")]
pub use typed::{SpecFault, fault_of};
