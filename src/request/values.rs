//! Reads the values of keys: a value or a reason comes out. Amounts are decimal fractions, computed
//! in integers, because 0.1 and 0.2 as floats do not add up to 0.3.

use super::raw::Dialect;
use super::types::{Count, Enforce, Selector, Strategy, Topology};
use crate::model::device::{PciAddress, Vendor};
use crate::model::driver::Capability;
use crate::model::isolation::Isolation;
use crate::model::lease::Sharing;
use crate::model::quantity::{Bytes, MIB, MilliGpu};
use std::time::Duration;

/// The fault of a value, as in "`k` is `v`, *which is not known*".
pub type Reason = &'static str;

/// The most devices that one request can count: far above any node.
pub const MAX_COUNT: u32 = 1024;

const NOT_KNOWN: Reason = "which is not known";
const NOT_A_NUMBER: Reason = "which is not a number";

/// Digits and nothing else; `u32::from_str` alone also accepts a `+`.
pub fn whole(text: &str) -> Option<u32> {
    digits(text)?.parse().ok()
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// `text` × `unit`, exactly: (whole part, whether there is a remainder).
fn decimal(text: &str, unit: u64) -> Result<(u64, bool), Reason> {
    const TOO_LARGE: Reason = "which is too large or has too many digits";
    let (before, after) = match text.split_once('.') {
        Some((before, after)) => (before, digits(after).ok_or(NOT_A_NUMBER)?),
        None => (digits(text).ok_or(NOT_A_NUMBER)?, ""),
    };
    if !before.is_empty() {
        digits(before).ok_or(NOT_A_NUMBER)?;
    }
    let mut mantissa: u128 = 0;
    let mut scale: u128 = 1;
    let after = after.trim_end_matches('0');
    for digit in before.bytes().chain(after.bytes()) {
        let digit = u128::from(digit.saturating_sub(b'0'));
        mantissa =
            mantissa.checked_mul(10).and_then(|tens| tens.checked_add(digit)).ok_or(TOO_LARGE)?;
    }
    for _ in after.bytes() {
        scale = scale.checked_mul(10).ok_or(TOO_LARGE)?;
    }
    let product = mantissa.checked_mul(u128::from(unit)).ok_or(TOO_LARGE)?;
    let quotient = product.checked_div(scale).ok_or(TOO_LARGE)?;
    let rest = product.checked_rem(scale).ok_or(TOO_LARGE)? != 0;
    Ok((u64::try_from(quotient).map_err(|_| TOO_LARGE)?, rest))
}

/// `0.5`, `50%`, `500m`; in kaiwo's dialect only the first.
pub fn compute(text: &str, dialect: Dialect) -> Result<MilliGpu, Reason> {
    let units: &[(&str, u64)] = match dialect {
        Dialect::Native => &[("%", 10), ("m", 1)],
        Dialect::Kaiwo => &[],
    };
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1000));
    let (milli, rest) = decimal(number, unit)?;
    if rest {
        return Err("which is not a whole number of thousandths of a device");
    }
    if milli < u64::from(MilliGpu::MIN.0) {
        return Err("which is less than a tenth of a device");
    }
    u32::try_from(milli)
        .ok()
        .map(MilliGpu)
        .filter(|share| *share <= MilliGpu::WHOLE)
        .ok_or("which is more than a whole device")
}

/// A whole number of MiB; in our own dialect also a Kubernetes quantity. A fraction of a byte is
/// rounded up, as Kubernetes does.
pub fn memory(text: &str, dialect: Dialect) -> Result<Bytes, Reason> {
    // Longest suffix first.
    const UNITS: &[(&str, u64)] = &[
        ("Ki", 1 << 10),
        ("Mi", MIB),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let unit = UNITS
        .iter()
        .filter(|_| dialect == Dialect::Native)
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)));
    let (bytes, rest) = match unit {
        Some((number, unit)) => decimal(number, unit)?,
        // `1.5` would mean 1.5 MiB and is probably a slip for `1.5Gi`.
        None => decimal(digits(text).ok_or("which is not an amount of memory")?, MIB)?,
    };
    match bytes.saturating_add(u64::from(rest)) {
        0 => Err("which is zero"),
        bytes => Ok(Bytes(bytes)),
    }
}

/// `1` to [`MAX_COUNT`], or `all`.
pub fn count(text: &str) -> Result<Count, Reason> {
    if text == "all" {
        return Ok(Count::All);
    }
    digits(text).ok_or(NOT_A_NUMBER)?;
    match whole(text) {
        Some(0) => Err("which is zero"),
        Some(count) if count <= MAX_COUNT => Ok(Count::Exactly(count)),
        _ => Err("which is too large"),
    }
}

/// One item of a device list. `None` if it is not a name of a device.
pub fn selector(item: &str) -> Option<Selector> {
    if digits(item).is_some() {
        return whole(item).map(Selector::Index);
    }
    if let Some(number) = item.strip_prefix("card") {
        return whole(number).map(Selector::Card);
    }
    if let Some(number) = item.strip_prefix("renderD") {
        return whole(number).map(Selector::Render);
    }
    if let Some((gpu, instance)) = item.split_once(':')
        && let (Some(gpu), Some(instance)) = (whole(gpu), whole(instance))
    {
        return Some(Selector::Instance(gpu, instance));
    }
    if item.contains(':') {
        return PciAddress::parse(item).map(Selector::Pci);
    }
    is_uuid_prefix(item).then(|| Selector::Uuid(item.to_owned()))
}

