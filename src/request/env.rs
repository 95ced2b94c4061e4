//! The vendors' own variables, if the administrator admits them. The formats are those of
//! nvidia-container-toolkit (`NVIDIA_VISIBLE_DEVICES`) and of AMD's container-toolkit
//! (`parseGPUsList` in its `gpu-tracker.go`). AMD's toolkit skips items that it does not know, with
//! a warning. Here they are refused: a container must not start with fewer devices than it
//! requests.

use super::error::RequestError;
use super::raw::{MAX_ITEMS, check_length};
use super::types::Selector;
use super::values;
use crate::model::device::Vendor;
use crate::model::text::shown;
pub use crate::model::variables::{AMD_VISIBLE as AMD, NVIDIA_VISIBLE as NVIDIA};

const NVIDIA_ALLOWED: &str = "`all`, `none`, `void`, or a comma-separated list of indices \
                              (`0`), MIG instances (`0:1`) and UUIDs or their beginnings \
                              (`GPU-5f1c`, `MIG-09ab`)";
const AMD_ALLOWED: &str = "`all`, `none`, `void`, or a comma-separated list of indices (`0`), \
                           ranges (`0-3`) and unique ids (`0x5f1c09ab77de4b1e`)";

/// Devices of one vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevices {
    pub vendor: Vendor,
    /// The listed devices; `None` for all.
    pub devices: Option<Vec<Selector>>,
}

/// Reads the variables that `admits` lets through. Fails on items that are not device names, on
/// devices listed twice, on long values and lists, and if both vendors are named.
pub fn vendor(
    env: &[(String, String)],
    admits: impl Fn(&str) -> bool,
) -> Result<Option<ListedDevices>, RequestError> {
    let read = |name, vendor| {
        if !admits(name) {
            return Ok(None);
        }
        // runc uses the last value of a variable that is set twice.
        match env.iter().rev().find(|(key, _)| key == name) {
            Some((_, value)) => list(name, value, vendor),
            None => Ok(None),
        }
    };
    match (read(NVIDIA, Vendor::Nvidia)?, read(AMD, Vendor::Amd)?) {
        (Some(_), Some(_)) => {
            let message =
                format!("`{NVIDIA}` and `{AMD}` both ask for devices; a lease has one vendor");
            Err(RequestError::new(message)
                .hint("set one of them to `void`, or ask with annotations"))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn list(name: &str, value: &str, vendor: Vendor) -> Result<Option<ListedDevices>, RequestError> {
    check_length(name, value)?;
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    if value.is_empty() || is("none") || is("void") {
        return Ok(None);
    }
    if is("all") {
        return Ok(Some(ListedDevices { vendor, devices: None }));
    }
    let mut devices: Vec<Selector> = Vec::new();
    for item in value.split(',').map(str::trim) {
        let found = match vendor {
            Vendor::Nvidia => nvidia(item).map(|selector| vec![selector]),
            Vendor::Amd => amd(item),
            // Policies admit no variable of Intel's.
            Vendor::Intel => None,
        };
        let found = found.ok_or_else(|| {
            let allowed = if vendor == Vendor::Nvidia { NVIDIA_ALLOWED } else { AMD_ALLOWED };
            RequestError::value(name, &shown(item), "which names no device", allowed)
        })?;
        for selector in found {
            if devices.iter().any(|earlier| values::same_device(earlier, &selector)) {
                return Err(RequestError::duplicate(name, &shown(item)));
            }
            devices.push(selector);
        }
        if devices.len() > MAX_ITEMS {
            return Err(RequestError::too_many(name));
        }
    }
    Ok(Some(ListedDevices { vendor, devices: Some(devices) }))
}

fn nvidia(item: &str) -> Option<Selector> {
    values::selector(item).filter(|selector| {
        matches!(selector, Selector::Index(_) | Selector::Instance(..) | Selector::Uuid(_))
    })
}

fn amd(item: &str) -> Option<Vec<Selector>> {
    // The toolkit also reads a plain text of more than eight hex digits as a unique id.
    const LONGEST_INDEX: usize = 8;
    let hex = item.strip_prefix("0x").or_else(|| item.strip_prefix("0X"));
    if let Some(digits) = hex.or_else(|| (item.len() > LONGEST_INDEX).then_some(item))
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        let id = u64::from_str_radix(digits, 16).ok()?;
        return Some(vec![Selector::Uuid(format!("GPU-{id:016x}"))]);
    }
    match item.split_once('-') {
        None => values::whole(item).map(|index| vec![Selector::Index(index)]),
        Some((first, last)) => {
            let (first, last) = (values::whole(first)?, values::whole(last)?);
            if first > last {
                return None;
            }
            // One more item than allowed is enough for the caller to see that there are too many.
            Some((first..=last).take(MAX_ITEMS.saturating_add(1)).map(Selector::Index).collect())
        }
    }
}
