//! What a device is made of, which decides how it can be shared.

use super::Located;
use super::limits::UNITS_MAX;
use crate::model::device::Vendor;
use crate::model::text::shown;
use std::ops::RangeInclusive;
use toml::Spanned;

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

/// `9.0` of NVIDIA's, `gfx90a` of AMD's; of others any short word.
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
