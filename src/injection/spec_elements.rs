//! The members of the elements of a spec's lists: hooks, device nodes, namespaces.

use super::facts::{SpecDevice, SpecHook};
use super::lenient::{MAJOR_MAX, MINOR_MAX, Members, Next};
use serde::de::MapAccess;

#[derive(Clone, Default)]
pub(super) struct Namespace {
    pub(super) kind: String,
    pub(super) path: String,
}

impl<'de> Members<'de> for SpecHook {
    const PLACE: &'static str = "a hook";
    const KEYS: &'static [&'static str] = &["path", "args"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "path" => self.path = next.text()?,
            "args" => self.args = next.texts()?.map(String::from).collect(),
            _ => next.skip()?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for SpecDevice {
    const PLACE: &'static str = "linux.devices";
    const KEYS: &'static [&'static str] = &["path", "type", "major", "minor"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "path" => self.path = next.text()?,
            "type" => self.kind = next.text()?,
            "major" => self.major = next.number((Self::PLACE, "major"), MAJOR_MAX)?,
            "minor" => self.minor = next.number((Self::PLACE, "minor"), MINOR_MAX)?,
            _ => next.skip()?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Namespace {
    const PLACE: &'static str = "linux.namespaces";
    const KEYS: &'static [&'static str] = &["type", "path"];

    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error> {
        match key {
            "type" => self.kind = next.text()?,
            "path" => self.path = next.text()?,
            _ => next.skip()?,
        }
        Ok(())
    }
}
