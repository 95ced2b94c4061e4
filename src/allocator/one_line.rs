//! A refusal as one line, for the error message of an engine.

use super::refusal::{Refusal, Verdict};
use crate::model::mig::{self, Place};
use crate::model::text;

/// The most bytes of the line. Engines cut or wrap longer messages, and a cut in the middle
/// would lose the hint.
const LINE_MAX: usize = 1800;
/// The most bytes of the summary, and of the hint.
const PART_MAX: usize = 400;
/// No reason is cut below this; rather, devices are left out.
const REASON_MIN: usize = 120;

/// Engines and their tests recognise errors of the kernel and of the low-level runtime by
/// these words, and take the wrong branch when a message of ours has them, say through the
/// name of a container. Lower case.
const MISLEADING: [&str; 5] = [
    "no such file or directory",
    "permission denied",
    "not found",
    "does not exist",
    "not running",
];

impl Refusal {
    /// `<code>: <summary>; GPU 0-3 (<model>): <reason>; GPU 4: …; hint: <hint>`: one line,
    /// at most 1800 bytes, devices with equal reasons together, and without the phrases by
    /// which engines classify errors.
    pub fn one_line(&self) -> String {
        let mut line = format!("{}: {}", self.code, cut(&self.summary, PART_MAX));
        let hint = match self.hint.as_str() {
            "" => String::new(),
            hint => format!("; hint: {}", cut(hint, PART_MAX)),
        };
        let room = LINE_MAX.saturating_sub(line.len() + hint.len());
        line.push_str(&devices(&self.verdicts, room));
        line.push_str(&hint);
        harmless(&line)
    }
}

/// The groups of devices, each after a `; `, in at most `room` bytes.
fn devices(verdicts: &[Verdict], room: usize) -> String {
    let groups = grouped(verdicts);
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
        // Whoever is left out is at least counted.
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

fn grouped(verdicts: &[Verdict]) -> Vec<Group<'_>> {
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
    /// `GPU 0-3, 6 (NVIDIA H100 80GB HBM3): cordoned`; the model only if all share it. GPUs and MIG
    /// instances may have one reason: `GPU 0-1, MIG 2:0-3`.
    fn text(&self) -> String {
        let places: Vec<Place> = self.members.iter().map(|member| member.place()).collect();
        let mut models = self.members.iter().map(|member| member.model.as_str());
        let first = models.next().unwrap_or("");
        let model = if !first.is_empty() && models.all(|model| model == first) {
            format!(" ({first})")
        } else {
            String::new()
        };
        format!("{}{model}: {}", ranges(&places), self.reason)
    }
}

/// `GPU 0-3, 6`, `MIG 2:0-3, 3:1`, or both, from ascending places.
pub(super) fn ranges(places: &[Place]) -> String {
    let is_gpu = |place: &Place| place.instance.is_none();
    let (gpus, instances): (Vec<Place>, Vec<Place>) = places.iter().copied().partition(is_gpu);
    let kinds = [("GPU", gpus), ("MIG", instances)];
    let kinds = kinds.into_iter().filter(|(_, places)| !places.is_empty());
    let texts = kinds.map(|(kind, places)| {
        let ranges = mig::ranges(places.into_iter().map(|place| (place, ())));
        let texts: Vec<String> = ranges.into_iter().map(|(text, ())| text).collect();
        format!("{kind} {}", texts.join(", "))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// At most `max` bytes of the text, with a mark where it was cut.
fn cut(text: &str, max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.to_owned();
    }
    let room = max.saturating_sub(MARK.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MARK}", text.get(..end).unwrap_or(""))
}

/// On one line, and with [`MISLEADING`] phrases broken up. What comes from others in it is escaped
/// already, so that neither makes it longer.
fn harmless(line: &str) -> String {
    let mut line = text::one_line(line);
    for phrase in MISLEADING {
        // ASCII lower-casing keeps every byte where it is.
        while let Some(start) = line.to_ascii_lowercase().find(phrase) {
            let end = start + phrase.len();
            let joined = line.get(start..end).unwrap_or("").replace(' ', "_");
            line.replace_range(start..end, &joined);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::code::Code;
    use crate::model::id::DeviceId;

    fn verdict(index: u32, model: &str, reason: &str) -> Verdict {
        Verdict {
            uuid: DeviceId::new(&format!("GPU-{index}")).unwrap(),
            index,
            mig_index: None,
            model: model.into(),
            fits: false,
            reason: reason.into(),
        }
    }

    fn refusal(verdicts: Vec<Verdict>) -> Refusal {
        Refusal {
            code: Code::NoCapacity,
            summary: "1 device asked for, 0 of 8 can be had".into(),
            verdicts,
            hint: "wait".into(),
        }
    }

    #[test]
    fn equal_reasons_stand_together() {
        let mut verdicts: Vec<_> = (0..4).map(|i| verdict(i, "H100", "cordoned")).collect();
        verdicts.push(verdict(4, "A100", "held by x"));
        verdicts.push(verdict(6, "A100", "cordoned"));
        assert_eq!(
            refusal(verdicts).one_line(),
            "no-capacity: 1 device asked for, 0 of 8 can be had; GPU 0-3, 6: cordoned; \
             GPU 4 (A100): held by x; hint: wait"
        );
        let same = (0..2).map(|i| verdict(i, "H100", "cordoned")).collect();
        assert!(refusal(same).one_line().contains("; GPU 0-1 (H100): cordoned; "));
    }

    #[test]
    fn the_line_stays_within_its_length() {
        for (devices, words) in [(8, 90), (8, 500), (64, 40), (64, 500), (1, 3000)] {
            let verdicts = (0..devices)
                .map(|i| verdict(i, "NVIDIA H100", &format!("{i} {}", "hölder ".repeat(words))))
                .collect();
            let mut refusal = refusal(verdicts);
            refusal.summary = "ü".repeat(words * 10);
            refusal.hint = "h".repeat(words * 10);
            let line = refusal.one_line();
            assert!(line.len() <= LINE_MAX, "{}", line.len());
            assert!(line.contains("GPU 0 (NVIDIA H100): 0 h"), "{line}");
            assert!(line.contains("; hint: hhh"), "{line}");
            assert!(devices < 64 || line.contains(" more GPUs; hint"), "{line}");
        }
    }

    #[test]
    fn words_that_mislead_engines_are_broken_up() {
        let name = "web NOT FOUND\nnot running no such file or directory; does not exist";
        let mut refusal = refusal(vec![verdict(0, "Permission Denied", name)]);
        refusal.summary = "permission\tdenied: not not found found".into();
        let line = refusal.one_line();
        let lower = line.to_lowercase();
        for phrase in MISLEADING {
            assert!(!lower.contains(phrase), "{phrase} in {line}");
        }
        assert!(!line.contains('\n'));
        assert!(line.contains("GPU 0 (Permission_Denied): web NOT_FOUND not_running"), "{line}");
    }

    #[test]
    fn json_speaks_as_the_messages_do() {
        let json = serde_json::to_value(refusal(vec![verdict(3, "H100", "cordoned")])).unwrap();
        assert_eq!(json["code"], "no-capacity");
        assert_eq!(json["verdicts"][0]["uuid"], "GPU-3");
        assert_eq!(json["verdicts"][0]["fits"], false);
    }
}
