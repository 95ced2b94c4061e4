//! The findings in words and in JSON.

use super::super::output::{Answer, Output, Paint};
use super::super::words;
use super::finding::{Finding, Findings, Level, UNCHECKED, plain};
use crate::host::Host;
use crate::model::spelled::spelled;
use crate::model::text::shown;
use serde_json::{Value, json};

/// The worst comes last, just above the prompt, where it is seen.
const ORDER: [Level; 4] = [Level::Ok, Level::Note, Level::Warning, Level::Fault];

pub(super) fn doctor(found: &Findings, verbose: bool, output: &Output) -> Answer {
    let mut text = String::new();
    for level in ORDER.into_iter().filter(|level| verbose || *level != Level::Ok) {
        for finding in found.list.iter().filter(|finding| finding.level == level) {
            if level != Level::Ok && !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&in_words(finding, output));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(found, verbose));
    let json = json!({ "checks": checks(found) });
    Answer { status: status(found), ..Answer::new(text, json) }
}

spelled! {
    /// What is said of a node's health.
    enum Health {
        Healthy = "healthy",
        Unhealthy = "unhealthy",
        /// Nothing wrong was seen, and not all could be looked at.
        Unknown = "unknown",
    }
}

impl Health {
    fn of(found: &Findings) -> Self {
        let is_unseen = |finding: &Finding| finding.code == UNCHECKED;
        if found.count(Level::Fault) > 0 {
            Self::Unhealthy
        } else if found.list.iter().any(is_unseen) {
            Self::Unknown
        } else {
            Self::Healthy
        }
    }

    /// Never changes. 2 stands for wrong arguments, as with every command.
    const fn exit_status(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Unhealthy => 1,
            Self::Unknown => 3,
        }
    }
}

pub(super) fn health(found: &Findings, host: &Host, output: &Output) -> Answer {
    let health = Health::of(found);
    let counts = |finding: &&Finding| match health {
        Health::Unknown => finding.code == UNCHECKED,
        Health::Healthy | Health::Unhealthy => finding.level == Level::Fault,
    };
    let counted = found.list.iter().filter(counts);
    let reasons: Vec<String> =
        counted.map(|finding| format!("{}: {}", finding.code, finding.message)).collect();
    let text = match health {
        Health::Healthy => format!("healthy: {}\n", shown(&plain(&host.paths.run))),
        Health::Unhealthy | Health::Unknown => {
            let paint = if health == Health::Unknown { Paint::Yellow } else { Paint::Red };
            let what = format!("{}; see `gpulease doctor`", reasons.join("; "));
            output.line(paint, &format!("{}:", health.as_str()), &what)
        }
    };
    let healthy = (health != Health::Unknown).then_some(health == Health::Healthy);
    let json = json!({
        "health": health.as_str(),
        "healthy": healthy,
        "checks": checks(found),
    });
    Answer { status: health.exit_status(), ..Answer::new(text, json) }
}

fn status(found: &Findings) -> u8 {
    u8::from(found.count(Level::Fault) > 0)
}

fn checks(found: &Findings) -> Vec<Value> {
    let checks = found.list.iter().map(|finding| {
        json!({
            "code": finding.code,
            "level": finding.level.as_str(),
            "message": finding.message,
            "fix": finding.fix,
        })
    });
    checks.collect()
}

/// The level's word stands on the right of a column, what is said in one beside it.
fn in_words(finding: &Finding, output: &Output) -> String {
    let word = format!("{}:", finding.level.as_str());
    let title = format!("{word:>8} ");
    let text = words::wrapped(&title, &format!("{} [{}]", finding.message, finding.code));
    let paint = match finding.level {
        Level::Fault => Some(Paint::Red),
        Level::Warning => Some(Paint::Yellow),
        Level::Note => Some(Paint::Cyan),
        Level::Ok => None,
    };
    let mut text = match paint {
        Some(paint) => text.replacen(&word, &output.paint(paint, &word), 1),
        None => text,
    };
    if let Some(fix) = &finding.fix {
        text.push_str(&words::wrapped("    fix: ", fix));
    }
    text
}

fn summary(found: &Findings, verbose: bool) -> String {
    let faults = found.count(Level::Fault);
    let counts = [
        (faults, "fault"),
        (found.count(Level::Warning), "warning"),
        (found.count(Level::Note), "note"),
    ];
    let worse: Vec<String> = counts
        .iter()
        .filter(|(count, what)| *count > 0 || *what == "fault")
        .map(|(count, what)| words::count(*count, what))
        .collect();
    let fine = found.count(Level::Ok);
    let hidden = if verbose { "" } else { " (-v shows them)" };
    format!("{}; {} passed{hidden}\n", worse.join(", "), words::count(fine, "check"))
}
