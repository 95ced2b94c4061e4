//! Names from outside, which are checked once when they are read and trusted afterwards.

use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Why a text is not a valid name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct IdError(String);

fn check(
    what: &str,
    text: &str,
    max: usize,
    allowed: &str,
    is_allowed: fn(char) -> bool,
) -> Result<(), IdError> {
    let bad = text.chars().enumerate().find(|(_, c)| !is_allowed(*c));
    let why = if text.is_empty() {
        format!("{what} is empty")
    } else if text.len() > max {
        let length = text.chars().count();
        format!("{what} has {length} characters, at most {max} are allowed")
    } else if let Some((position, character)) = bad {
        wrong_character(what, character, position, allowed)
    } else if text == "." || text == ".." {
        format!("{what} may not be `.` or `..`")
    } else {
        return Ok(());
    };
    Err(IdError(why))
}

fn wrong_character(what: &str, character: char, position: usize, allowed: &str) -> String {
    format!("{what} has the character {character:?} at position {position}; allowed are {allowed}")
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:literal, $is:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text and wraps it. The error says whether its length is wrong, or which
            /// character at which position.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check($what, text, $max, $allowed, $is)?;
                Ok(Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// A container's id as its engine spells it. The character set is runc's (libcontainer
    /// `validateID`). The length limit keeps the name of a lease file below `NAME_MAX`.
    ContainerId,
    "container id",
    128,
    "letters, digits and _+-.",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')
);

name_type!(
    /// A device's UUID, which is its canonical identity: `GPU-…`, `MIG-…`, or for AMD `GPU-` with
    /// 16 hex digits and the partition's number behind another `-`.
    DeviceId,
    "device UUID",
    80,
    "letters, digits and _-.",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
);

name_type!(
    /// A lease's public id, e.g. `l-5f1c09ab77de`. It is not secret.
    LeaseId,
    "lease id",
    40,
    "letters, digits and -",
    |c| c.is_ascii_alphanumeric() || c == '-'
);

name_type!(
    /// The random 128-bit number that ties hooks to one start of one container: 32 hex digits.
    Nonce,
    "nonce",
    32,
    "hex digits",
    |c| c.is_ascii_hexdigit()
);

impl ContainerId {
    /// Whether Docker or Podman could have generated the id: 64 hex digits in lower case.
    pub fn is_random(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// The id as engines show it: the first twelve digits of an id with 64 hex digits, else the whole
/// id.
pub fn short_id(id: &str) -> &str {
    let is_long_hex = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_long_hex { id.get(..12).unwrap_or(id) } else { id }
}

impl Nonce {
    /// Makes a nonce of 16 random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The lease id that belongs to this nonce. The id contains only the first 48 of the nonce's
    /// 128 bits, so it does not disclose the nonce.
    pub fn lease_id(&self) -> LeaseId {
        LeaseId(format!("l-{}", self.0.get(..12).unwrap_or(&self.0)))
    }
}

/// The key of a lease: (runtime root, container id), because an id is unique only under its root.
/// The key is also the lease's file name: `<id>@<root with / as !>`. Two keys never have the same
/// file name, since neither part can contain the other's separators.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseKey {
    /// The low-level runtime's state directory, absolute.
    pub runtime_root: String,
    /// The container's id under this root.
    pub container_id: ContainerId,
}

const ROOT_MAX: usize = 110;

impl LeaseKey {
    /// Checks and normalises the root. Fails if it is not absolute, is too long, has `..`, or has
    /// `!`, `@`, quotes or control characters; the error says which.
    pub fn new(runtime_root: &str, container_id: ContainerId) -> Result<Self, IdError> {
        check(
            "runtime root",
            runtime_root,
            ROOT_MAX,
            "printable ASCII without `!`, `@`, `%`, `\\` and quotes",
            |c| c.is_ascii_graphic() && !matches!(c, '!' | '@' | '%' | '\\' | '"' | '\''),
        )?;
        if !runtime_root.starts_with('/') {
            let first = runtime_root.chars().next().unwrap_or(' ');
            let why = wrong_character("runtime root", first, 0, "an absolute path");
            return Err(IdError(why));
        }
        // `//run/./runc/` is `/run/runc`: one container must have exactly one key.
        let parts = || runtime_root.split('/').filter(|part| !matches!(*part, "" | "."));
        if parts().any(|part| part == "..") {
            return Err(IdError("runtime root may not be `.` or `..`".to_owned()));
        }
        if parts().next().is_none() {
            return Err(IdError("runtime root is empty".to_owned()));
        }
        let runtime_root = parts().fold(String::new(), |path, part| path + "/" + part);
        Ok(Self { runtime_root, container_id })
    }

    /// The file name without its `.json`.
    pub fn file_stem(&self) -> String {
        let root = self.runtime_root.trim_start_matches('/').replace('/', "!");
        format!("{}@{root}", self.container_id)
    }

    /// The inverse of [`Self::file_stem`]; `None` for a file that gpulease did not name.
    pub fn from_file_stem(stem: &str) -> Option<Self> {
        let (id, root) = stem.split_once('@')?;
        let root = format!("/{}", root.replace('!', "/"));
        Self::new(&root, ContainerId::new(id).ok()?).ok()
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {}", self.container_id, self.runtime_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_follow_runc() {
        assert!(ContainerId::new("a_+-.9").is_ok());
        let why = |id: &str| ContainerId::new(id).unwrap_err().to_string();
        assert_eq!(why(".."), "container id may not be `.` or `..`");
        assert!(why("a/b").starts_with("container id has the character '/' at position 1;"));
    }

    #[test]
    fn key_and_file_name_are_one_to_one() {
        let id = ContainerId::new("web.1").unwrap();
        let key = LeaseKey::new("/var/run/docker/runtime-runc/moby/", id.clone()).unwrap();
        assert_eq!(key.file_stem(), "web.1@var!run!docker!runtime-runc!moby");
        assert_eq!(LeaseKey::from_file_stem(&key.file_stem()), Some(key.clone()));
        for same in ["//var/run/docker//runtime-runc/moby", "/var/./run/docker/runtime-runc/moby/."]
        {
            assert_eq!(LeaseKey::new(same, id.clone()), Ok(key.clone()));
        }
        for bad in ["relative", "/", "/a/../b", "/a!b", "/a@b", "/a\nb"] {
            assert!(LeaseKey::new(bad, id.clone()).is_err(), "{bad}");
        }
        assert_eq!(LeaseKey::from_file_stem("no-separator"), None);
    }

    #[test]
    fn the_longest_key_is_a_legal_file_name() {
        let key = LeaseKey::new(
            &format!("/{}", "r".repeat(109)),
            ContainerId::new(&"c".repeat(128)).unwrap(),
        );
        assert!(key.unwrap().file_stem().len() + ".json".len() <= 255);
    }
}
