//! Collects the words that are ours: out of annotations, or, if there are none and the
//! administrator admits it, out of the container's environment. Nothing is read into them yet.

use super::env::{self, ListedDevices};
use super::error::RequestError;
use super::keys::{self, Key, KeyId};
use super::nearest::nearest;
use super::{Input, Policy};
use crate::model::device::SIMULATED_VARIABLE;
use crate::model::isolation::{ENFORCEMENT_VARIABLE, IsolationRecord};
use crate::model::text::shown;

/// The longest value. Kubernetes alone would let through 256 KiB.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The longest list: twice what the largest node has, partitions aside.
pub const MAX_ITEMS: usize = 64;

/// The name of the policy entry that admits all our own variables.
pub const OWN_VARIABLES: &str = "GPULEASE_*";

/// Whose rules a value follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Native,
    /// kaiwo's, which knows fewer spellings.
    Kaiwo,
}

/// A key of ours and the value that somebody gave it.
#[derive(Debug, Clone, Copy)]
pub struct RequestWord<'a> {
    pub key: &'static Key,
    /// The key as typed. It came from outside: show it through [`shown`] only.
    pub spelled: &'a str,
    /// The value as typed: not empty, at most [`MAX_VALUE_BYTES`].
    pub value: &'a str,
    /// Whose rules hold for the value.
    pub dialect: Dialect,
    /// True if it is meant for this one container of a pod.
    narrowed: bool,
}

impl RequestWord<'_> {
    /// The key, safe to show.
    pub fn shown_key(&self) -> String {
        shown(self.spelled)
    }

    /// The value, safe to show. A lease's token is a secret, and messages end up in logs.
    pub fn shown_value(&self) -> String {
        self.shown_part(self.value)
    }

    /// Both, as a message begins.
    pub fn said(&self) -> String {
        format!("`{}` is `{}`", self.shown_key(), self.shown_value())
    }

    /// A part of the value, safe to show.
    pub fn shown_part(&self, part: &str) -> String {
        if self.key.id == KeyId::Lease { "…".to_owned() } else { shown(part) }
    }

    /// What the key takes, in the words of its dialect.
    pub fn allowed(&self) -> &'static str {
        match (self.dialect, self.key.alias) {
            (Dialect::Kaiwo, Some(alias)) => alias.syntax,
            _ => self.key.syntax,
        }
    }

    fn check(self) -> Result<Self, RequestError> {
        if self.value.is_empty() {
            let (key, allowed) = (self.shown_key(), self.allowed());
            return Err(RequestError::new(format!("`{key}` is empty; allowed is {allowed}")));
        }
        check_length(self.spelled, self.value)?;
        Ok(self)
    }
}

/// Refuses a value that is too long.
pub(super) fn check_length(key: &str, value: &str) -> Result<(), RequestError> {
    if value.len() > MAX_VALUE_BYTES {
        let (key, bytes) = (shown(key), value.len());
        let message = format!("`{key}` has {bytes} bytes, at most {MAX_VALUE_BYTES} are allowed");
        return Err(RequestError::new(message));
    }
    Ok(())
}

/// What there is of a request.
#[derive(Debug)]
pub enum Collected<'a> {
    Nothing,
    /// Annotations: at most one native word and one alias for each key.
    Annotations(Vec<RequestWord<'a>>),
    /// Admitted variables of our own.
    Variables(Vec<RequestWord<'a>>),
    /// An admitted variable of a vendor.
    Vendor(ListedDevices),
}

/// Collects the words that are ours. Errors: unknown keys, keys for one container where the engine
/// names none, empty and overlong values, and what [`env::vendor`] refuses.
pub fn collect<'a>(input: &Input<'a>, policy: &Policy) -> Result<Collected<'a>, RequestError> {
    let words = annotations(input)?;
    if !words.is_empty() {
        return Ok(Collected::Annotations(words));
    }
    let admits = |name: &str| policy.accept_env.iter().any(|admitted| admitted == name);
    if admits(OWN_VARIABLES) {
        let words = variables(input.env)?;
        if !words.is_empty() {
            return Ok(Collected::Variables(words));
        }
    }
    Ok(env::vendor(input.env, admits)?.map_or(Collected::Nothing, Collected::Vendor))
}

/// Whether an annotation may be part of a request, for some container at least. Mistyped spellings
/// of our prefix count, so that they are refused and not passed over.
pub fn is_request_key(key: &str) -> bool {
    may_be_of(key, None)
}

