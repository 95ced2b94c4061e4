//! The faults of the node, and how to set them right.

use crate::model::spelled::spelled;
use crate::model::text::one_line;
use serde::Serialize;
use std::fmt::Display;
use std::path::Path;

/// The code for something that could not be looked at.
pub const UNCHECKED: &str = "unchecked";

spelled! {
    /// How bad a finding is.
    pub enum Level {
        /// As it should be.
        Ok = "ok",
        /// Worth knowing; nothing is wrong.
        Note = "note",
        /// It works now, and will surprise its users later.
        Warning = "warning",
        /// Containers with a request are refused, or get more than they should.
        Fault = "fault",
    }
}

/// One check and its outcome.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub level: Level,
    /// One line, in lower case, without a full stop.
    pub message: String,
    /// A way to set it right, if there is one.
    pub fix: Option<String>,
}

/// All findings, in the order of the checks.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    #[serde(rename = "checks")]
    pub list: Vec<Finding>,
}

impl Findings {
    pub fn ok(&mut self, code: &'static str, message: impl Into<String>) {
        let message = one_line(&message.into());
        self.list.push(Finding { code, level: Level::Ok, message, fix: None });
    }

    pub fn note(&mut self, code: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Note, code, message.into(), fix.into());
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Warning, code, message.into(), fix.into());
    }

    pub fn fault(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Level::Fault, code, message.into(), fix.into());
    }

    /// For a file that could not be looked at: neither good nor bad.
    pub fn unchecked(&mut self, path: &Path, why: &dyn Display) {
        let text = format!("`{}` was not checked: {why}", path.display());
        self.note(UNCHECKED, text, "run `gpulease doctor` as root, and see that it can be read");
    }

    pub fn add(&mut self, level: Level, code: &'static str, message: String, fix: String) {
        let (message, fix) = (one_line(&message), Some(one_line(&fix)));
        self.list.push(Finding { code, level, message, fix });
    }

    pub fn count(&self, level: Level) -> usize {
        self.list.iter().filter(|finding| finding.level == level).count()
    }

    /// Whether the findings behind the first `since` are notes at worst.
    pub fn is_clean_since(&self, since: usize) -> bool {
        self.list.iter().skip(since).all(|finding| finding.level <= Level::Note)
    }
}

spelled! {
    /// The health of a node.
    pub enum Health {
        Healthy = "healthy",
        Unhealthy = "unhealthy",
        /// No fault was found, but something could not be looked at.
        Unknown = "unknown",
    }
}

/// The findings in one word.
#[derive(Debug, Serialize)]
pub struct HealthReport<'a> {
    pub health: Health,
    /// Null where that is unknown.
    healthy: Option<bool>,
    #[serde(flatten)]
    findings: &'a Findings,
}

impl<'a> HealthReport<'a> {
    pub fn of(findings: &'a Findings) -> Self {
        let health = if findings.count(Level::Fault) > 0 {
            Health::Unhealthy
        } else if findings.list.iter().any(|finding| finding.code == UNCHECKED) {
            Health::Unknown
        } else {
            Health::Healthy
        };
        let healthy = (health != Health::Unknown).then_some(health == Health::Healthy);
        Self { health, healthy, findings }
    }

    /// The findings that keep the node from being healthy, in one line.
    pub fn reasons(&self) -> String {
        let is_reason = |finding: &&Finding| match self.health {
            Health::Unknown => finding.code == UNCHECKED,
            Health::Healthy | Health::Unhealthy => finding.level == Level::Fault,
        };
        let reasons = self.findings.list.iter().filter(is_reason);
        let texts = reasons.map(|finding| format!("{}: {}", finding.code, finding.message));
        texts.collect::<Vec<_>>().join("; ")
    }
}
