//! Why a request is not understood or not honoured.

use super::keys::{KEYS, Key, Support};
use crate::model::code::Code;
use crate::model::text::shown;
use thiserror::Error;

/// A refused request. Keys and values in it are already safe to show.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A key with our prefix that is not in the table.
    #[error("`{key}` is not a known key")]
    UnknownKey {
        key: String,
        /// The nearest known one, in the same spelling (annotation or variable).
        nearest: Option<&'static str>,
    },
    /// A key for one container of a pod, and no way to tell which container this is.
    #[error("`{key}` is for one container, but the engine does not say which container this is")]
    NoContainerName { key: String },
    /// A key without a value.
    #[error("`{key}` is empty; allowed is {allowed}")]
    Empty {
        key: String,
        /// What may be there.
        allowed: &'static str,
    },
    /// A value that nobody means.
    #[error("`{key}` has {bytes} bytes, at most {max} are allowed")]
    TooLong { key: String, bytes: usize, max: usize },
    /// A list that nobody means.
    #[error("`{key}` lists more than {max} items")]
    TooMany { key: String, max: usize },
    /// A value that is not what the key takes.
    #[error("`{key}` is `{value}`, {reason}; allowed is {allowed}")]
    Value {
        key: String,
        /// The value, or the item of the list.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What may be there.
        allowed: &'static str,
    },
    /// An item that a list has twice.
    #[error("`{key}` lists `{item}` twice")]
    Duplicate {
        key: String,
        /// The second of the two.
        item: String,
    },
    /// Two spellings of one thing that say different things.
    #[error("`{first}` is `{first_value}`, but `{second}` is `{second_value}`")]
    Differ { first: String, first_value: String, second: String, second_value: String },
    /// A device to oneself, but only part of it.
    #[error(
        "`{sharing}` is `{sharing_value}`, which is the whole device, but `{share}` is \
         `{share_value}`, which is a share"
    )]
    ExclusiveShare {
        /// The key that asks for the whole.
        sharing: String,
        sharing_value: String,
        /// The key that asks for a part.
        share: String,
        share_value: String,
    },
    /// A part of something that is leased whole.
    #[error(
        "`{mig}` is `{mig_value}`, and a MIG instance is leased whole, but `{share}` is \
         `{share_value}`, which is a share"
    )]
    ShareOfInstance {
        /// The key that asks for an instance.
        mig: String,
        mig_value: String,
        /// The key that asks for a part.
        share: String,
        share_value: String,
    },
    /// Sharing without a word on how much.
    #[error("`{key}` is `{value}`, but there is neither a compute nor a memory share")]
    SharedWithoutShare { key: String, value: String },
    /// More devices than are listed.
    #[error("`{count}` is `{count_value}`, but `{devices}` lists {listed}")]
    TooFewListed {
        /// The key with the number.
        count: String,
        count_value: String,
        /// The key with the list.
        devices: String,
        /// Items in the list.
        listed: usize,
    },
    /// Two vendors' variables at once.
    #[error("`{first}` and `{second}` both ask for devices; a lease has one vendor")]
    TwoVendors { first: &'static str, second: &'static str },
    /// Longer than the administrator lets anyone queue.
    #[error("`{key}` is `{value}`, longer than the {max} that the configuration allows")]
    WaitTooLong {
        key: String,
        value: String,
        /// The longest allowed, as people write it.
        max: String,
    },
    /// Understood, but this version has no machinery for it.
    #[error("`{key}` is `{value}`, which is not supported yet")]
    NotSupportedYet {
        key: String,
        /// Its value; a token is not repeated.
        value: String,
        /// What to do instead.
        instead: String,
    },
}

impl RequestError {
    pub const fn code(&self) -> Code {
        match self {
            Self::NotSupportedYet { .. } => Code::NotSupportedYet,
            Self::WaitTooLong { .. } => Code::PolicyDenied,
            _ => Code::BadRequest,
        }
    }

    /// What to do about it, where there is something to say beyond the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `{nearest}`?"))
            }
            Self::UnknownKey { nearest: None, .. } => {
                let known: Vec<&str> = KEYS.iter().map(Key::short).collect();
                Some(format!("after `gpulease/` may stand: {}", known.join(", ")))
            }
            Self::NoContainerName { key } => {
                let whole = key.rsplit_once(".gpulease/").map_or(key.as_str(), |(_, short)| short);
                Some(format!("use `gpulease/{whole}`, which needs no container name"))
            }
            Self::Differ { first, second, .. } => {
                Some(format!("they contradict each other: keep `{first}` or `{second}`"))
            }
            Self::ExclusiveShare { sharing, share, .. } => {
                Some(format!("leave out `{sharing}` for a share or `{share}` for a whole device"))
            }
            Self::ShareOfInstance { share, .. } => Some(format!(
                "leave out `{share}`; `gpulease/mig-profile` or `gpulease/min-memory` say how large \
                 the instance shall be"
            )),
            Self::SharedWithoutShare { .. } => {
                Some("say how much with `gpulease/compute` or `gpulease/memory`".to_owned())
            }
            Self::TwoVendors { .. } => {
                Some("set one of them to `void`, or ask with annotations".to_owned())
            }
            Self::NotSupportedYet { instead, .. } => Some(instead.clone()),
            _ => None,
        }
    }

    /// For a value of a key that this version cannot honour.
    pub(super) fn not_yet(key: &Key, spelled: &str, value: String) -> Self {
        let spelled = shown(spelled);
        let instead = match key.support {
            Support::Only([only]) => format!("leave `{spelled}` out or set it to `{only}`"),
            Support::Only(_) => format!("leave `{spelled}` out"),
            Support::Full | Support::Except(_) => {
                let honoured = key.honoured().unwrap_or_default().join("`, `");
                format!("leave `{spelled}` out or set it to one of `{honoured}`")
            }
        };
        Self::NotSupportedYet { key: spelled, value, instead }
    }
}