/// The same for the container of this name: what is narrowed to another is none of its business.
/// Where the engine names none, nothing can be ruled out.
pub(super) fn may_be_of(key: &str, container_name: Option<&str>) -> bool {
    match split(key) {
        Some((Some(narrowed), _)) => container_name.is_none_or(|name| name == narrowed),
        Some((None, _)) => true,
        None => keys::by_alias(key).is_some(),
    }
}

fn annotations<'a>(input: &Input<'a>) -> Result<Vec<RequestWord<'a>>, RequestError> {
    let mut words: Vec<RequestWord<'a>> = Vec::new();
    for (spelled, value) in input.annotations {
        if let Some((key, _)) = keys::by_alias(spelled) {
            let dialect = Dialect::Kaiwo;
            words.push(RequestWord { key, spelled, value, dialect, narrowed: false }.check()?);
            continue;
        }
        let Some((container, short)) = split(spelled) else { continue };
        if let Some(container) = container {
            match input.container_name {
                Some(name) if name == container => {}
                // Another container's. If nobody's, nobody gets a device by it either.
                Some(_) => continue,
                None => return Err(no_container_name(spelled)),
            }
        }
        let key = exact(spelled, short)
            .ok_or_else(|| RequestError::unknown(spelled, nearest(short).map(|key| key.name)))?;
        let narrowed = container.is_some();
        words
            .push(RequestWord { key, spelled, value, dialect: Dialect::Native, narrowed }.check()?);
    }
    // A word for this container replaces what is said to the whole pod, in whichever spelling.
    let narrowed: Vec<KeyId> =
        words.iter().filter(|word| word.narrowed).map(|word| word.key.id).collect();
    words.retain(|word| word.narrowed || !narrowed.contains(&word.key.id));
    Ok(words)
}

/// A key for one container of a pod, and no way to tell which container this is.
fn no_container_name(spelled: &str) -> RequestError {
    let key = shown(spelled);
    let whole = key.rsplit_once(".gpulease/").map_or(key.as_str(), |(_, short)| short);
    let hint = format!("use `gpulease/{whole}`, which needs no container name");
    RequestError::new(format!(
        "`{key}` is for one container, but the engine does not say which container this is"
    ))
    .hint(hint)
}

/// Splits `gpulease/count` and `main.gpulease/count` into container and short name. Spaces around
/// the key and capitals in our prefix are overlooked here, for [`exact`] to refuse. `None`: the
/// key is somebody else's, as is what we write ourselves, `gpulease.granted/…`.
fn split(key: &str) -> Option<(Option<&str>, &str)> {
    const WORD: &str = "gpulease";
    let (prefix, short) = key.trim().split_once('/')?;
    let prefix = prefix.trim_end();
    let (before, word) = prefix.split_at_checked(prefix.len().checked_sub(WORD.len())?)?;
    if !word.eq_ignore_ascii_case(WORD) {
        return None;
    }
    match before.strip_suffix('.') {
        // `.gpulease/…` names no container; `exact` refuses it.
        Some("") => Some((None, short)),
        Some(container) => Some((Some(container), short)),
        None if before.is_empty() => Some((None, short)),
        None => None,
    }
}

/// The key, if it is spelled exactly right.
fn exact(spelled: &str, short: &str) -> Option<&'static Key> {
    let prefix = spelled.strip_suffix(short)?;
    let narrowed = || {
        let container = prefix.strip_suffix(keys::PREFIX).and_then(|rest| rest.strip_suffix('.'));
        container.is_some_and(|name| !name.is_empty() && name.trim() == name)
    };
    if prefix == keys::PREFIX || narrowed() { keys::by_short_name(short) } else { None }
}

/// Whether it is one of the variables by which a container is told what it got: an image may have
/// them, made from a container that had a lease.
fn is_told(name: &str, value: &str) -> bool {
    name == SIMULATED_VARIABLE
        || (name == ENFORCEMENT_VARIABLE && IsolationRecord::is_enforcement(value))
}

fn variables(env: &[(String, String)]) -> Result<Vec<RequestWord<'_>>, RequestError> {
    let mut words: Vec<RequestWord<'_>> = Vec::new();
    for (spelled, value) in env {
        // What we tell a container is no request of its own.
        if !spelled.starts_with(keys::ENV_PREFIX) || is_told(spelled, value) {
            continue;
        }
        let key = keys::by_env(spelled).ok_or_else(|| {
            let short = spelled.strip_prefix(keys::ENV_PREFIX).unwrap_or(spelled);
            RequestError::unknown(spelled, nearest(short).map(|key| key.env))
        })?;
        let word = RequestWord { key, spelled, value, dialect: Dialect::Native, narrowed: false };
        // A variable that is set twice has its last value, as runc sees it.
        words.retain(|earlier| earlier.key.id != key.id);
        words.push(word.check()?);
    }
    Ok(words)
}
