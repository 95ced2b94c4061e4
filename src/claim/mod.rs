//! The transaction: the only place that changes leases.
//!
//! * [`create`]: sweep dead holders' leases, allocate, record the lease, all under the lock and before
//!   the container exists;
//! * [`precreate`]: the same for Podman's hook of that name, which has ended before the container
//!   exists;
//! * [`bind`]: hand the lease from the shim's process to the container's init;
//! * [`release`]: release a lease whose holder is dead;
//! * [`resize`]: give a running container more or less of its devices;
//! * [`sweep`]: find dead holders. Every create does it, so a dead holder's devices go to the next
//!   request, without a daemon, a timer or an administrator;
//! * [`liveness`]: decide whether a holder is dead, by the kernel and by the files of engines and
//!   runtimes ([`runtime_state`]), which are not read under the lock (`facts`);
//! * [`busy`] and `processes`: the processes that compute on the node's GPUs;
//! * `node_use`: how much of the node's devices leases and processes leave, for display;
//! * [`place`]: the one lease directory that a configuration file grants in.
//!
//! A hook, a delete and a start act only on the lease with their own nonce. One that comes late finds
//! the lease of a later start, and leaves it alone.

pub mod bind;
pub mod busy;
pub mod create;
pub mod error;
mod facts;
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

use crate::host::Host;
use crate::paths::Paths;
use crate::store::Store;
use std::time::Duration;

/// How long a create may wait for the ledger's lock.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the bind hook may wait: the container waits with it.
pub const BIND_DEADLINE: Duration = Duration::from_secs(2);
/// How long delete and poststop may wait. An engine gives its whole clean-up 5 s, and the next sweep
/// does what they leave undone.
pub const DELETE_DEADLINE: Duration = Duration::from_millis(300);

/// The directories and the store that a transaction works with.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a> {
    pub paths: &'a Paths,
    pub store: &'a Store,
}

impl<'a> Ctx<'a> {
    /// Of this host.
    #[must_use]
    pub const fn of(host: &'a Host) -> Self {
        Self { paths: &host.paths, store: host.store() }
    }
}
