//! A lease that was taken back by hand.

use crate::claim::liveness::{Holder, LeaseStanding, Unjudged};
use crate::claim::release::Insistence;
use crate::model::id::{ContainerId, LeaseId};
use crate::model::lease::{Lease, LeaseState, LeasedDevice};
use crate::store::Corrupt;
use serde::Serialize;

/// The end of the record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Release<'a> {
    Released(ReleasedLease<'a>),
    SetAside(SetAsideRecord<'a>),
}

#[derive(Debug, Serialize)]
pub struct ReleasedLease<'a> {
    id: &'a LeaseId,
    container_id: &'a ContainerId,
    runtime_root: &'a str,
    /// The state that it had.
    state: LeaseState,
    devices: &'a [LeasedDevice],
    holder: &'static str,
    /// Why the holder cannot be judged, if so.
    unjudged: Option<String>,
    forced: bool,
    assumed_dead: bool,
}

/// A record that cannot be read, and was moved out of the ledger.
#[derive(Debug, Serialize)]
pub struct SetAsideRecord<'a> {
    container_id: &'a ContainerId,
    runtime_root: &'a str,
    path: String,
    why: &'a str,
    forced: bool,
    assumed_dead: bool,
}

impl<'a> Release<'a> {
    pub fn released(lease: &'a Lease, holder: &Holder, insistence: Insistence) -> Self {
        Self::Released(ReleasedLease {
            id: &lease.id,
            container_id: &lease.container_id,
            runtime_root: &lease.runtime_root,
            state: lease.state,
            devices: &lease.devices,
            holder: LeaseStanding::of(lease, holder).holder(),
            unjudged: holder.unjudged().map(Unjudged::to_string),
            forced: insistence == Insistence::Force,
            assumed_dead: insistence == Insistence::AssumeDead,
        })
    }

    pub fn set_aside(record: &'a Corrupt, insistence: Insistence) -> Self {
        Self::SetAside(SetAsideRecord {
            container_id: &record.key.container_id,
            runtime_root: &record.key.runtime_root,
            path: record.path.display().to_string(),
            why: &record.why,
            forced: insistence == Insistence::Force,
            assumed_dead: insistence == Insistence::AssumeDead,
        })
    }
}