/// `GPU-` or `MIG-`, then at least four hex digits, then any characters that a UUID can have.
fn is_uuid_prefix(text: &str) -> bool {
    const FEWEST: usize = 4;
    const LONGEST: usize = 80;
    let Some((kind, rest)) = text.split_once('-') else { return false };
    let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    (kind.eq_ignore_ascii_case("GPU") || kind.eq_ignore_ascii_case("MIG"))
        && hex >= FEWEST
        && text.len() <= LONGEST
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Whether two selectors are the same name. (Different names of one device are found later.)
pub fn same_device(one: &Selector, other: &Selector) -> bool {
    match (one, other) {
        (Selector::Uuid(one), Selector::Uuid(other)) => one.eq_ignore_ascii_case(other),
        _ => one == other,
    }
}

pub fn vendor(text: &str) -> Result<Vendor, Reason> {
    text.parse().map_err(|()| NOT_KNOWN)
}

/// Part of a model's name, or a glob over it.
pub fn model(text: &str) -> Result<String, Reason> {
    const LONGEST: usize = 128;
    if text.chars().any(char::is_control) {
        return Err("which has control characters");
    }
    if text.trim().is_empty() {
        return Err("which is blank");
    }
    if text.chars().count() > LONGEST {
        return Err("which is too long");
    }
    Ok(text.to_owned())
}

/// `exclusive`, `shared`; in kaiwo's dialect `false`, `true` in any case.
pub fn sharing(text: &str, dialect: Dialect) -> Result<Sharing, Reason> {
    match dialect {
        Dialect::Native => text.parse().map_err(|()| NOT_KNOWN),
        Dialect::Kaiwo if text.eq_ignore_ascii_case("true") => Ok(Sharing::Shared),
        Dialect::Kaiwo if text.eq_ignore_ascii_case("false") => Ok(Sharing::Exclusive),
        Dialect::Kaiwo => Err(NOT_KNOWN),
    }
}

/// An isolation; kaiwo has four of them.
pub fn isolation(text: &str, dialect: Dialect) -> Result<Isolation, Reason> {
    use Isolation::{Mig, Mps, None, TimeSlicing};
    match text.parse() {
        Ok(known) if dialect == Dialect::Native => Ok(known),
        Ok(known @ (None | TimeSlicing | Mps | Mig)) => Ok(known),
        _ => Err(NOT_KNOWN),
    }
}

/// Whether limits have to be enforced.
pub fn enforcement(text: &str) -> Result<Enforce, Reason> {
    text.parse().map_err(|()| NOT_KNOWN)
}

/// A strategy, or another GPU manager's name for one. `None` if this version does not support it.
pub fn strategy(text: &str) -> Result<Option<Strategy>, Reason> {
    match text {
        "minimize_fragmentation" => Ok(Some(Strategy::BestFit)),
        "distributed_small_instances" => Ok(Some(Strategy::WorstFit)),
        "round-robin" | "load-balanced" | "single_large_instance" | "hybrid_dynamic" => Ok(None),
        _ => text.parse().map(Some).map_err(|()| NOT_KNOWN),
    }
}

/// How much links matter. `None` if this version does not support it.
pub fn topology(text: &str) -> Result<Option<Topology>, Reason> {
    match text {
        "required" => Ok(None),
        _ => text.parse().map(Some).map_err(|()| NOT_KNOWN),
    }
}

/// A number, or one of four names.
pub fn priority(text: &str) -> Result<u32, Reason> {
    match text {
        "low" => Ok(1),
        "normal" => Ok(5),
        "high" => Ok(10),
        "urgent" => Ok(15),
        _ if digits(text).is_some() => whole(text).ok_or("which is too large"),
        _ => Err(NOT_KNOWN),
    }
}

/// `30s`, `1h 30m`, `0`.
pub fn duration(text: &str) -> Result<Duration, Reason> {
    humantime::parse_duration(text.trim()).map_err(|_| "which is not a duration")
}

/// The canonical name of a kind of work. Other GPU managers' names are accepted, and `-` for `_`.
pub fn workload(text: &str) -> Result<&'static str, Reason> {
    Ok(match text.replace('-', "_").as_str() {
        "training" | "ml" | "domain_learning" => "training",
        "inference" | "ai" | "agent_workflow" | "unified_workflow" => "inference",
        "embedding" | "embedding_generation" => "embedding",
        "ocr" => "ocr",
        "graph_processing" => "graph_processing",
        "generic" | "batch_processing" | "compute" | "graphics" => "generic",
        _ => return Err(NOT_KNOWN),
    })
}

/// Stands for an empty list of capabilities.
pub const NO_CAPABILITIES: &str = "none";

/// One item of a capability list.
pub fn capability(item: &str) -> Result<Capability, Reason> {
    let reason =
        if item == NO_CAPABILITIES { "which cannot be combined with others" } else { NOT_KNOWN };
    item.parse().map_err(|()| reason)
}

/// Checks the form of a token. The store knows whether a lease has it.
pub fn token(text: &str) -> Result<(), Reason> {
    let fits = (16..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if fits { Ok(()) } else { Err("which is not a token") }
}
