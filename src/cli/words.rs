//! Small things that several commands say the same way.

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

/// The time since an RFC 3339 time; `?` where it is none.
pub(super) fn age(rfc3339: &str, now: SystemTime) -> String {
    match humantime::parse_rfc3339(rfc3339) {
        // A clock that was set back makes it lie in the future.
        Ok(time) => span(now.duration_since(time).unwrap_or_default()),
        Err(_) => "?".to_owned(),
    }
}

/// A paragraph of its own below what was asked for.
pub(super) fn remark(paint: Paint, word: &str, text: &str, output: &Output) -> String {
    format!("\n{} {text}\n", output.paint(paint, word))
}

/// What could not be found out: a line for each note.
pub(super) fn notes(notes: &[String], output: &Output) -> String {
    notes.iter().map(|note| output.line(Paint::Cyan, "note:", &shown_line(note))).collect()
}

/// That nothing serves a lease's container any more.
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

/// The model; of a MIG instance the profile, under its GPU in a list.
pub(super) fn model(device: &Device) -> String {
    match device.instance() {
        None => shown(&device.model),
        Some(instance) => format!("  MIG {}", instance.profile),
    }
}

/// An amount that a list of amounts leaves blank where it is not known.
pub(super) fn memory_or_dash(bytes: Option<Bytes>) -> String {
    or_dash(bytes.map(Bytes::short))
}

/// Whether the device exists and answers, and what its source says of its health.
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

/// The beginning of a reason: all of it is in the JSON.
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

/// `title` and `text` in lines of at most 80 columns, broken between words; further lines are
/// indented by the title's width.
pub(super) fn wrapped(title: &str, text: &str) -> String {
    const WIDTH: usize = 80;
    let indent = title.chars().count();
    let mut out = String::new();
    let mut line = title.to_owned();
    for word in text.split_whitespace() {
        let is_begun = line.chars().count() > indent;
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{}{word}", " ".repeat(indent));
        } else {
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// `title` and `text`: [`wrapped`] for a terminal, and else one line, for whatever reads lines.
pub(super) fn line(is_terminal: bool, title: &str, text: &str) -> String {
    if is_terminal { wrapped(title, text) } else { format!("{title}{text}\n") }
}

/// A value, where there is one.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A device's UUID, or as much of it as names this device and no other of the node, as the
/// selectors of a request take it.
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

/// The text in the place of a table of devices.
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

    #[test]
    fn long_text_is_broken_under_its_title() {
        let text = wrapped("a: ", &"word ".repeat(20));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().starts_with("   word"));
    }
}
