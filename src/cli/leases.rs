//! `gpulease leases`: the leases, and the state of each.

use super::output::{Answer, Output, Paint};
use super::table::Table;
use super::words;
use crate::claim::look::judged;
use crate::claim::sweep::describe;
use crate::failure::Failure;
use crate::host::Host;
use crate::model::id::short_id;
use crate::model::lease::shares_text;
use crate::model::text::shown;
use crate::view::leases::{Leases, ListedLease};
use std::time::SystemTime;

/// `leases`. A lease whose holder is dead is shown as such. Nothing is changed.
pub(super) fn leases(
    host: &Host,
    all: bool,
    wide: bool,
    output: &Output,
) -> Result<Answer, Failure> {
    let records = judged(host)?;
    let listed = Leases::of(&records, all, &host.paths);
    let leases = &listed.leases;
    let mut text =
        if leases.is_empty() { "no leases\n".to_owned() } else { in_table(leases, wide, output) };
    if leases.iter().any(|listed| listed.lease.devices.iter().any(|device| device.simulated)) {
        text.push_str(&words::simulated(output));
    }
    for listed in leases.iter().filter(|listed| listed.cut_off) {
        text.push_str(&words::cut_off(listed.lease, output));
    }
    for listed in leases {
        let Some(why) = &listed.unjudged else { continue };
        let why = format!("{} {why}", describe(listed.lease));
        text.push_str(&words::remark(Paint::Yellow, "unjudged:", &why, output));
    }
    for record in &listed.corrupt {
        let text_of = format!(
            "the lease record of container {} cannot be read: {}\n  {}",
            shown(record.container_id.as_str()),
            shown(record.why),
            record.path,
        );
        text.push_str(&words::remark(Paint::Red, "warning:", &text_of, output));
    }
    Ok(Answer::of(text, &listed))
}

fn in_table(leases: &[ListedLease<'_>], wide: bool, output: &Output) -> String {
    let now = SystemTime::now();
    let container = |listed: &ListedLease<'_>| {
        let id = listed.lease.container_id.as_str();
        shown(if wide { id } else { short_id(id) })
    };
    Table::of(leases)
        .left("LEASE", 0, |listed| listed.lease.id.to_string())
        .left("CONTAINER", 0, container)
        .left("ENGINE", 3, |listed| shown(&listed.lease.engine))
        .left("STATE", 0, |listed| listed.standing.as_str().to_owned())
        .left("DEVICES", 0, |listed| shares_text(&listed.lease.devices))
        .right("MEMORY", 0, |listed| words::memory_if_known(listed.memory()))
        .left("ISOLATION", 1, ListedLease::isolation_text)
        .right("AGE", 2, |listed| words::age(&listed.lease.created_at, now))
        .right("PID", 4, |listed| words::or_dash(listed.pid()))
        .render(wide, output)
}
