//! The findings in words.

use super::super::output::{Answer, Output, Paint};
use super::super::{words, wrap};
use super::finding::{Findings, Level, plain};
use crate::host::Host;
use crate::model::text::shown;
use crate::view::findings::{Finding, Health, HealthReport};

/// The worst findings come last, just above the prompt.
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
    let status = u8::from(found.count(Level::Fault) > 0);
    Answer { status, ..Answer::of(text, found) }
}

pub(super) fn health(found: &Findings, host: &Host, output: &Output) -> Answer {
    let report = HealthReport::of(found);
    let (paint, status) = match report.health {
        Health::Healthy => (None, 0),
        Health::Unhealthy => (Some(Paint::Red), 1),
        // Every command exits with 2 where its arguments are wrong.
        Health::Unknown => (Some(Paint::Yellow), 3),
    };
    let run_dir = || shown(&plain(&host.paths.run));
    let text = match paint {
        None if host.paths.run.exists() => format!("healthy: {}\n", run_dir()),
        None => format!("healthy: {} does not exist yet\n", run_dir()),
        Some(paint) => {
            let text = format!("{}; see `gpulease doctor`", report.reasons());
            output.line(paint, &format!("{}:", report.health.as_str()), &text)
        }
    };
    Answer { status, ..Answer::of(text, &report) }
}

/// The level stands at the right end of the first column, and the message in the second.
fn in_words(finding: &Finding, output: &Output) -> String {
    let word = format!("{}:", finding.level.as_str());
    let title = format!("{word:>8} ");
    let text = wrap::wrapped(&title, &format!("{} [{}]", finding.message, finding.code));
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
        text.push_str(&wrap::wrapped("    fix: ", fix));
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
        .filter(|(count, level)| *count > 0 || *level == "fault")
        .map(|(count, level)| words::count(*count, level))
        .collect();
    let fine = found.count(Level::Ok);
    let hidden = if verbose { "" } else { " (-v shows them)" };
    format!("{}; {} passed{hidden}\n", worse.join(", "), words::count(fine, "check"))
}
