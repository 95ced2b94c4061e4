//! Handles a spec that the runtimes read in different ways, so that its container's devices are
//! uncertain.

use super::ask::Launch;
use super::request;
use super::spec::is_edited;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{Doubt, Facts};
use crate::model::code::Code;

/// Lets a spec pass if it has nothing to do with GPUs in any of its readings. A vendor's runtime
/// may find a request in any spec. Fails with `bad-bundle` for all other specs.
pub(super) fn permit(
    host: &Host,
    launch: &Launch<'_>,
    facts: &Facts,
    doubt: &Doubt,
) -> Result<(), Failure> {
    let is_ours = |facts: &Facts| {
        let asks = || !matches!(request::permitted(host, launch, facts), Ok(None));
        is_edited(facts) || facts.granted_keys || asks()
    };
    if launch.vendor.is_some() || facts.readings().any(is_ours) {
        return Err(refusal(doubt));
    }
    Ok(())
}

/// The refusal of such a spec.
fn refusal(doubt: &Doubt) -> Failure {
    let text = format!(
        "config.json requests or opens GPUs, but runtimes may read it in different ways: {doubt}"
    );
    Failure::new(Code::BadBundle, text).hint(
        "write plain JSON: each key once and as the specification spells it, device numbers as \
         integers, no comments, nothing after the object",
    )
}
