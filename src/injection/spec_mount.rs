//! The members of a mount in a spec (config.md, "Mounts").

use super::lenient::{Members, Next};
use super::types::SpecMount;
use serde::de::MapAccess;

impl<'de> Members<'de> for SpecMount {
    const PLACE: &'static str = "mounts";
    const KEYS: &'static [&'static str] = &["destination", "source", "type", "options"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        let is_bind = |word: &str| matches!(word, "bind" | "rbind");
        match key {
            "destination" => self.destination = next.text()?,
            "source" => self.source = next.text()?,
            "type" => {
                let kind = next.text()?;
                self.bind |= is_bind(&kind);
                self.cgroups = matches!(kind.as_str(), "cgroup" | "cgroup2");
                self.devices = kind == "devtmpfs";
            }
            "options" => {
                let options = next.texts()?;
                (self.read_only, self.all_read_only) = (false, false);
                (self.closes_devices, self.closes_all_devices) = (false, false);
                for option in options {
                    // For the runtimes, the last of two opposite options counts.
                    match &*option {
                        "ro" => self.read_only = true,
                        "rw" => self.read_only = false,
                        "rro" => self.all_read_only = true,
                        "rrw" => self.all_read_only = false,
                        "nodev" => self.closes_devices = true,
                        "dev" => self.closes_devices = false,
                        "rnodev" => self.closes_all_devices = true,
                        // The runtime applies this option after all others, to the mount and
                        // everything below it.
                        "rdev" => (self.closes_devices, self.closes_all_devices) = (false, false),
                        option => self.bind |= is_bind(option),
                    }
                }
            }
            _ => next.skip()?,
        }
        Ok(())
    }
}
