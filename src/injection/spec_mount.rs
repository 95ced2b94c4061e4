//! The members of a mount in a spec (config.md, "Mounts").

use super::doubt::Reader;
use super::lenient::{Leaf, List, Members, skip};
use super::spec_reader::text;
use super::types::SpecMount;
use serde::de::MapAccess;

impl<'de> Members<'de> for SpecMount {
    const PLACE: &'static str = "mounts";
    const KEYS: &'static [&'static str] = &["destination", "source", "type", "options"];

    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        _: &Reader,
    ) -> Result<(), A::Error> {
        let is_bind = |word: &str| matches!(word, "bind" | "rbind");
        match key {
            "destination" => self.destination = text(map)?,
            "source" => self.source = text(map)?,
            "type" => {
                let kind = text(map)?;
                self.bind |= is_bind(&kind);
                self.cgroups = matches!(kind.as_str(), "cgroup" | "cgroup2");
                self.devices = kind == "devtmpfs";
            }
            "options" => {
                let options = map.next_value::<List<Leaf<'_>>>()?.0.into_iter();
                (self.read_only, self.all_read_only) = (false, false);
                (self.closes_devices, self.closes_all_devices) = (false, false);
                for option in options.filter_map(Leaf::text) {
                    // Of opposites, the last one counts for the runtimes.
                    match &*option {
                        "ro" => self.read_only = true,
                        "rw" => self.read_only = false,
                        "rro" => self.all_read_only = true,
                        "rrw" => self.all_read_only = false,
                        "nodev" => self.closes_devices = true,
                        "dev" => self.closes_devices = false,
                        "rnodev" => self.closes_all_devices = true,
                        // It is set after all others, below the source and at it.
                        "rdev" => (self.closes_devices, self.closes_all_devices) = (false, false),
                        option => self.bind |= is_bind(option),
                    }
                }
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}
