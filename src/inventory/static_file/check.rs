//! Checks of single values of the devices file.

use super::limits::{MEMORY_MIB_MAX, UNITS_MAX};
use crate::model::device::{Device, Vendor};
use crate::model::id::DeviceId;
use crate::model::quantity::Bytes;
use crate::model::text::shown;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

/// A fault, and the bytes of the text that contain it.
pub(super) type Located = (Range<usize>, String);

/// Checks that a UUID has the prefix, and occurs for the first time. The caller has the message for
/// a missing prefix.
pub(super) fn check_uuid<'d>(
    new: &Spanned<DeviceId>,
    prefix: &str,
    known: impl IntoIterator<Item = &'d Device>,
    without_prefix: impl FnOnce() -> String,
) -> Result<(), Located> {
    let uuid = new.get_ref();
    if uuid.as_str().strip_prefix(prefix).is_none_or(str::is_empty) {
        return Err((new.span(), without_prefix()));
    }
    // Selectors compare without regard to case.
    let is_same = |other: &Device| other.uuid.as_str().eq_ignore_ascii_case(uuid.as_str());
    if known.into_iter().any(is_same) {
        return Err((new.span(), format!("the device UUID `{uuid}` is given twice")));
    }
    Ok(())
}

pub(super) fn memory(given: &Spanned<u64>, uuid: &DeviceId) -> Result<Bytes, Located> {
    let problem = match *given.get_ref() {
        0 => format!("`memory_mib` of `{uuid}` is 0"),
        mib if mib > MEMORY_MIB_MAX => {
            format!("`memory_mib` is {mib}, at most {MEMORY_MIB_MAX} is allowed")
        }
        mib => return Ok(Bytes::from_mib(mib)),
    };
    Err((given.span(), problem))
}

pub(super) fn text(
    given: Option<Spanned<String>>,
    is_good: impl Fn(&str) -> bool,
    problem: impl Fn(String) -> String,
) -> Result<Option<String>, Located> {
    match given {
        Some(given) if !is_good(given.get_ref()) => {
            Err((given.span(), problem(shown(given.get_ref()))))
        }
        given => Ok(given.map(Spanned::into_inner)),
    }
}

pub(super) fn number(
    key: &'static str,
    given: Option<Spanned<u32>>,
) -> Result<Option<u32>, Located> {
    match given {
        Some(given) if !(1..=UNITS_MAX).contains(given.get_ref()) => {
            let number = given.get_ref();
            Err((given.span(), format!("`{key}` is {number}, allowed are 1 to {UNITS_MAX}")))
        }
        given => Ok(given.map(Spanned::into_inner)),
    }
}

/// Whether it is a name for an architecture: `9.0` for NVIDIA, `gfx90a` for AMD, any short word for
/// others.
pub(super) fn is_arch(vendor: Vendor, arch: &str) -> bool {
    let is_word = |text: &str, range: RangeInclusive<usize>| {
        range.contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    match vendor {
        Vendor::Nvidia => is_version(arch),
        Vendor::Amd => arch.strip_prefix("gfx").is_some_and(|rest| is_word(rest, 3..=5)),
        Vendor::Intel => is_word(arch, 1..=16),
    }
}

pub(super) fn is_version(text: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}
