//! Decides about a container's spec: it does not concern gpulease, it is refused, or it requests
//! devices. Nothing is claimed or written here, so a start and an explanation decide alike.

use super::ask::{Ask, Launch};
use super::spec::{EditableSpec, bad_bundle, is_edited};
use super::{driver, in_doubt, request};
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{self, Document, Facts};
use crate::model::device::Vendor;

/// The decision about a spec.
pub enum Interpretation {
    /// The spec does not concern gpulease and stays as it is.
    Untouched(Vec<u8>),
    /// The container gets no device, and false traces of a grant are removed from its spec.
    Cleaned(Document),
    /// The container requests devices, and may have them if they are free.
    Ask(Box<Ask>),
}

/// The facts of a spec. Fails if it cannot be read.
pub fn facts_of(spec: &[u8], vendor: Option<Vendor>) -> Result<Facts, Failure> {
    let mut facts = injection::facts(spec).map_err(|error| bad_bundle(&error))?;
    facts.named = driver::chain::named(&facts, vendor);
    Ok(facts)
}

/// The facts of a spec that may concern gpulease; `None` for most containers. With a vendor's
/// runtime every spec does. Fails if the spec mentions gpulease and cannot be read.
pub fn concerns_us(spec: &[u8], vendor: Option<Vendor>) -> Result<Option<Facts>, Failure> {
    let asks = |facts: &Facts| is_edited(facts) || facts.granted_keys || request::may_ask(facts);
    let is_ours = |facts: &Facts| vendor.is_some() || facts.readings().any(asks);
    match facts_of(spec, vendor) {
        Ok(facts) => Ok(Some(facts).filter(is_ours)),
        Err(failure) if mentions_us(spec) => Err(failure),
        Err(_) => Ok(None),
    }
}

/// Decides about a spec. Fails if its request is refused whatever is free.
pub fn interpret(
    host: &Host,
    launch: &Launch<'_>,
    bytes: Vec<u8>,
) -> Result<Interpretation, Failure> {
    match concerns_us(&bytes, launch.vendor)? {
        Some(facts) => interpret_facts(host, launch, bytes, facts),
        None => Ok(Interpretation::Untouched(bytes)),
    }
}

/// Decides about a spec with these facts.
pub fn interpret_facts(
    host: &Host,
    launch: &Launch<'_>,
    bytes: Vec<u8>,
    facts: Facts,
) -> Result<Interpretation, Failure> {
    if let Some(doubt) = &facts.doubt {
        in_doubt::permit(host, launch, &facts, doubt)?;
        return Ok(Interpretation::Untouched(bytes));
    }
    let mut spec = EditableSpec::new(host, launch.bundle, bytes, facts)?;
    if let Some(asked) = request::permitted(host, launch, &spec.facts)? {
        return Ok(Interpretation::Ask(Box::new(Ask { asked, spec })));
    }
    if let Some(vendor) = launch.vendor {
        spec.close(vendor)?;
    }
    Ok(match spec.edited {
        Some(document) => Interpretation::Cleaned(document),
        None => Interpretation::Untouched(spec.bytes),
    })
}

/// A file that is not JSON for us may be JSON for the runtime. If it mentions gpulease, we must not
/// guess.
fn mentions_us(bytes: &[u8]) -> bool {
    [&b"gpulease"[..], b"kaiwo.ai/gpu"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|w| w == *word))
}
