//! From untrusted words to a request. The input is annotations, their aliases and admitted
//! environment variables; the result is a [`Request`] or a precise error.

#![forbid(unsafe_code)]

mod build;
mod env;
pub mod error;
pub mod keys;
mod nearest;
pub mod policy;
mod raw;
pub mod types;
mod values;

#[cfg(test)]
mod tests;

pub use error::RequestError;
pub use policy::Policy;
pub use raw::is_request_key;
pub use types::{
    Amount, Count, Enforce, MigChoice, Request, RequestSource, Selector, Strategy, Topology,
};

use crate::model::quantity::{Bytes, MilliGpu};
use keys::Key;
use raw::{Collected, Dialect};
use std::collections::BTreeMap;
use std::time::Duration;

/// The container's configuration, as far as it can contain a request. None of it is trusted.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub annotations: &'a BTreeMap<String, String>,
    /// The container's environment, in order.
    pub env: &'a [(String, String)],
    /// The container's name in its pod, if the engine gives it.
    pub container_name: Option<&'a str>,
}

/// Whether any of these annotations may belong to a request of the container of this name. The
/// check is cheap. It is never false if [`parse`] finds a request in the annotations. (A container
/// may also request by an admitted variable alone.)
pub fn mentions_request<'k>(
    keys: impl IntoIterator<Item = &'k str>,
    container_name: Option<&str>,
) -> bool {
    keys.into_iter().any(|key| raw::may_be_of(key, container_name))
}

/// An amount of compute as in `gpulease/compute`. The error is the end of a sentence that begins
/// with the text.
pub fn compute_of(text: &str) -> Result<MilliGpu, &'static str> {
    values::compute(text, Dialect::Native)
}

/// An amount of memory as in `gpulease/memory`. The error is the end of a sentence that begins with
/// the text.
pub fn memory_of(text: &str) -> Result<Bytes, &'static str> {
    values::memory(text, Dialect::Native)
}

/// A strategy by any name that `gpulease/strategy` accepts. The error names the fault and the
/// allowed values.
pub fn strategy_of(text: &str) -> Result<Strategy, String> {
    let reason = match values::strategy(text) {
        Ok(Some(strategy)) => return Ok(strategy),
        Ok(None) => "which is not supported yet",
        Err(reason) => reason,
    };
    let honoured = keys::by_short_name("strategy").and_then(Key::honoured).unwrap_or_default();
    Err(format!("`{text}`, {reason}; allowed are `{}`", honoured.join("`, `")))
}

/// A duration as in `gpulease/wait`. The error is the end of a sentence that begins with the text.
pub fn duration_of(text: &str) -> Result<Duration, &'static str> {
    values::duration(text)
}

/// Reads the container's request; `None` if there is none. The first source that has one counts:
/// annotations, then our variables, then the vendors'. Later sources are not read. Fails on an
/// unknown key, a wrong value, a contradiction or a value that the policy forbids, and, if all else
/// is right, on a value that is not supported yet. Each error names the key.
pub fn parse(input: &Input<'_>, policy: &Policy) -> Result<Option<Request>, RequestError> {
    let request = match raw::collect(input, policy)? {
        Collected::Nothing => return Ok(None),
        Collected::Annotations(words) => {
            let aliased = words.iter().all(|word| word.dialect == Dialect::Kaiwo);
            let source = if aliased { RequestSource::Alias } else { RequestSource::Annotations };
            build::from_words(&words, source, policy)?
        }
        Collected::Variables(words) => {
            build::from_words(&words, RequestSource::Environment, policy)?
        }
        Collected::Vendor(listed) => build::from_listed(listed, policy),
    };
    Ok(Some(request))
}
