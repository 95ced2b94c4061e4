//! The user of a container's process, and how its user namespace maps ids.

use super::lenient::{Members, Next};
use serde::de::MapAccess;

/// `process.user` (config.md, "POSIX-platform User").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub groups: Vec<i64>,
}

/// The container's user namespace, as the spec describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNamespace {
    /// Whether the container gets a user namespace of its own or joins one.
    pub is_apart: bool,
    /// The file of the namespace that the container joins. The spec does not say how that one maps
    /// ids: Podman writes a mapping only because runc demands one.
    pub joined: Option<String>,
    pub uids: IdMap,
    pub gids: IdMap,
}

/// A map between the ids of a user namespace and those of the host.
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
    /// The host's uid of a user in the container; `None` if the namespace does not map that user.
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
    /// Parses a map in the kernel's format: `/proc/PID/uid_map` (user_namespaces(7)).
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let mut next = || numbers.next().flatten();
            Mapping { container: next(), host: next(), size: next() }
        });
        Self(lines.collect())
    }

    /// The host's id for an id of the container.
    pub fn host(&self, container: i64) -> Option<u32> {
        let mut mappings = self.0.iter();
        id(mappings.find_map(|m| m.shifted(container, m.container?, m.host?))?)
    }

    /// The container's id for an id of the host.
    pub fn container(&self, host: u32) -> Option<u32> {
        let mut mappings = self.0.iter();
        id(mappings.find_map(|m| m.shifted(host.into(), m.host?, m.container?))?)
    }
}

/// For the kernel, the largest number means no id.
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
