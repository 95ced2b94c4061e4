//! The keys of the file. Each value is checked as it is read, so that an error has the value's
//! position.

use super::error::ConfigError;
use super::settings::{Config, Source};
use super::tree::{self, KeyTable, Value, Wrong};
use crate::injection::HOOK_NAME;
use crate::request::policy::ADMISSIBLE_ENV;
use crate::request::{duration_of, strategy_of};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest duration that is accepted. It keeps milliseconds far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The keys of the file. An absent key leaves its setting as it is.
const FILE: KeyTable = &[
    ("runtime", |config, value| value.checked(path).map(|path| config.runtime = Some(path))),
    ("run_dir", |config, value| value.checked(path).map(|path| config.run_dir = path)),
    ("devices_file", |config, value| value.checked(path).map(|path| config.devices_file = path)),
    ("sources", |config, value| sources(value).map(|sources| config.sources = sources)),
    ("driver", |config, value| value.word().map(|driver| config.driver = driver)),
    ("driver_root", |config, value| value.checked(path).map(|path| config.driver_root = path)),
    ("probe_timeout", |config, value| {
        value.checked(timeout).map(|timeout| config.probe_timeout = timeout)
    }),
    ("hook", |config, value| value.checked(hook).map(|path| config.hook = Some(path))),
    ("policy", |config, value| value.table(config, POLICY)),
    ("mps", |config, value| value.table(config, MPS)),
];

const POLICY: KeyTable = &[
    ("strategy", |config, value| {
        value.checked(strategy_of).map(|strategy| config.policy.strategy = strategy)
    }),
    ("accept_env", |config, value| {
        value.checked_list(env_name).map(|names| config.policy.accept_env = names)
    }),
    ("injected", |config, value| value.word().map(|word| config.policy.injected = word)),
    ("busy", |config, value| value.word().map(|word| config.policy.busy = word)),
    ("privileged", |config, value| value.word().map(|word| config.policy.privileged = word)),
    ("release_grace", |config, value| {
        value.checked(duration).map(|grace| config.policy.release_grace = grace)
    }),
    ("max_wait", |config, value| value.checked(duration).map(|wait| config.policy.max_wait = wait)),
];

const MPS: KeyTable = &[
    ("control", |config, value| value.checked(path).map(|path| config.mps.control = Some(path))),
    ("daemon", |config, value| value.word().map(|word| config.mps.daemon = word)),
    ("compute_mode", |config, value| value.word().map(|word| config.mps.compute_mode = word)),
    ("start_timeout", |config, value| {
        value.checked(timeout).map(|timeout| config.mps.start_timeout = timeout)
    }),
    ("stop_grace", |config, value| {
        value.checked(duration).map(|grace| config.mps.stop_grace = grace)
    }),
];

impl Config {
    /// Reads `text`. Absent keys keep their value in `self`. `path` is for messages. Fails with
    /// [`ConfigError::Invalid`] for an unknown key or a value that is not allowed.
    pub fn with_text(mut self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        tree::read(text, FILE, &mut self)
            .map_err(|problem| ConfigError::Invalid { path: path.into(), problem })?;
        Ok(self)
    }
}

fn sources(value: Value<'_>) -> Result<BTreeSet<Source>, Wrong> {
    let mut sources = BTreeSet::new();
    for value in value.list()? {
        sources.insert(value.word()?);
    }
    Ok(sources)
}

/// An absolute path, which does not depend on the caller's working directory.
fn path(text: &str) -> Result<PathBuf, String> {
    match fault_of_path(text) {
        None => Ok(text.into()),
        Some(fault) => {
            Err(format!("the path `{text}` {fault}; allowed are absolute paths without `..`"))
        }
    }
}

/// A path to the hook program. Our hooks in a spec are recognised by their file name.
fn hook(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    if path.file_name().is_some_and(|name| name == HOOK_NAME) {
        return Ok(path);
    }
    Err(format!(
        "the path `{}` does not end in `{HOOK_NAME}`, by which gpulease recognises its hooks",
        path.display()
    ))
}

/// Why a text is not an absolute path without `..` and control characters.
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

/// A variable's name in `accept_env`.
fn env_name(text: &str) -> Result<String, String> {
    if ADMISSIBLE_ENV.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` cannot be admitted; allowed are `{}`", ADMISSIBLE_ENV.join("`, `")))
}

/// A timeout, which may be neither zero nor so long that the wait never ends.
fn timeout(text: &str) -> Result<Duration, String> {
    const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
    let duration = duration(text)?;
    if ALLOWED.contains(&duration) {
        return Ok(duration);
    }
    Err(format!("`{text}` is out of range; allowed are `100ms` to `60s`"))
}

/// A duration such as `10s` or `1m 30s`. A bare `0` needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "allowed are durations like `10s`, `500ms` or `1m 30s`, at most `7days`";
    match duration_of(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err(format!("`{text}` is too long; {allowed}")),
        Err(reason) => Err(format!("`{text}`, {reason}; {allowed}")),
    }
}
