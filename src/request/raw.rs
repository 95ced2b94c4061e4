//! Collects the words of a request: from annotations, or, if there are none, from the container's
//! environment if the administrator admits it. Values are not interpreted here.

use super::env::{self, ListedDevices};
use super::error::RequestError;
use super::keys::{self, Key, KeyId};
use super::nearest::nearest;
use super::{Input, Policy};
use crate::model::isolation::IsolationRecord;
use crate::model::text::shown;
use crate::model::variables;

/// The longest value. Kubernetes allows 256 KiB.
pub const MAX_VALUE_BYTES: usize = 4096;

/// The longest list: twice the number of GPUs of the largest node, without partitions.
pub const MAX_ITEMS: usize = 64;

/// The policy entry that admits all our own variables.
pub const OWN_VARIABLES: &str = "GPULEASE_*";

/// The rules that a value follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Native,
    /// kaiwo's rules, which have fewer spellings.
    Kaiwo,
}

/// One of our keys, with its value.
#[derive(Debug, Clone, Copy)]
pub struct RequestWord<'a> {
    pub key: &'static Key,
    /// The key as typed. It is untrusted: show it only through [`shown`].
    pub spelled: &'a str,
    /// The value as typed: not empty, at most [`MAX_VALUE_BYTES`].
    pub value: &'a str,
    /// The rules for the value.
    pub dialect: Dialect,
    /// True if the key names this one container of a pod.
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

    /// Key and value, as the start of a message.
    pub fn said(&self) -> String {
        format!("`{}` is `{}`", self.shown_key(), self.shown_value())
    }

    /// A part of the value, safe to show.
    pub fn shown_part(&self, part: &str) -> String {
        if self.key.id == KeyId::Lease { "…".to_owned() } else { shown(part) }
    }

    /// The accepted values, in the terms of the dialect.
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

/// The words of a request, by their source.
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

/// Collects the words of a request. Fails on unknown keys, on keys for one container if the engine
/// does not name the container, on empty and overlong values, and if [`env::vendor`] fails.
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

/// Whether an annotation may belong to a request of some container. Mistyped forms of our prefix
/// count, so that they are refused instead of ignored.
pub fn is_request_key(key: &str) -> bool {
    may_be_of(key, None)
}

/// Whether an annotation may belong to a request of the container of this name. An annotation for
/// another container does not. If the engine gives no name, every annotation may.
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
                // The word is for another container. If no container has that name, no container
                // gets a device by it.
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
    // A word for this container replaces the word for the whole pod, in either spelling.
    let narrowed: Vec<KeyId> =
        words.iter().filter(|word| word.narrowed).map(|word| word.key.id).collect();
    words.retain(|word| word.narrowed || !narrowed.contains(&word.key.id));
    Ok(words)
}

/// For a key of one container of a pod, if the engine does not name this container.
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
/// the key and capitals in our prefix pass here; [`exact`] refuses them. `None` for keys of other
/// projects and for the keys that gpulease writes, `gpulease.granted/…`.
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

/// Whether gpulease sets this variable in a container that has a lease. An image that was made from
/// such a container has it too.
fn is_told(name: &str, value: &str) -> bool {
    name == variables::SIMULATED
        || (name == variables::ENFORCEMENT && IsolationRecord::is_enforcement(value))
}

fn variables(env: &[(String, String)]) -> Result<Vec<RequestWord<'_>>, RequestError> {
    let mut words: Vec<RequestWord<'_>> = Vec::new();
    for (spelled, value) in env {
        // A variable that gpulease sets is not a request.
        if !spelled.starts_with(keys::ENV_PREFIX) || is_told(spelled, value) {
            continue;
        }
        let key = keys::by_env(spelled).ok_or_else(|| {
            let short = spelled.strip_prefix(keys::ENV_PREFIX).unwrap_or(spelled);
            RequestError::unknown(spelled, nearest(short).map(|key| key.env))
        })?;
        let word = RequestWord { key, spelled, value, dialect: Dialect::Native, narrowed: false };
        // runc uses the last value of a variable that is set twice.
        words.retain(|earlier| earlier.key.id != key.id);
        words.push(word.check()?);
    }
    Ok(words)
}
