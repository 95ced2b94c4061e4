//! Who a container's process is, and what its user namespace makes of the host's ids.

use super::lenient::{Members, Next};
use serde::de::MapAccess;

/// `process.user` (config.md, "POSIX-platform User").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub groups: Vec<i64>,
}

/// What a spec says of the container's user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNamespace {
    /// It has one of its own, or is put into one.
    pub is_apart: bool,
    /// The file of the one that it is put into. How that maps, the spec does not say: Podman writes
    /// a mapping beside it that only keeps runc from complaining.
    pub joined: Option<String>,
    pub uids: IdMap,
    pub gids: IdMap,
}

/// Which ids of a user namespace are which of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap(pub(super) Vec<Mapping>);

/// An element of `linux.uidMappings` (config-linux.md, "User namespace mappings").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    container: Option<i64>,
    host: Option<i64>,
    size: Option<i64>,
}

impl UserNamespace {
    /// What the host calls this user of the container; `None` for one that does not exist there.
    pub(super) fn host_uid(&self, uid: Option<i64>) -> Option<u32> {
        let uid = uid.filter(|uid| *uid >= 0)?;
        if !self.is_apart {
            id(uid)
        } else if self.joined.is_some() {
            None
        } else {
            self.uids.host(uid)
        }
    }
}

impl IdMap {
    /// Reads a map as the kernel shows it: `/proc/PID/uid_map` (user_namespaces(7)).
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let mut next = || numbers.next().flatten();
            Mapping { container: next(), host: next(), size: next() }
        });
        Self(lines.collect())
    }

    /// What the host calls an id of the container.
    pub fn host(&self, container: i64) -> Option<u32> {
        let mut mappings = self.0.iter();
        id(mappings.find_map(|m| m.shifted(container, m.container?, m.host?))?)
    }

    /// What the container calls an id of the host.
    pub fn container(&self, host: u32) -> Option<u32> {
        let mut mappings = self.0.iter();
        id(mappings.find_map(|m| m.shifted(host.into(), m.host?, m.container?))?)
    }
}

/// The last number means "none" to the kernel.
fn id(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

impl Mapping {
    fn shifted(&self, id: i64, from: i64, to: i64) -> Option<i64> {
        let offset = id.checked_sub(from)?;
        let is_in = from >= 0 && to >= 0 && offset >= 0 && offset < self.size?;
        to.checked_add(offset).filter(|_| is_in)
    }
}

impl<'de> Members<'de> for User {
    const PLACE: &'static str = "process.user";
    const KEYS: &'static [&'static str] = &["uid", "gid", "additionalGids"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "uid" => self.uid = next.integer()?,
            "gid" => self.gid = next.integer()?,
            "additionalGids" => {
                self.groups = next.leaves()?.filter_map(|group| group.integer()).collect();
            }
            _ => next.skip()?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Mapping {
    const PLACE: &'static str = "the mappings of ids";
    const KEYS: &'static [&'static str] = &["containerID", "hostID", "size"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        let field = match key {
            "containerID" => &mut self.container,
            "hostID" => &mut self.host,
            "size" => &mut self.size,
            _ => return next.skip(),
        };
        *field = next.integer()?;
        Ok(())
    }
}
