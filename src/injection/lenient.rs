//! A borrowing reader for JSON of which only a few members matter.
//!
//! Each type here accepts *any* JSON value. A value of another kind counts as absent, because the
//! low-level runtime decides whether a spec is valid. Members that are not needed are skipped
//! unparsed, so their contents (lone surrogates, numbers of any size, any depth) cannot make the
//! reader fail. If the runtimes treat a key in different ways, a [`Reader`] chooses one way and
//! records the doubt.

use super::doubt::{Doubt, Reader};
use crate::model::text::shown;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// An object that picks members by name.
pub(super) trait Members<'de>: Default {
    /// The object's place in a spec, for messages.
    const PLACE: &'static str;
    /// The members that it reads. All others are skipped. If there are none here, every member is
    /// read.
    const KEYS: &'static [&'static str] = &[];

    /// Reads the value that belongs to `key`. A second value of this key is merged with the first.
    fn member<A: MapAccess<'de>>(&mut self, key: &str, next: Next<'_, A>) -> Result<(), A::Error>;
}

/// The value of a member, which is next in the text and must be read.
pub(super) struct Next<'a, A> {
    map: &'a mut A,
    pub(super) reader: &'a Reader,
}

impl<'de, A: MapAccess<'de>> Next<'_, A> {
    /// Skips the value, of whatever kind.
    pub(super) fn skip(self) -> Result<(), A::Error> {
        self.map.next_value::<IgnoredAny>().map(drop)
    }

    pub(super) fn leaf(self) -> Result<Leaf<'de>, A::Error> {
        self.map.next_value()
    }

    pub(super) fn text_if_any(self) -> Result<Option<String>, A::Error> {
        Ok(self.leaf()?.text().map(String::from))
    }

    /// The string, or an empty one for any other value.
    pub(super) fn text(self) -> Result<String, A::Error> {
        Ok(self.text_if_any()?.unwrap_or_default())
    }

    pub(super) fn integer(self) -> Result<Option<i64>, A::Error> {
        Ok(self.leaf()?.integer())
    }

    /// The value as a device's number: see [`number`].
    pub(super) fn number(
        self,
        place: (&'static str, &'static str),
        max: i64,
    ) -> Result<Option<i64>, A::Error> {
        let reader = self.reader;
        Ok(number(self.leaf()?, reader, place, max))
    }

    /// The elements of an array; none for any other value.
    pub(super) fn leaves(self) -> Result<impl Iterator<Item = Leaf<'de>>, A::Error> {
        Ok(self.map.next_value::<LenientList<'_>>()?.0.into_iter())
    }

    /// The elements that are strings.
    pub(super) fn texts(self) -> Result<impl Iterator<Item = Cow<'de, str>>, A::Error> {
        Ok(self.leaves()?.filter_map(Leaf::text))
    }

    /// Reads an object into `into`, which may have values already. Any other kind of value adds
    /// nothing.
    pub(super) fn object<T: Members<'de>>(self, into: &mut T) -> Result<(), A::Error> {
        if self.reader.replaces() {
            *into = T::default();
        }
        self.map.next_value_seed(Object { into, reader: self.reader })
    }

    /// Reads an array of objects. It is merged with an earlier one element by element, as Go does;
    /// the earlier elements are kept at the end.
    pub(super) fn objects<T: Members<'de> + Clone>(
        self,
        into: &mut Vec<T>,
    ) -> Result<(), A::Error> {
        if self.reader.replaces() {
            into.clear();
        }
        self.map.next_value_seed(Objects { into, reader: self.reader })
    }
}

/// A device number of at most `max`. Of a larger or negative integer, the bits that a node's number
/// keeps; `None` if the value is no number.
pub(super) fn number(
    leaf: Leaf<'_>,
    reader: &Reader,
    (place, key): (&'static str, &'static str),
    max: i64,
) -> Option<i64> {
    let (value, number) = match leaf {
        Leaf::Null => return None,
        Leaf::Integer(number) if (0..=max).contains(&number) => return Some(number),
        Leaf::Integer(number) => (number.to_string(), Some(number & max)),
        Leaf::Text(text) => (format!("\"{}\"", shown(&text)), text.trim().parse().ok()),
        Leaf::Bool(_) | Leaf::Other => ("no integer".to_owned(), None),
    };
    reader.note(|| Doubt::Number { place, key, value });
    number
}

/// The largest numbers that a node can have (makedev(3), and the kernel's `MINORBITS`).
pub(super) const MAJOR_MAX: i64 = 0xfff;
pub(super) const MINOR_MAX: i64 = 0xf_ffff;

/// Reads an object into `into`, which may have values already.
pub(super) struct Object<'a, T> {
    pub(super) into: &'a mut T,
    pub(super) reader: &'a Reader,
}

struct Objects<'a, T> {
    into: &'a mut Vec<T>,
    reader: &'a Reader,
}

