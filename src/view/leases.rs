//! The leases of the node, with the state of each.

use crate::claim::liveness::{Holder, LeaseStanding, Unjudged};
use crate::claim::look::JudgedRecords;
use crate::model::id::{ContainerId, LeaseId};
use crate::model::isolation::{Isolation, IsolationRecord};
use crate::model::lease::{Lease, LeaseState, LeasedDevice, Owner};
use crate::model::quantity::Bytes;
use crate::mps::leases::is_cut_off;
use crate::paths::Paths;
use crate::store::Corrupt;
use serde::Serialize;

/// The lease records of the node.
#[derive(Debug, Serialize)]
pub struct Leases<'a> {
    pub leases: Vec<ListedLease<'a>>,
    pub corrupt: Vec<CorruptRecord<'a>>,
}

/// One lease. It is copied field by field: the nonce and the environment are not shown.
#[derive(Debug, Serialize)]
pub struct ListedLease<'a> {
    id: &'a LeaseId,
    state: LeaseState,
    holder: &'static str,
    /// Why the holder cannot be judged, if so.
    pub unjudged: Option<String>,
    container_id: &'a ContainerId,
    runtime_root: &'a str,
    engine: &'a str,
    created_at: &'a str,
    owner: &'a Owner,
    cgroup: Option<&'a str>,
    devices: &'a [LeasedDevice],
    isolation: &'a IsolationRecord,
    /// The MPS daemon that it was attached to is gone.
    pub cut_off: bool,
    priority: u32,
    workload: Option<&'a str>,
    #[serde(skip)]
    pub standing: LeaseStanding,
    #[serde(skip)]
    pub lease: &'a Lease,
}

/// A record that cannot be read.
#[derive(Debug, Serialize)]
pub struct CorruptRecord<'a> {
    pub container_id: &'a ContainerId,
    runtime_root: &'a str,
    pub path: String,
    pub why: &'a str,
    holder: &'static str,
    unjudged: Option<String>,
}

impl<'a> Leases<'a> {
    /// Leases in their grace are left out unless `all` are asked for.
    pub fn of(records: &'a JudgedRecords, all: bool, paths: &Paths) -> Self {
        let is_listed = |lease: &Lease| all || lease.state != LeaseState::Grace;
        let leases = records.leases.iter().filter(|(lease, _)| is_listed(lease));
        Self {
            leases: leases.map(|(lease, holder)| ListedLease::of(lease, holder, paths)).collect(),
            corrupt: records
                .corrupt
                .iter()
                .map(|(record, holder)| CorruptRecord::of(record, holder))
                .collect(),
        }
    }
}

impl<'a> ListedLease<'a> {
    fn of(lease: &'a Lease, holder: &Holder, paths: &Paths) -> Self {
        let standing = LeaseStanding::of(lease, holder);
        Self {
            id: &lease.id,
            state: lease.state,
            holder: standing.holder(),
            unjudged: holder.unjudged().map(Unjudged::to_string),
            container_id: &lease.container_id,
            runtime_root: &lease.runtime_root,
            engine: &lease.engine,
            created_at: &lease.created_at,
            owner: &lease.owner,
            cgroup: lease.cgroup.as_deref(),
            devices: &lease.devices,
            isolation: &lease.isolation,
            cut_off: !standing.is_free() && is_cut_off(lease, paths),
            priority: lease.priority,
            workload: lease.workload.as_deref(),
            standing,
            lease,
        }
    }

    /// The sum over the devices, if it is known of each.
    pub fn memory(&self) -> Option<Bytes> {
        let mut devices = self.devices.iter();
        devices.try_fold(Bytes(0), |sum, device| Some(sum.saturating_add(device.memory_bytes?)))
    }

    /// The process that holds it. A lease in its grace has none.
    pub fn pid(&self) -> Option<i32> {
        (self.state != LeaseState::Grace).then_some(self.owner.pid)
    }

    /// `mps advisory/kernel`: the isolation in effect, and who enforces compute and memory. One word
    /// stands for both where it is the same.
    pub fn isolation_text(&self) -> String {
        if self.cut_off {
            return "mps lost".to_owned();
        }
        let masked = self.devices.iter().filter(|device| device.cu_mask.is_some()).count();
        let (compute, memory) =
            (self.isolation.compute_enforcement, self.isolation.memory_enforcement);
        let isolation = match self.isolation.effective {
            // Some of the devices are shared by masks, the others are not.
            _ if masked > 0 && masked < self.devices.len() => "mixed",
            // Nothing divides the device, and the lease has all of it.
            Isolation::None if compute.holds() => "whole",
            effective => effective.as_str(),
        };
        match compute == memory {
            true => format!("{isolation} {compute}"),
            false => format!("{isolation} {compute}/{memory}"),
        }
    }
}

impl<'a> CorruptRecord<'a> {
    fn of(record: &'a Corrupt, holder: &Holder) -> Self {
        Self {
            container_id: &record.key.container_id,
            runtime_root: &record.key.runtime_root,
            path: record.path.display().to_string(),
            why: &record.why,
            holder: match holder {
                Holder::Dead => "dead",
                Holder::Unjudged(_) => "unknown",
                Holder::Alive | Holder::AliveAs(_) => "alive",
            },
            unjudged: holder.unjudged().map(Unjudged::to_string),
        }
    }
}
