//! The findings in words and in JSON.

use super::super::output::{Answer, Output, Paint};
use super::super::words;
use super::finding::{Finding, Findings, Level, UNCHECKED, plain};
use super::subject::Subject;
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

pub(super) fn health(found: &Findings, subject: &Subject, output: &Output) -> Answer {
    let faults: Vec<String> = found
        .list
        .iter()
        // What could not be looked at cannot be called healthy.
        .filter(|finding| finding.level == Level::Fault || finding.code == UNCHECKED)
        .map(|finding| format!("{}: {}", finding.code, finding.message))
        .collect();
    let text = if faults.is_empty() {
        format!("healthy: {}\n", shown(&plain(&subject.config.run_dir)))
    } else {
        let what = format!("{}; see `gpulease doctor`", faults.join("; "));
        output.line(Paint::Red, "unhealthy:", &what)
    };
    let json = json!({ "healthy": faults.is_empty(), "checks": checks(found) });
    Answer { status: u8::from(!faults.is_empty()), ..Answer::new(text, json) }
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
