//! What the administrator permits: the `[policy]` table of the configuration.

use super::env;
use super::raw::OWN_VARIABLES;
use super::types::{Request, Strategy};
use crate::model::lease::Sharing;
use serde::Deserialize;
use std::time::Duration;

/// What to do with GPU nodes that the engine put into the spec (`--gpus`, CDI, device plugins).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Injected {
    /// Lease them as they stand, or refuse the start if another lease holds them.
    Adopt,
    Refuse,
    /// Let them pass, unleased.
    Ignore,
}

/// What to do with devices that processes outside of any lease compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// Grant them only to requests that name them.
    Avoid,
    /// Grant them to nobody.
    Refuse,
    Ignore,
}

/// What to do with a request from a privileged container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privileged {
    /// Lease whole devices; other GPUs' nodes are taken out of its device list.
    Whole,
    Refuse,
}

/// The administrator's word on requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The strategy of a request that names none.
    pub strategy: Strategy,
    /// Container environment variables that count as a request, out of [`ADMISSIBLE_ENV`]. An
    /// image can set them, so the default is none.
    pub accept_env: Vec<String>,
    /// GPU nodes already in the spec.
    pub injected: Injected,
    /// Devices that processes outside of any lease compute on.
    pub busy: Busy,
    /// Requests from privileged containers.
    pub privileged: Privileged,
    /// How long a container may have its devices back after release.
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
    /// Why a privileged container does not get what it asks for; `None` if it may.
    pub fn fault_of_privileged(&self, request: &Request) -> Option<&'static str> {
        match (self.privileged, request.sharing) {
            (Privileged::Refuse, _) => {
                Some("a privileged container asks for a GPU, and `policy.privileged` is `refuse`")
            }
            (Privileged::Whole, Sharing::Shared) => Some(
                "a privileged container is leased whole devices only: no share could be held \
                 against it",
            ),
            (Privileged::Whole, Sharing::Exclusive) => None,
        }
    }
}

/// What [`Policy::accept_env`] may have.
pub const ADMISSIBLE_ENV: &[&str] = &[env::NVIDIA, env::AMD, OWN_VARIABLES];

/// Whether an administrator could admit this variable of a container as a request. Cheap, so that
/// the configuration is read only for containers that have one.
pub fn is_admissible(name: &str) -> bool {
    ADMISSIBLE_ENV.iter().any(|admissible| match admissible.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *admissible,
    })
}
