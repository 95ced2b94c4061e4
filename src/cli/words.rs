//! Texts that several commands share.

use super::output::{Output, Paint};
use crate::claim::sweep::describe;
use crate::config::Config;
use crate::inventory::missing::{find_devices, no_devices};
use crate::model::device::{Device, Node};
use crate::model::id::DeviceId;
use crate::model::lease::Lease;
use crate::model::quantity::Bytes;
use crate::model::text::{shown, shown_line};
use std::time::{Duration, SystemTime};

/// `3m12s`, `5d2h`: the two largest units of a time span.
pub(super) fn span(span: Duration) -> String {
    const UNITS: &[(u64, &str)] = &[(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = span.as_secs();
    let Some(first) = UNITS.iter().position(|(unit, _)| seconds >= *unit) else {
        return "0s".to_owned();
    };
    let mut rest = seconds;
    let mut text = String::new();
    for (unit, letter) in UNITS.iter().skip(first).take(2) {
        let count = rest / unit;
        rest %= unit;
        if count > 0 || text.is_empty() {
            text.push_str(&format!("{count}{letter}"));
        }
    }
    text
}

/// The time since an RFC 3339 time; `?` if the text is none.
pub(super) fn age(rfc3339: &str, now: SystemTime) -> String {
    match humantime::parse_rfc3339(rfc3339) {
        // The time is in the future if the clock was set back.
        Ok(time) => span(now.duration_since(time).unwrap_or_default()),
        Err(_) => "?".to_owned(),
    }
}

/// A paragraph of its own below the answer.
pub(super) fn remark(paint: Paint, word: &str, text: &str, output: &Output) -> String {
    format!("\n{} {text}\n", output.paint(paint, word))
}

/// A line for each note on what could not be found out.
pub(super) fn notes(notes: &[String], output: &Output) -> String {
    notes.iter().map(|note| output.line(Paint::Cyan, "note:", &shown_line(note))).collect()
}

/// The warning that no MPS daemon serves the container of a lease.
pub(super) fn cut_off(lease: &Lease, output: &Output) -> String {
    let text = format!(
        "{} was attached to an MPS daemon that is gone: it cannot start to compute; start it anew",
        describe(lease)
    );
    remark(Paint::Red, "warning:", &text, output)
}

/// An amount of memory, or `?` where it is not known.
pub(super) fn memory_if_known(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(|| "?".to_owned(), Bytes::short)
}

/// The model. A MIG instance has its profile, indented below its GPU.
pub(super) fn model(device: &Device) -> String {
    match device.instance() {
        None => shown(&device.model),
        Some(instance) => format!("  MIG {}", instance.profile),
    }
}

/// An amount of memory, or `-` where it is not known.
pub(super) fn memory_or_dash(bytes: Option<Bytes>) -> String {
    or_dash(bytes.map(Bytes::short))
}

/// Whether the device exists, its driver answers, and its source calls it healthy.
pub(super) fn state(device: &Device) -> String {
    let because = |word: &str, why: &Option<String>| match why {
        Some(why) => format!("{word}: {}", short(why)),
        None => word.to_owned(),
    };
    let details = &device.details;
    let fault = match (&details.ambiguous, &details.fault, device.healthy) {
        (Some(_), _, _) => Some(because("ambiguous", &details.ambiguous)),
        (None, Some(_), _) => Some(because("unqueryable", &details.fault)),
        (None, None, Some(false)) => Some(because("unhealthy", &details.health_reason)),
        (None, None, _) => None,
    };
    match (fault, device.simulated, device.healthy) {
        (Some(fault), true, _) => format!("simulated, {fault}"),
        (Some(fault), false, _) => fault,
        (None, true, _) => "simulated".to_owned(),
        (None, false, Some(_)) => "healthy".to_owned(),
        (None, false, None) => "unknown".to_owned(),
    }
}

/// The beginning of a reason. The whole reason is in the JSON.
pub(super) fn short(reason: &str) -> String {
    const SHORT: usize = 40;
    let reason = shown(reason);
    if reason.chars().count() <= SHORT {
        return reason;
    }
    let cut: String = reason.chars().take(SHORT - 1).collect();
    format!("{}…", cut.trim_end())
}

/// `1 device`, `2 devices`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A value, or `-` if there is none.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A device's UUID, or the shortest beginning that no other device of the node has. The selectors
/// of a request accept it.
pub(super) fn uuid<'a>(uuid: &'a DeviceId, node: &Node, whole: bool) -> &'a str {
    const SHORTEST: usize = "GPU-5f1c".len();
    let text = uuid.as_str();
    let is_unique = |part: &&str| {
        let begins = |device: &&Device| {
            let start = device.uuid.as_str().get(..part.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(part))
        };
        node.devices.iter().filter(begins).count() == 1
    };
    let shorter = (SHORTEST..text.len()).filter_map(|length| text.get(..length));
    shorter.filter(|_| !whole).find(is_unique).unwrap_or(text)
}

/// The text in the place of an empty table of devices.
pub(super) fn nothing(config: &Config, output: &Output) -> String {
    format!("{}\n{}", no_devices(config), output.line(Paint::Cyan, "hint:", find_devices(config)))
}

/// The line under every table with simulated devices; empty where there are none.
pub(super) fn simulated_footer<'a>(
    devices: impl IntoIterator<Item = &'a Device>,
    output: &Output,
) -> String {
    match devices.into_iter().any(|device| device.simulated) {
        true => simulated(output),
        false => String::new(),
    }
}

pub(super) fn simulated(output: &Output) -> String {
    remark(Paint::Yellow, "simulated:", "these devices do not exist", output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        let of = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(of(0), "0s");
        assert_eq!(of(59), "59s");
        assert_eq!(of(192), "3m12s");
        assert_eq!(of(3600), "1h");
        assert_eq!(of(90_061), "1d1h");
    }
}
