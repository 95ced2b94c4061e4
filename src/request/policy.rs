//! The administrator's rules for requests: the `[policy]` table of the configuration.

use super::env;
use super::raw::OWN_VARIABLES;
use super::types::{Request, Strategy};
use crate::model::lease::Sharing;
use serde::Deserialize;
use std::time::Duration;

/// How GPU nodes are treated that the engine put into the spec (`--gpus`, CDI, device plugins).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Injected {
    /// Lease them as they are. The start is refused if another lease holds them.
    Adopt,
    Refuse,
    /// Let them pass without a lease.
    Ignore,
}

/// How devices are treated on which processes without a lease compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// Grant them only to requests that name them.
    Avoid,
    /// Do not grant them.
    Refuse,
    Ignore,
}

/// How a request from a privileged container is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privileged {
    /// Lease whole devices only. Nodes of other GPUs are removed from the container's device list.
    Whole,
    Refuse,
}

/// The administrator's rules for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The strategy of a request that names none.
    pub strategy: Strategy,
    /// Container environment variables that count as a request, out of [`ADMISSIBLE_ENV`]. An image
    /// can set them, so none is admitted by default.
    pub accept_env: Vec<String>,
    /// GPU nodes that are already in the spec.
    pub injected: Injected,
    /// Devices on which processes without a lease compute.
    pub busy: Busy,
    /// Requests from privileged containers.
    pub privileged: Privileged,
    /// How long after its end a container can get its devices back.
    pub release_grace: Duration,
    /// The longest `gpulease/wait` that is allowed.
    pub max_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strategy: Strategy::BestFit,
            accept_env: Vec::new(),
            injected: Injected::Adopt,
            busy: Busy::Avoid,
            privileged: Privileged::Whole,
            release_grace: Duration::from_secs(10),
            max_wait: Duration::from_secs(300),
        }
    }
}

impl Policy {
    /// Why a request of a privileged container is refused; `None` if it is not.
    pub fn fault_of_privileged(&self, request: &Request) -> Option<&'static str> {
        match (self.privileged, request.sharing) {
            (Privileged::Refuse, _) => {
                Some("a privileged container asks for a GPU, and `policy.privileged` is `refuse`")
            }
            (Privileged::Whole, Sharing::Shared) => Some(
                "a privileged container can only have whole devices: it could undo the limits of a \
                 share",
            ),
            (Privileged::Whole, Sharing::Exclusive) => None,
        }
    }
}

/// The values that [`Policy::accept_env`] can have.
pub const ADMISSIBLE_ENV: &[&str] = &[env::NVIDIA, env::AMD, OWN_VARIABLES];

/// Whether an administrator can admit this container variable as a request. The check is cheap:
/// only containers with such a variable make a start read the configuration.
pub fn is_admissible(name: &str) -> bool {
    ADMISSIBLE_ENV.iter().any(|admissible| match admissible.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *admissible,
    })
}