/// An array; empty for any other value.
struct LenientList<'de>(Vec<Leaf<'de>>);

/// A value without members.
pub(super) enum Leaf<'de> {
    Text(Cow<'de, str>),
    /// An integer in range.
    Integer(i64),
    Bool(bool),
    Null,
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

/// The text that a visitor would show in a serde error. No such error occurs, because each visitor
/// accepts any value.
macro_rules! expecting {
    ($what:literal) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($what)
        }
    };
}

/// Visitor methods for the kinds of value that a type treats as absent.
macro_rules! absent {
    (lists, $absent:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
    (objects, $absent:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
    (scalars, $absent:expr) => {
        absent!(visit_bool: bool, $absent);
        absent!(visit_i64: i64, $absent);
        absent!(visit_u64: u64, $absent);
        absent!(visit_f64: f64, $absent);
        absent!(visit_str: &str, $absent);
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($absent)
        }
    };
    ($method:ident: $type:ty, $absent:expr) => {
        fn $method<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok($absent)
        }
    };
}

enum FieldName<'de> {
    /// A key in the text. It is read as bytes, because serde_json then accepts lone surrogates.
    /// They are replaced, because a key with one is never ours.
    Member(Cow<'de, str>),
    /// The key that stands for a number. With `arbitrary_precision`, serde_json passes a number as
    /// an object with one private key. Unlike a real key, it arrives as a string.
    Number,
}

impl<'de> Deserialize<'de> for FieldName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = FieldName<'de>;
            expecting!("a key");
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<FieldName<'de>, E> {
                Ok(FieldName::Member(String::from_utf8_lossy(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<FieldName<'de>, E> {
                Ok(FieldName::Member(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
            fn visit_str<E>(self, _: &str) -> Result<FieldName<'de>, E> {
                Ok(FieldName::Number)
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
}

impl<'de, T: Members<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de>> Visitor<'de> for Object<'_, T> {
    type Value = ();
    expecting!("an object");
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { into, reader } = self;
        let mut seen = 0_u32;
        while let Some(key) = map.next_key()? {
            let key = match key {
                FieldName::Member(key) => key,
                FieldName::Number => {
                    Next { map: &mut map, reader }.skip()?;
                    continue;
                }
            };
            let next = Next { map: &mut map, reader };
            if T::KEYS.is_empty() {
                into.member(&key, next)?;
                continue;
            }
            let Some((at, known)) = reader.find(T::PLACE, T::KEYS, &key) else {
                next.skip()?;
                continue;
            };
            let is_again = seen & (1 << at) != 0;
            seen |= 1 << at;
            if is_again {
                reader.twice(T::PLACE, &key);
            }
            if is_again && reader.keeps() {
                next.skip()?;
            } else {
                into.member(known, next)?;
            }
        }
        Ok(())
    }
    absent!(lists, ());
    absent!(scalars, ());
}

impl<'de, T: Members<'de> + Clone> DeserializeSeed<'de> for Objects<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Members<'de> + Clone> Visitor<'de> for Objects<'_, T> {
    type Value = ();
    expecting!("an array");
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { into, reader } = self;
        let mut earlier = Vec::new();
        for place in 0.. {
            let mut element = into.get(place).cloned().unwrap_or_default();
            if list.next_element_seed(Object { into: &mut element, reader })?.is_none() {
                break;
            }
            match into.get_mut(place) {
                Some(slot) => earlier.push(std::mem::replace(slot, element)),
                None => into.push(element),
            }
        }
        into.extend(earlier);
        Ok(())
    }
    absent!(objects, ());
    absent!(scalars, ());
}

impl<'de> Deserialize<'de> for LenientList<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = LenientList<'de>;
            expecting!("an array");
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<LenientList<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(LenientList(elements))
            }
            absent!(objects, LenientList(Vec::new()));
            absent!(scalars, LenientList(Vec::new()));
        }
        deserializer.deserialize_any(ListVisitor)
    }
}

impl<'de> Deserialize<'de> for Leaf<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LeafVisitor;
        impl<'de> Visitor<'de> for LeafVisitor {
            type Value = Leaf<'de>;
            expecting!("any value");
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
            // An object of any depth, or a number under `arbitrary_precision`.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Leaf<'de>, A::Error> {
                let mut leaf = Leaf::Other;
                while let Some(key) = map.next_key()? {
                    match key {
                        FieldName::Member(_) => drop(map.next_value::<IgnoredAny>()?),
                        FieldName::Number => {
                            let text = map.next_value::<Leaf<'_>>()?.text();
                            let number = text.and_then(|text| text.parse().ok());
                            leaf = number.map_or(Leaf::Other, Leaf::Integer);
                        }
                    }
                }
                Ok(leaf)
            }
            absent!(lists, Leaf::Other);
            absent!(visit_f64: f64, Leaf::Other);
        }
        deserializer.deserialize_any(LeafVisitor)
    }
}
