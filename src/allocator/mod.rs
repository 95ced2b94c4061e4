//! Which devices a request gets. Pure: `(snapshot, request) → grant | refusal`, without I/O,
//! clock or chance, so that the same node and the same request always give the same answer.
//!
//! The way of a request through the files: [`mod@grant`] holds the sequence; `filter` and
//! `selectors` say which devices could ever serve, `occupancy` what is left of each, `demand` what
//! is asked of each, `isolation` how a share of each is made true, `choose` and `topology` which of
//! the fitting ones are taken; `reasons` and `explain` put a refusal into words.

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
