//! The device rules of a spec (config-linux.md, "Allowed Device list").

use super::facts::is_character;
use super::lenient::{Leaf, MAJOR_MAX, MINOR_MAX, Members, Next, number};
use serde::de::MapAccess;

/// Character devices by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// `None` means every major.
    pub major: Option<i64>,
    /// `None` means every minor.
    pub minor: Option<i64>,
}

impl Numbers {
    /// Whether the device is one of these.
    pub fn cover(&self, (major, minor): (u32, u32)) -> bool {
        self.has_major(major) && self.minor.is_none_or(|own| own == i64::from(minor))
    }

    /// Whether devices of this major are among these.
    pub fn has_major(&self, major: u32) -> bool {
        self.major.is_none_or(|own| own == i64::from(major))
    }

    /// Whether these are the numbers of a single device. A rule for one device can be removed.
    pub const fn are_one(&self) -> bool {
        self.major.is_some() && self.minor.is_some()
    }

    /// Whether every container may open these: `null`, `zero`, `full`, `random` and `urandom`, the
    /// terminals, `tun`. Engines write rules for them, and runc adds its own.
    const fn are_usual(self) -> bool {
        matches!(
            (self.major, self.minor),
            (Some(1), Some(3 | 5 | 7 | 8 | 9)) | (Some(5 | 136..=143), _) | (Some(10), Some(200))
        )
    }
}

impl From<(u32, u32)> for Numbers {
    fn from((major, minor): (u32, u32)) -> Self {
        Self { major: Some(major.into()), minor: Some(minor.into()) }
    }
}

/// The sum of all rules. A rule that closes devices again is not considered: to count them as open
/// is stricter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The devices that the rules open, without those that every container may open.
    pub opened: Vec<Numbers>,
    /// A rule opens everything, and has no type. Engines write that for `--privileged`, while a
    /// rule that a user gives by `--device-cgroup-rule` has a type.
    pub privileged: bool,
    /// A rule closes everything, so that only explicitly opened devices are open.
    pub closed: bool,
}

impl Rules {
    pub(super) fn new(rules: impl Iterator<Item = Rule>) -> Self {
        let mut all = Self::default();
        for rule in rules {
            match rule.numbers() {
                _ if !rule.allow => all.closed |= rule.closes_all(),
                Some(_) if rule.kind.is_empty() && rule.has_no_number() => all.privileged = true,
                Some(numbers) if !numbers.are_usual() => all.opened.push(numbers),
                _ => {}
            }
        }
        all
    }

    /// Whether a rule opens character devices of every driver.
    pub(super) fn open_everything(&self) -> bool {
        self.privileged || self.opened.iter().any(|numbers| numbers.major.is_none())
    }
}

#[derive(Clone, Default)]
pub(super) struct Rule {
    allow: bool,
    kind: String,
    major: Option<i64>,
    minor: Option<i64>,
    access: String,
}

impl Rule {
    /// The character devices that the rule lets the container read or write. Engines let every
    /// container make nodes, `c *:* m`, which opens no device.
    fn numbers(&self) -> Option<Numbers> {
        if self.has_no_type() {
            return Some(Numbers { major: None, minor: None });
        }
        let numbers = Numbers { major: self.major, minor: self.minor };
        (self.access.contains(['r', 'w']) && is_character(&self.kind)).then_some(numbers)
    }

    /// Whether the rule, if it closes, closes everything. A rule that closes only reading leaves
    /// writing open.
    fn closes_all(&self) -> bool {
        match self.kind.as_str() {
            "" | "a" => true,
            "c" => self.has_no_number() && ['r', 'w'].iter().all(|one| self.access.contains(*one)),
            _ => false,
        }
    }

    /// runc and crun ignore numbers and access in such a rule.
    fn has_no_type(&self) -> bool {
        self.kind.is_empty() || self.kind.starts_with('a')
    }

    const fn has_no_number(&self) -> bool {
        self.major.is_none() && self.minor.is_none()
    }
}

impl<'de> Members<'de> for Rule {
    const PLACE: &'static str = "linux.resources.devices";
    const KEYS: &'static [&'static str] = &["allow", "access", "type", "major", "minor"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        // runc reads a missing type as `a`, a missing number as -1, and -1 as "any". crun reads a
        // number that is a string as missing.
        let reader = next.reader;
        let of = |leaf: Leaf<'_>, key, max| {
            let is_text = matches!(leaf, Leaf::Text(_));
            let is_any = matches!(leaf, Leaf::Integer(-1));
            let read = || number(leaf, reader, (Self::PLACE, key), max).filter(|_| !is_text);
            if is_any { None } else { read() }
        };
        match key {
            "allow" => self.allow = matches!(next.leaf()?, Leaf::Bool(true)),
            "access" => self.access = next.text()?,
            "type" => self.kind = next.text()?,
            "major" => self.major = of(next.leaf()?, "major", MAJOR_MAX),
            "minor" => self.minor = of(next.leaf()?, "minor", MINOR_MAX),
            _ => next.skip()?,
        }
        Ok(())
    }
}
