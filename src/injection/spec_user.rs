//! Who a container's process is, as the host counts.

use super::lenient::{Leaf, Members, skip};
use serde::de::MapAccess;

/// `process.user` (config.md, "POSIX-platform User").
#[derive(Default)]
pub(super) struct User {
    pub(super) uid: Option<i64>,
}

/// What a spec says of the container's user namespace.
#[derive(Default)]
pub(super) struct Users {
    /// It has one of its own.
    pub(super) is_apart: bool,
    /// One that is there already, and nothing in the spec says how that maps.
    pub(super) is_there: bool,
    /// `linux.uidMappings`.
    pub(super) uids: Vec<Mapping>,
}

/// An element of `linux.uidMappings` (config-linux.md, "User namespace mappings").
#[derive(Default)]
pub(super) struct Mapping {
    container: Option<i64>,
    host: Option<i64>,
    size: Option<i64>,
}

impl Users {
    /// What the host calls this user of the container; `None` for one that does not exist there.
    pub(super) fn host_uid(&self, uid: Option<i64>) -> Option<u32> {
        let uid = uid.filter(|uid| *uid >= 0)?;
        let host = if !self.is_apart {
            uid
        } else if self.is_there {
            return None;
        } else {
            self.uids.iter().find_map(|mapping| mapping.of(uid))?
        };
        // The last number means "no user" to the kernel.
        u32::try_from(host).ok().filter(|uid| *uid != u32::MAX)
    }
}

impl Mapping {
    fn of(&self, uid: i64) -> Option<i64> {
        let offset = uid.checked_sub(self.container.filter(|first| *first >= 0)?)?;
        let host = self.host.filter(|first| *first >= 0)?;
        let is_in = offset >= 0 && offset < self.size?;
        host.checked_add(offset).filter(|_| is_in)
    }
}

impl<'de> Members<'de> for User {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "uid" => self.uid = map.next_value::<Leaf<'_>>()?.integer(),
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Mapping {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let field = match key {
            "containerID" => &mut self.container,
            "hostID" => &mut self.host,
            "size" => &mut self.size,
            _ => return skip(map),
        };
        *field = map.next_value::<Leaf<'_>>()?.integer();
        Ok(())
    }
}
