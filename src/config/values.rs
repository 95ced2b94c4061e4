//! The file's values, each checked as it is read, so that an error has the value's position.

use super::{ComputeMode, Driver, MpsConfig, MpsDaemon, Source};
use crate::injection::HOOK_NAME;
use crate::request::Strategy;
use crate::request::policy::{Busy, Injected, Privileged};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// The longest duration that makes sense here. A bound keeps milliseconds far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The variables that `accept_env` may admit.
const ADMISSIBLE_ENV: &[&str] = &["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "GPULEASE_*"];

/// The file as it is written; what is absent keeps its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub runtime: Option<AbsolutePath>,
    pub run_dir: Option<AbsolutePath>,
    pub devices_file: Option<AbsolutePath>,
    pub sources: Option<Vec<Source>>,
    pub driver: Option<Spanned<Driver>>,
    pub driver_root: Option<AbsolutePath>,
    pub probe_timeout: Option<Timeout>,
    pub hook: Option<HookPath>,
    #[serde(default)]
    pub policy: RawPolicy,
    #[serde(default)]
    pub mps: RawMps,
}

/// The `[policy]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub strategy: Option<Strategy>,
    pub accept_env: Option<Vec<EnvName>>,
    pub injected: Option<Injected>,
    pub busy: Option<Busy>,
    pub privileged: Option<Privileged>,
    pub release_grace: Option<HumanDuration>,
    pub max_wait: Option<HumanDuration>,
}

/// The `[mps]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMps {
    pub control: Option<AbsolutePath>,
    pub daemon: Option<MpsDaemon>,
    pub compute_mode: Option<ComputeMode>,
    pub start_timeout: Option<Timeout>,
    pub stop_grace: Option<HumanDuration>,
}

impl RawMps {
    /// The values that are given, and of the others those of `earlier`.
    pub(super) fn over(self, earlier: MpsConfig) -> MpsConfig {
        MpsConfig {
            control: self.control.map(|path| path.0).or(earlier.control),
            daemon: self.daemon.unwrap_or(earlier.daemon),
            compute_mode: self.compute_mode.unwrap_or(earlier.compute_mode),
            start_timeout: self.start_timeout.map_or(earlier.start_timeout, |d| d.0),
            stop_grace: self.stop_grace.map_or(earlier.stop_grace, |d| d.0),
        }
    }
}

/// A path that means the same whatever the caller's working directory is.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AbsolutePath(pub PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match fault_of_path(&text) {
            None => Ok(Self(text.into())),
            Some(fault) => {
                Err(format!("the path `{text}` {fault}; allowed are absolute paths without `..`"))
            }
        }
    }
}

/// A path to the hook program. In a spec our hooks are known by their file name.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HookPath(pub PathBuf);

impl TryFrom<String> for HookPath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let AbsolutePath(path) = AbsolutePath::try_from(text)?;
        if path.file_name().is_some_and(|name| name == HOOK_NAME) {
            return Ok(Self(path));
        }
        Err(format!(
            "the path `{}` does not end in `{HOOK_NAME}`, the name by which our hooks are known",
            path.display()
        ))
    }
}

/// What keeps a text from being an absolute path without `..` and control characters.
pub(super) fn fault_of_path(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty")
    } else if text.chars().any(char::is_control) {
        Some("has a control character")
    } else if !Path::new(text).is_absolute() {
        Some("is not absolute")
    } else if text.split('/').any(|part| part == "..") {
        Some("has `..`")
    } else {
        None
    }
}

/// A name in `accept_env`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct EnvName(pub String);

impl TryFrom<String> for EnvName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if ADMISSIBLE_ENV.contains(&text.as_str()) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` cannot be admitted; allowed are `{}`", ADMISSIBLE_ENV.join("`, `")))
    }
}

/// A duration that something is waited for: neither none nor so long that it never ends.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Timeout(pub Duration);

impl TryFrom<String> for Timeout {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        const ALLOWED: RangeInclusive<Duration> =
            Duration::from_millis(100)..=Duration::from_secs(60);
        let HumanDuration(duration) = HumanDuration::try_from(text.clone())?;
        if ALLOWED.contains(&duration) {
            return Ok(Self(duration));
        }
        Err(format!("`{text}` is out of range; allowed are `100ms` to `60s`"))
    }
}

/// A duration such as `10s` or `1m 30s`; a bare `0` needs no unit.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HumanDuration(pub Duration);

impl TryFrom<String> for HumanDuration {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let allowed = "allowed are durations like `10s`, `500ms` or `1m 30s`, at most `7days`";
        let duration = match text.trim() {
            "0" => Duration::ZERO,
            other => humantime::parse_duration(other)
                .map_err(|error| format!("`{text}` is not a duration ({error}); {allowed}"))?,
        };
        if duration > DURATION_MAX {
            return Err(format!("`{text}` is too long; {allowed}"));
        }
        Ok(Self(duration))
    }
}
