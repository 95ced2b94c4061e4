//! From a container's spec to an answer: it is nothing to us, it is refused, or it asks for devices.
//! Nothing is claimed and nothing is written here, so that a start and an explanation decide alike.

use super::ask::{Ask, Launch};
use super::spec::{EditableSpec, bad_bundle, is_edited};
use super::{driver, in_doubt, request};
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{self, Document, Facts};
use crate::model::device::Vendor;

/// What a spec comes to.
pub enum Interpretation {
    /// It has nothing to do with us: it stays as it is.
    Untouched(Vec<u8>),
    /// It gets nothing, and what it pretended to have is taken out.
    Cleaned(Document),
    /// It asks for devices that it may have, if they are free.
    Ask(Box<Ask>),
}

/// What a spec says. Fails if that cannot be told.
pub fn facts_of(spec: &[u8], vendor: Option<Vendor>) -> Result<Facts, Failure> {
    let mut facts = injection::facts(spec).map_err(|error| bad_bundle(&error))?;
    facts.named = driver::chain::named(&facts, vendor);
    Ok(facts)
}

/// What a spec says, if it can say anything to us: `None` for the great majority, containers that
/// have nothing to do with gpulease. A vendor's runtime below has to do with every one. Fails if it
/// speaks of us and cannot be understood.
pub fn concerns_us(spec: &[u8], vendor: Option<Vendor>) -> Result<Option<Facts>, Failure> {
    let asks = |facts: &Facts| is_edited(facts) || facts.granted_keys || request::may_ask(facts);
    let is_ours = |facts: &Facts| vendor.is_some() || facts.readings().any(asks);
    match facts_of(spec, vendor) {
        Ok(facts) => Ok(Some(facts).filter(is_ours)),
        Err(failure) if mentions_us(spec) => Err(failure),
        Err(_) => Ok(None),
    }
}

/// The answer to a spec. Fails if what it asks for cannot be had, whatever is free.
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

/// The same for a spec that says this.
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

/// A file that is not JSON to us may be to the runtime; if it speaks of us, we must not guess.
fn mentions_us(bytes: &[u8]) -> bool {
    [&b"gpulease"[..], b"kaiwo.ai/gpu"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|w| w == *word))
}
