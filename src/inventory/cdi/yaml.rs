//! Reading YAML as Podman, containerd and Docker do: with Go's `yaml.v2`, below `sigs.k8s.io/yaml`.
//!
//! Three things are different from YAML 1.2. A file's first document counts, and the rest is not
//! even looked at. A plain scalar has the type that YAML 1.1 gives it: `0660` is 432, `yes` is true
//! (`yaml.v2`, `resolve.go`). A file may be in UTF-16 if it begins with a byte order mark.

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_norway::Deserializer;
use std::fmt;

/// Go writes integral floats below this as it writes integers.
const FLOAT_MAX: f64 = 1e6;

/// The first document of a text; null if it has none. Fails if it is not YAML, or has what
/// `yaml.v2` refuses in its strict mode: a key twice, or a key that is a list or a mapping.
pub(super) fn first_document(text: &str) -> Result<Value, String> {
    let Some(document) = Deserializer::from_str(text).next() else { return Ok(Value::Null) };
    AnyValue { text }.deserialize(document).map_err(|error| error.to_string())
}

/// Any value of a text, which is kept to see whether a scalar has quotes.
#[derive(Clone, Copy)]
struct AnyValue<'de> {
    text: &'de str,
}

impl AnyValue<'_> {
    /// Whether a scalar that lies in the text as it stands has neither quotes nor a tag (which is
    /// `!!str`, as the parser resolves the others).
    fn is_plain(self, scalar: &str) -> bool {
        let at = scalar.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let Some(before) = at.and_then(|at| self.text.get(..at)) else { return false };
        let words = before.rsplit(|c: char| c.is_whitespace() || ",[{".contains(c));
        let mut properties = words.skip_while(|word| word.is_empty() || word.starts_with('&'));
        !before.ends_with(['"', '\''])
            && !properties.next().is_some_and(|word| word.starts_with('!'))
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'de> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'de> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        float(value).ok_or_else(|| E::custom(format!("{value} is not finite")))
    }

    /// A scalar that is not in the text as it stands: one with escapes, or of several lines. None
    /// of them is plain and has a type.
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value, E> {
        Ok(if self.is_plain(value) { plain(value) } else { value.into() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key_seed(self)? {
            let key = as_text(&key).ok_or_else(|| A::Error::custom("a key is no text"))?;
            let value = map.next_value_seed(self)?;
            let new = if key == "<<" { merged(value) } else { Some(vec![(key, value)]) };
            let no_mapping = || A::Error::custom("`<<` has a value that is no mapping");
            for (key, value) in new.ok_or_else(no_mapping)? {
                if members.insert(key.clone(), value).is_some() {
                    return Err(A::Error::custom(format!("the key `{key}` is there twice")));
                }
            }
        }
        Ok(members.into())
    }
}

/// The members that a merge key brings: those of a mapping, or of each mapping of a list.
fn merged(value: Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Object(members) => Some(members.into_iter().collect()),
        Value::Array(values) => {
            values.into_iter().map(merged).collect::<Option<Vec<_>>>().map(|all| all.concat())
        }
        _ => None,
    }
}

/// A scalar where a text is wanted, as `sigs.k8s.io/yaml` writes it. `None` for null, lists and
/// mappings, and for numbers whose text depends on how Go formats a float.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The value of a scalar without quotes in YAML 1.1. Null is not among them: readers agree on it.
fn plain(text: &str) -> Value {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false.into(),
        _ => number(text).unwrap_or_else(|| text.into()),
    }
}

fn number(text: &str) -> Option<Value> {
    let is_signed_or_digit = text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
    if !is_signed_or_digit && !text.starts_with('.') {
        return None;
    }
    let digits = if is_signed_or_digit { text.replace('_', "") } else { text.to_owned() };
    if let Some(whole) = integer(&digits) {
        return Some(whole);
    }
    let is_decimal = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    digits.parse().ok().filter(|_| is_decimal).and_then(float)
}

/// As Go's `strconv.ParseInt` with the base 0: a leading zero is octal.
fn integer(text: &str) -> Option<Value> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let radixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2), ("0", 8)];
    let by_prefix = radixes.iter().find_map(|(prefix, radix)| {
        let digits = rest.strip_prefix(prefix).filter(|digits| !digits.is_empty())?;
        Some((digits, *radix))
    });
    let (digits, radix) = by_prefix.unwrap_or((rest, 10));
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let absolute = i128::from_str_radix(digits, radix).ok()?;
    let value = if is_negative { -absolute } else { absolute };
    i64::try_from(value).map(Value::from).or_else(|_| u64::try_from(value).map(Value::from)).ok()
}

/// An integral float is the integer, for Go's readers of numbers and of texts alike.
fn float(value: f64) -> Option<Value> {
    if value.fract() == 0.0 && (1.0..FLOAT_MAX).contains(&value.abs()) {
        return format!("{value:.0}").parse::<i64>().ok().map(Value::from);
    }
    Number::from_f64(value).map(Value::Number)
}
