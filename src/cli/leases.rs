//! `gpulease leases`: who holds what.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::claim::liveness::{Holder, Judge, LeaseStanding, Unjudged};
use crate::claim::look::entries;
use crate::claim::sweep::describe;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::id::short_id;
use crate::model::isolation::Isolation;
use crate::model::lease::{Lease, LeaseState, LeasedDevice};
use crate::model::mig::ranges;
use crate::model::quantity::{Bytes, MilliGpu};
use crate::model::text::shown;
use crate::mps::leases::is_cut_off;
use crate::store::{Corrupt, Entry};
use serde_json::{Value, json};
use std::time::SystemTime;

/// `leases`. Judges each holder and changes nothing, so a dead one is seen until
/// somebody needs its devices.
pub(super) fn leases(
    host: &Host,
    all: bool,
    wide: bool,
    output: &Output,
) -> Result<Answer, Failure> {
    let judge = Judge::look(&host.paths);
    let mut leases = Vec::new();
    let mut corrupt = Vec::new();
    let entries = entries(host)?;
    let witnesses = host.store().witnesses(&entries);
    for entry in entries {
        match entry {
            Entry::Lease(lease) if lease.state == LeaseState::Grace && !all => {}
            Entry::Lease(lease) => {
                let holder = judge.holder(&lease);
                let standing = LeaseStanding::of(&lease, &holder);
                let cut_off = !standing.is_free() && is_cut_off(&lease, &host.paths);
                let unjudged = holder.unjudged().cloned();
                leases.push(Seen { lease: *lease, standing, unjudged, cut_off });
            }
            Entry::Corrupt(record) => corrupt.push(record),
        }
    }
    // As they came: by time, then by id.
    leases.sort_by(|a, b| {
        (&a.lease.created_at, &a.lease.id).cmp(&(&b.lease.created_at, &b.lease.id))
    });
    let json = json!({
        "leases": leases.iter().map(Seen::json).collect::<Vec<_>>(),
        "corrupt": corrupt
            .iter()
            .map(|record| corrupt_json(record, &judge.holder_of_corrupt(record, &witnesses)))
            .collect::<Vec<_>>(),
    });
    let mut text =
        if leases.is_empty() { "no leases\n".to_owned() } else { in_table(&leases, wide, output) };
    if leases.iter().any(|seen| seen.lease.devices.iter().any(|device| device.simulated)) {
        text.push_str(&words::simulated(output));
    }
    for seen in leases.iter().filter(|seen| seen.cut_off) {
        text.push_str(&words::cut_off(&seen.lease, output));
    }
    for seen in &leases {
        let Some(why) = &seen.unjudged else { continue };
        let why = format!("{} {why}", describe(&seen.lease));
        text.push_str(&words::remark(Paint::Yellow, "unjudged:", &why, output));
    }
    for record in &corrupt {
        let what = format!(
            "the lease record of container {} cannot be read: {}\n  {}",
            shown(record.key.container_id.as_str()),
            shown(&record.why),
            record.path.display(),
        );
        text.push_str(&words::remark(Paint::Red, "warning:", &what, output));
    }
    Ok(Answer::new(text, json))
}

struct Seen {
    lease: Lease,
    standing: LeaseStanding,
    /// Why its holder cannot be judged, if so.
    unjudged: Option<Unjudged>,
    /// Its MPS daemon is gone.
    cut_off: bool,
}

impl Seen {
    /// Field by field: the nonce and the environment are nobody's business.
    fn json(&self) -> Value {
        let lease = &self.lease;
        json!({
            "id": lease.id,
            "state": lease.state,
            "holder": self.standing.holder(),
            "unjudged": self.unjudged.as_ref().map(Unjudged::to_string),
            "container_id": lease.container_id,
            "runtime_root": lease.runtime_root,
            "engine": lease.engine,
            "created_at": lease.created_at,
            "owner": lease.owner,
            "cgroup": lease.cgroup,
            "devices": lease.devices,
            "isolation": lease.isolation,
            "cut_off": self.cut_off,
            "priority": lease.priority,
            "workload": lease.workload,
        })
    }
}

fn corrupt_json(record: &Corrupt, holder: &Holder) -> Value {
    json!({
        "container_id": record.key.container_id,
        "runtime_root": record.key.runtime_root,
        "path": record.path.display().to_string(),
        "why": record.why,
        "holder": match holder {
            Holder::Dead => "dead",
            Holder::Unjudged(_) => "unknown",
            Holder::Alive | Holder::AliveAs(_) => "alive",
        },
        "unjudged": holder.unjudged().map(Unjudged::to_string),
    })
}

fn in_table(leases: &[Seen], wide: bool, output: &Output) -> String {
    let now = SystemTime::now();
    let container = |seen: &Seen| {
        let id = seen.lease.container_id.as_str();
        shown(if wide { id } else { short_id(id) })
    };
    let memory = |seen: &Seen| {
        let mut devices = seen.lease.devices.iter();
        let sum = devices.try_fold(Bytes(0), |sum, d| Some(sum.saturating_add(d.memory_bytes?)));
        words::memory_if_known(sum)
    };
    let pid = |lease: &Lease| (lease.state != LeaseState::Grace).then_some(lease.owner.pid);
    Table::of(leases)
        .left("LEASE", 0, |seen| seen.lease.id.to_string())
        .left("CONTAINER", 0, container)
        .left("ENGINE", 3, |seen| shown(&seen.lease.engine))
        .left("STATE", 0, |seen| seen.standing.as_str().to_owned())
        .left("DEVICES", 0, |seen| shares(&seen.lease.devices))
        .right("MEMORY", 0, memory)
        .left("ISOLATION", 1, |seen| match seen.cut_off {
            true => "mps lost".to_owned(),
            false => isolated(&seen.lease),
        })
        .right("AGE", 2, |seen| words::age(&seen.lease.created_at, now))
        .right("PID", 4, |seen| words::or_dash(pid(&seen.lease)))
        .render(wide, output)
}

/// `mps advisory/kernel`: what is in effect, and who enforces compute and memory; one word where
/// that is the same. Of a set with masks on some devices, `mixed`.
fn isolated(lease: &Lease) -> String {
    let isolation = &lease.isolation;
    let masked = lease.devices.iter().filter(|device| device.cu_mask.is_some()).count();
    let (compute, memory) = (isolation.compute_enforcement, isolation.memory_enforcement);
    let way = match isolation.effective {
        _ if masked > 0 && masked < lease.devices.len() => "mixed",
        // Nothing shares it out, and it is held all the same.
        Isolation::None if compute.holds() => "whole",
        effective => effective.as_str(),
    };
    match compute == memory {
        true => format!("{way} {compute}"),
        false => format!("{way} {compute}/{memory}"),
    }
}

/// `0-3,6` for whole GPUs, `5:250m` for shares, `2:0-3` for MIG instances, which have none.
pub(super) fn shares(devices: &[LeasedDevice]) -> String {
    let ranges = ranges(devices.iter().map(|device| (device.place(), device.milli)));
    let texts = ranges.into_iter().map(|(range, milli)| {
        if milli == MilliGpu::WHOLE { range } else { format!("{range}:{milli}") }
    });
    texts.collect::<Vec<_>>().join(",")
}
