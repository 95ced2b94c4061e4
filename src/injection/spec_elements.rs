//! The members of the elements of a spec's lists: hooks, device nodes, namespaces.

use super::doubt::Reader;
use super::facts::{SpecDevice, SpecHook};
use super::lenient::{Leaf, List, MAJOR_MAX, MINOR_MAX, Members, number, skip};
use super::spec_reader::text;
use serde::de::MapAccess;

#[derive(Clone, Default)]
pub(super) struct Namespace {
    pub(super) kind: String,
    pub(super) path: String,
}

impl<'de> Members<'de> for SpecHook {
    const PLACE: &'static str = "a hook";
    const KEYS: &'static [&'static str] = &["path", "args"];

    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        _: &Reader,
    ) -> Result<(), A::Error> {
        match key {
            "path" => self.path = text(map)?,
            "args" => {
                let args = map.next_value::<List<Leaf<'_>>>()?.0.into_iter();
                self.args = args.filter_map(Leaf::text).map(String::from).collect();
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for SpecDevice {
    const PLACE: &'static str = "linux.devices";
    const KEYS: &'static [&'static str] = &["path", "type", "major", "minor"];

    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &Reader,
    ) -> Result<(), A::Error> {
        match key {
            "path" => self.path = text(map)?,
            "type" => self.kind = text(map)?,
            "major" => {
                let place = (Self::PLACE, "major");
                self.major = number(map.next_value()?, reader, place, MAJOR_MAX);
            }
            "minor" => {
                let place = (Self::PLACE, "minor");
                self.minor = number(map.next_value()?, reader, place, MINOR_MAX);
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

impl<'de> Members<'de> for Namespace {
    const PLACE: &'static str = "linux.namespaces";
    const KEYS: &'static [&'static str] = &["type", "path"];

    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        _: &Reader,
    ) -> Result<(), A::Error> {
        match key {
            "type" => self.kind = text(map)?,
            "path" => self.path = text(map)?,
            _ => skip(map)?,
        }
        Ok(())
    }
}
