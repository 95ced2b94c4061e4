//! Decides which devices a request gets. The module is pure: `(snapshot, request) → grant |
//! refusal`, without I/O, clock or randomness. The same node and the same request always give the
//! same answer.
//!
//! A request passes through the files in this order. [`mod@grant`] holds the sequence. `filter` and
//! `selectors` find the devices that could serve it. `occupancy` says how much of each is free,
//! `demand` how much of each the request needs, `isolation` how a share of each is enforced.
//! `choose` and `topology` pick among the devices that fit. `reasons` and `explain` put a refusal
//! into words.

#![forbid(unsafe_code)]

mod assess;
mod choose;
mod demand;
mod explain;
mod filter;
pub mod grant;
mod grouped;
mod hints;
mod isolation;
mod occupancy;
mod reasons;
pub mod refusal;
mod resized;
mod selectors;
pub mod snapshot;
mod topology;

#[cfg(test)]
mod busy_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod mig_tests;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use grant::grant;
pub use grouped::grouped_text;
pub use refusal::{Refusal, Verdict};
pub use resized::resized;
pub use snapshot::{
    BusyDevices, BusyProcess, Grant, GrantedDevice, Hold, HoldKind, Requester, Snapshot,
};
