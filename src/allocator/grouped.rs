//! Puts the devices of a refusal into words. Devices with the same reason share one text.

use super::refusal::Verdict;
use crate::model::mig::{self, DeviceNumber};
use crate::model::text::cut;

/// A reason is never cut to less than this. If there is no room for it, devices are left out
/// instead.
const REASON_MIN: usize = 120;

/// The groups of devices, each after a `; `, in at most `room` bytes.
pub fn grouped_text(verdicts: &[Verdict], room: usize) -> String {
    let groups = groups(verdicts);
    let all: String = groups.iter().map(|group| format!("; {}", group.text())).collect();
    if all.len() <= room {
        return all;
    }
    let share = (room / groups.len().max(1)).max(REASON_MIN);
    let mut out = String::new();
    let mut left = verdicts.len();
    for group in &groups {
        let text = format!("; {}", cut(&group.text(), share.saturating_sub(2)));
        let rest = left.saturating_sub(group.members.len());
        // The text ends with the number of devices that it leaves out.
        let tail = if rest == 0 { 0 } else { more(rest).len() };
        if out.len() + text.len() + tail > room {
            out.push_str(&more(left));
            return out;
        }
        out.push_str(&text);
        left = rest;
    }
    out
}

fn more(count: usize) -> String {
    format!("; and {count} more GPUs")
}

/// Devices with the same reason.
struct Group<'a> {
    reason: &'a str,
    members: Vec<&'a Verdict>,
}

fn groups(verdicts: &[Verdict]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for verdict in verdicts {
        match groups.iter_mut().find(|group| group.reason == verdict.reason) {
            Some(group) => group.members.push(verdict),
            None => groups.push(Group { reason: &verdict.reason, members: vec![verdict] }),
        }
    }
    groups
}

impl Group<'_> {
    /// `GPU 0-3, 6 (NVIDIA H100 80GB HBM3): cordoned`. The model is given only if all of them share
    /// it. A group may have GPUs and MIG instances: `GPU 0-1, MIG 2:0-3`.
    fn text(&self) -> String {
        let places: Vec<DeviceNumber> = self.members.iter().map(|member| member.place()).collect();
        let mut models = self.members.iter().map(|member| member.model.as_str());
        let first = models.next().unwrap_or("");
        let model = if !first.is_empty() && models.all(|model| model == first) {
            format!(" ({first})")
        } else {
            String::new()
        };
        format!("{}{model}: {}", mig::named_ranges(&places), self.reason)
    }
}
