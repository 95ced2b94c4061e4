//! `update --resources FILE`. crun applies the device rules in the file to the running container;
//! runc ignores them.

use super::bundle::{hand_on, read_given};
use super::shim::Shim;
use crate::failure::Failure;
use crate::injection::{self, Facts};
use crate::model::code::Code;
use crate::model::lease::Lease;
use crate::request::{Request, Selector};
use crate::start::Launch;
use crate::start::bundle::MAX_BYTES;
use crate::start::lowlevel::RuntimeKind;
use crate::start::request;
use crate::sys::{PathError, stdio};
use std::ffi::OsString;
use std::path::Path;

/// The words for the low-level runtime, if they differ from the engine's: a pipe is read here and
/// replaced by a copy.
pub(super) fn prepare(shim: &Shim) -> Result<Option<Vec<OsString>>, Failure> {
    if shim.kind() == RuntimeKind::Runc {
        return Ok(None);
    }
    if let Some(why) = shim.doubt() {
        return rule_out(shim, &why).map(|()| None);
    }
    let Some(given) = &shim.call.resources else { return Ok(None) };
    let is_input = given.path == Path::new(INPUT);
    let (bytes, is_regular) = if is_input {
        let read = stdio::read_input(MAX_BYTES).map_err(PathError::new("read", &given.path));
        (read.map_err(|error| bad(&error))?, false)
    } else {
        match read_given(&given.path) {
            Ok(read) => (read.bytes, read.is_regular),
            // The runtime has the better message.
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(bad(&error)),
        }
    };
    permit(shim, &bytes)?;
    if is_regular {
        return Ok(None);
    }
    let copy = hand_on(&shim.call, &given.path, &bytes)?;
    Ok(Some(shim.call.with(given, &copy)))
}

/// The word for standard input in place of a file.
const INPUT: &str = "-";

/// Refuses rules that open a GPU that the container does not lease.
fn permit(shim: &Shim, resources: &[u8]) -> Result<(), Failure> {
    // A comment at the end of the text must end before the brackets.
    let spec = [b"{\"linux\":{\"resources\":", resources, b"\n}}"].concat();
    let facts = injection::facts(&spec).map_err(|error| bad(&error))?;
    let lease = shim.lease();
    for reading in facts.readings() {
        if opens_another(shim, reading, lease.as_ref())? {
            return Err(match &facts.doubt {
                Some(doubt) => refusal(format!("runtimes may read it in different ways: {doubt}")),
                None => refusal("a running container cannot be given a GPU".to_owned()),
            });
        }
    }
    Ok(())
}

fn opens_another(shim: &Shim, facts: &Facts, lease: Option<&Lease>) -> Result<bool, Failure> {
    let asked = request::asked(&shim.host, &Launch::by(&shim.runtime), facts)?;
    Ok(asked.is_some_and(|asked| !has_all(lease, &asked.request)))
}

/// Whether all requested devices are leased: an engine that added GPUs itself repeats their rules
/// at each update.
fn has_all(lease: Option<&Lease>, request: &Request) -> bool {
    let has = |uuid: &str| {
        lease.is_some_and(|lease| lease.devices.iter().any(|own| own.uuid.as_str() == uuid))
    };
    request.devices.iter().all(|one| matches!(one, Selector::Uuid(uuid) if has(uuid)))
}

/// Refuses a call whose file or container is uncertain, unless it has no such file.
fn rule_out(shim: &Shim, why: &str) -> Result<(), Failure> {
    if !shim.call.may_have_resources() {
        return Ok(());
    }
    let text = format!("cannot tell which resources a container is to have: {why}");
    Err(Failure::new(Code::BadRequest, text)
        .hint("write every option in full, `--resources FILE` too, and the container behind them"))
}

fn bad(error: &dyn std::error::Error) -> Failure {
    Failure::of(Code::BadRequest, error)
}

fn refusal(why: String) -> Failure {
    let text = format!("`--resources` has a device rule that opens a GPU, and {why}");
    Failure::new(Code::PolicyDenied, text).hint("ask for GPUs when the container is made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{RequestSource, Strategy};
    use crate::store::tests::lease;

    #[test]
    fn the_rules_of_a_lease_may_be_repeated() {
        let lease = lease("web", "/r");
        let request = |uuids: &[&str]| Request {
            devices: uuids.iter().map(|uuid| Selector::Uuid((*uuid).to_owned())).collect(),
            ..Request::one(Strategy::BestFit, RequestSource::Injected)
        };
        assert!(has_all(Some(&lease), &request(&["GPU-1"])));
        assert!(!has_all(Some(&lease), &request(&["GPU-1", "GPU-2"])));
        assert!(!has_all(None, &request(&["GPU-1"])));
    }
}
