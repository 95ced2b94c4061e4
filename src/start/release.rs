//! Takes a lease back by hand, with everything that its shares were given.

use super::shares;
use crate::claim::liveness::Holder;
use crate::claim::release::{Insistence, release_by_name};
use crate::claim::{CREATE_DEADLINE, Ctx};
use crate::failure::Failure;
use crate::host::Host;
use crate::model::lease::{Lease, LeaseState, shares_text};
use crate::model::text::shown;
use crate::store::Entry;
use crate::sys::syslog;

/// The tag in the system's log.
const TAG: &str = "gpulease";

/// The record that was taken back.
#[derive(Debug)]
pub struct ReleasedByHand {
    pub entry: Entry,
    pub holder: Holder,
    /// `released lease l-5f1c09ab77de of container web (docker): GPU 0`.
    pub text: String,
}

impl ReleasedByHand {
    /// Whether the container still runs. It then keeps its device nodes.
    pub fn is_alive(&self) -> bool {
        is_held(&self.entry) && matches!(self.holder, Holder::Alive | Holder::AliveAs(_))
    }
}

/// Releases the lease that `name` names, of a lease or of a container. Fails if this is not root, or
/// for the reasons of [`release_by_name`].
///
/// The system's log is told if the holder is not known to be dead: an administrator who looks for the
/// reason of what comes of it finds it there.
pub fn release_by_hand(
    host: &Host,
    name: &str,
    insistence: Insistence,
) -> Result<ReleasedByHand, Failure> {
    host.require_root("to release a lease")?;
    let (entry, holder) = release_by_name(Ctx::of(host), name, insistence, CREATE_DEADLINE)?;
    let text = match &entry {
        Entry::Lease(lease) => released(lease),
        Entry::Corrupt(corrupt) => format!(
            "moved the unreadable lease record of container {} aside",
            shown(corrupt.key.container_id.as_str())
        ),
    };
    if is_held(&entry) {
        log(host, &text, &holder, insistence);
    }
    let done = ReleasedByHand { entry, holder, text };
    if let Entry::Lease(lease) = &done.entry
        && is_held(&done.entry)
        && !done.is_alive()
    {
        // A container that goes on running keeps the limits that it has.
        shares::end(Ctx::of(host), lease, host.own_arguments())?;
    }
    Ok(done)
}

/// A lease in its grace has no container any more.
fn is_held(entry: &Entry) -> bool {
    !matches!(entry, Entry::Lease(lease) if lease.state == LeaseState::Grace)
}

fn released(lease: &Lease) -> String {
    format!(
        "released lease {} of container {} ({}): GPU {}",
        lease.id,
        shown(lease.container_id.as_str()),
        shown(&lease.engine),
        shares_text(&lease.devices),
    )
}

fn log(host: &Host, text: &str, holder: &Holder, insistence: Insistence) {
    let why = match (holder, insistence) {
        (Holder::Dead, _) => return,
        (Holder::Unjudged(why), Insistence::AssumeDead) => {
            format!("assumed dead by --assume-dead: it {why}")
        }
        (Holder::Unjudged(why), _) => format!("released by --force: it {why}"),
        (Holder::Alive | Holder::AliveAs(_), _) => "released by --force: it is alive".to_owned(),
    };
    let line = format!("{text}: its holder was {why}");
    syslog::warning(&host.paths.dev.join("log"), TAG, &line);
}
