//! The sequence: check the request, filter the devices, choose some, or explain the refusal.

use super::assess::Assessment;
use super::refusal::Refusal;
use super::snapshot::{Grant, Snapshot};
use super::{choose, explain};
use crate::model::quantity::{Bytes, MilliGpu};
use crate::request::{Amount, Count, Request};

/// Chooses devices for a request: all that it needs, or none.
///
/// Put the container's own former lease, if it is in its grace, into [`Snapshot::prefer`], not into
/// [`Snapshot::holds`]. Fails with a refusal that gives a reason for each device. The code is
/// `no-capacity` if the request would be met on a node without leases, `no-match` if this node can
/// never meet it, and `bad-request` for amounts that the parser does not let through.
pub fn grant(snapshot: &Snapshot<'_>, request: &Request) -> Result<Grant, Refusal> {
    check(request)?;
    let assessment = Assessment::new(snapshot, request)
        .map_err(|bad| explain::bad_selector(snapshot.node, &bad))?;
    let chosen = match request.count {
        Count::Exactly(count) => choose::exactly(&assessment, count as usize),
        Count::All => choose::all(&assessment),
    };
    chosen.ok_or_else(|| explain::refusal(&assessment))
}

/// Refuses amounts that the parser does not let through.
fn check(request: &Request) -> Result<(), Refusal> {
    if request.count == Count::Exactly(0) {
        return Err(explain::bad_amount("no device requested"));
    }
    let Amount::Share { compute, memory } = request.amount else { return Ok(()) };
    if compute.is_none() && memory.is_none() {
        return Err(explain::bad_amount("a share is requested, but neither compute nor memory"));
    }
    if compute.is_some_and(|compute| compute < MilliGpu::MIN) {
        return Err(explain::bad_amount(&format!("less than {} of compute", MilliGpu::MIN)));
    }
    if memory == Some(Bytes(0)) {
        return Err(explain::bad_amount("a share without memory is requested"));
    }
    Ok(())
}
