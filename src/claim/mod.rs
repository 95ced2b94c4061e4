//! The transaction: the only place that changes leases.
//!
//! * [`create`]: sweep the dead, allocate, record the lease — under the lock,
//!   before the container exists;
//! * [`precreate`]: the same for Podman's hook of that name,
//!   which is gone before the container exists;
//! * [`bind`]: record what making a lease's shares true came to, and hand the lease from the shim's
//!   process to the container's init;
//! * [`busy`]: who computes on the node's GPUs without a lease;
//! * `processes`: who computes on the node's GPUs, for people;
//! * [`release`]: let go of a lease whose holder is dead;
//! * `resize`: give a running container more or less of its devices;
//! * [`look`]: what the leases look like from outside, without the lock;
//! * `node_use`: what the leases and the processes leave of the node's devices, for display;
//! * [`sweep`]: find out who is dead. Every create does it, so a dead holder's devices go to the
//!   next one who asks, without a daemon, a timer or an operator.
//!
//! Everybody acts only on the lease of their own nonce: a hook or a delete that comes late finds
//! its successor's lease and leaves it alone.

pub mod bind;
pub mod busy;
pub mod create;
pub mod error;
pub mod liveness;
pub mod look;
#[cfg(feature = "cli")]
pub mod node_use;
pub mod place;
pub mod precreate;
#[cfg(feature = "cli")]
pub mod processes;
pub mod release;
pub mod resize;
pub mod runtime_state;
pub mod sweep;
mod testimony;

use crate::host::Host;
use crate::paths::Paths;
use crate::store::Store;
use std::time::Duration;

/// How long a create may wait for the ledger.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the bind hook may wait: the container waits with it.
pub const BIND_DEADLINE: Duration = Duration::from_secs(2);
/// How long delete and poststop may wait. An engine gives its whole clean-up 5 s and the next
/// sweep finds what they leave.
pub const DELETE_DEADLINE: Duration = Duration::from_millis(300);

/// Where a transaction takes place.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a> {
    pub paths: &'a Paths,
    pub store: &'a Store,
}

impl<'a> Ctx<'a> {
    /// Where this host's leases lie.
    #[must_use]
    pub const fn of(host: &'a Host) -> Self {
        Self { paths: &host.paths, store: host.store() }
    }
}
