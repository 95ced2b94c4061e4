//! A borrowing reader for JSON of which only a few members matter.
//!
//! Each type here takes *any* JSON value: one of another kind counts as absent, since whether a
//! spec is right is the low-level runtime's to say. What nobody asked for is skipped unparsed, so
//! that its contents (lone surrogates, numbers of any size, any depth) cannot make the reading
//! fail. A key that occurs twice counts with its last value, as in [`serde_json::Value`].

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// An object that picks members by name.
pub(super) trait Members<'de>: Default {
    /// Reads the value that belongs to `key`, or skips it with [`skip`]. Must read exactly one.
    fn member<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Passes over one value.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// An object; empty if the value is none.
pub(super) struct Object<T>(pub T);

/// An array; empty if the value is none.
pub(super) struct List<T>(pub Vec<T>);

/// A value without members.
pub(super) enum Leaf<'de> {
    /// A string.
    Text(Cow<'de, str>),
    /// A number that is an integer and fits.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// Anything else.
    Other,
}

impl<'de> Leaf<'de> {
    /// The string, if it is one.
    pub(super) fn text(self) -> Option<Cow<'de, str>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The integer, if it is one.
    pub(super) const fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }
}

/// An object's key.
enum Key<'de> {
    /// A key in the text. Read as bytes, because serde_json then lets lone surrogates pass, and
    /// repaired, because such a key is none of ours.
    Member(Cow<'de, str>),
    /// The key that stands for a number: with `arbitrary_precision` serde_json hands a number over
    /// as an object with one private key, which unlike a real one comes as a string.
    Number,
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key::Member(String::from_utf8_lossy(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key::Member(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
            fn visit_str<E>(self, _: &str) -> Result<Key<'de>, E> {
                Ok(Key::Number)
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
}

/// Visitor methods for the kinds of value that a type takes for absent.
macro_rules! absent {
    ($absent:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok($absent)
        })*
    };
}

fn drain_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de, T: Members<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Members<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
                let mut object = T::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Member(key) => object.member(&key, &mut map)?,
                        Key::Number => skip(&mut map)?,
                    }
                }
                Ok(Object(object))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Object<T>, A::Error> {
                drain_list(list).map(|()| Object(T::default()))
            }
            fn visit_unit<E>(self) -> Result<Object<T>, E> {
                Ok(Object(T::default()))
            }
            absent!(Object(T::default());
                visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(List(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(List(Vec::new()))
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List(Vec::new()))
            }
            absent!(List(Vec::new());
                visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Leaf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LeafVisitor;
        impl<'de> Visitor<'de> for LeafVisitor {
            type Value = Leaf<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Leaf<'de>, E> {
                Ok(Leaf::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Leaf<'de>, E> {
                Ok(Leaf::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Leaf<'de>, E> {
                Ok(Leaf::Bool(value))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Leaf<'de>, E> {
                Ok(Leaf::Integer(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Leaf<'de>, E> {
                Ok(i64::try_from(number).map_or(Leaf::Other, Leaf::Integer))
            }
            fn visit_unit<E>(self) -> Result<Leaf<'de>, E> {
                Ok(Leaf::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Leaf<'de>, A::Error> {
                drain_list(list).map(|()| Leaf::Other)
            }
            // An object, or a number under `arbitrary_precision`: `Value` knows them apart.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Leaf<'de>, A::Error> {
                match Value::deserialize(MapAccessDeserializer::new(map)).map_err(Error::custom)? {
                    Value::Number(number) => Ok(number.as_i64().map_or(Leaf::Other, Leaf::Integer)),
                    _ => Ok(Leaf::Other),
                }
            }
            absent!(Leaf::Other; visit_f64: f64);
        }
        deserializer.deserialize_any(LeafVisitor)
    }
}
