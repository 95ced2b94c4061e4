//! Plans a start: the answer that a container would get now, by the rules of a start. Nothing is
//! claimed or written.

use super::bundle::{CONFIG, fixed, is_fixed, read_limited};
use super::lowlevel::{self, RuntimeKind};
use super::{
    Asked, Interpretation, Launch, SpecFault, bad_bundle, concerns_us, facts_of, fault_of, foresee,
    interpret_facts,
};
use crate::allocator::{Grant, Requester, Verdict};
use crate::config::MpsDaemon;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::Facts;
use crate::model::device::Vendor;
use crate::model::isolation::Isolation;
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The container whose start is planned.
#[derive(Debug, Default)]
pub struct PlannedContainer<'a> {
    /// Annotations. They are added to those of the bundle, and replace them.
    pub annotations: BTreeMap<String, String>,
    /// The directory of its bundle, if it has one.
    pub bundle: Option<&'a Path>,
    /// The host's id of its user, if that is not the bundle's, or root where there is no bundle.
    pub user: Option<u32>,
}

/// The answer for a container.
pub struct PlannedStart {
    pub outcome: PlannedOutcome,
    /// A value in the bundle's `config.json` that the low-level runtime may reject.
    pub spec_fault: Option<SpecFault>,
}

pub enum PlannedOutcome {
    /// The container requests nothing, and its spec stays as it is.
    NoRequest {
        /// The engine has put device nodes, device rules, mounts or a vendor's hook into the spec.
        injected: bool,
    },
    /// The container requests nothing, and its spec is edited.
    Cleaned {
        /// The vendor whose runtime is told to give no GPU.
        vendor: Option<Vendor>,
    },
    Granted(PlannedRequest, Grant),
    /// The allocator refuses the request.
    Refused(PlannedRequest, Failure),
}

/// A request that was decided.
pub struct PlannedRequest {
    pub asked: Asked,
    /// The host's id of the container's user, if it is known.
    pub user: Option<u32>,
    /// The answer depends on the user, and no user was named.
    pub user_matters: bool,
}

/// Plans the start of a container. Fails as the start would, except where the allocator refuses the
/// request.
pub fn plan(host: &Host, container: PlannedContainer<'_>) -> Result<PlannedStart, Failure> {
    let runtime = lowlevel::choose(host);
    let (runtime, fault) = match &runtime {
        Ok(choice) => (choice.path.as_path(), choice.fault.clone()),
        Err(fault) => (Path::new(""), Some(fault.clone())),
    };
    let absolute = |dir: &Path| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let dir = container.bundle.map(absolute);
    let config = dir.as_ref().map(|dir| dir.join(CONFIG));
    let is_fixed = |config: &&PathBuf| is_fixed(config, RuntimeKind::of(runtime));
    let launch = Launch {
        bundle: dir.as_deref(),
        vendor: lowlevel::vendor_of(runtime),
        fault: fault.or_else(|| config.as_ref().filter(is_fixed).map(|config| fixed(config))),
        inventory: Host::inventory_now,
        by_root: !Uid::effective().is_root(),
        ..Launch::by(runtime)
    };
    let read = |config: &PathBuf| read_limited(config).map_err(|error| bad_bundle(&error));
    let spec = config.as_ref().map(read).transpose()?;
    let spec_fault = spec.as_deref().and_then(fault_of);
    let outcome = decide(host, &launch, spec, container)?;
    Ok(PlannedStart { outcome, spec_fault })
}

fn decide(
    host: &Host,
    launch: &Launch<'_>,
    spec: Option<Vec<u8>>,
    container: PlannedContainer<'_>,
) -> Result<PlannedOutcome, Failure> {
    let PlannedContainer { annotations, user, .. } = container;
    let is_assumed = spec.is_none() && user.is_none();
    let facts = match &spec {
        Some(spec) if annotations.is_empty() => concerns_us(spec, launch.vendor)?,
        Some(spec) => Some(facts_of(spec, launch.vendor)?),
        None => Some(Facts::usual()),
    };
    let Some(mut facts) = facts else { return Ok(PlannedOutcome::NoRequest { injected: false }) };
    facts.annotations.extend(annotations);
    let injected = facts.may_be_injected();
    let spec = spec.unwrap_or_else(|| b"{}".to_vec());
    let mut ask = match interpret_facts(host, launch, spec, facts)? {
        Interpretation::Ask(ask) => ask,
        Interpretation::Untouched(_) => return Ok(PlannedOutcome::NoRequest { injected }),
        Interpretation::Cleaned(_) => return Ok(PlannedOutcome::Cleaned { vendor: launch.vendor }),
    };
    let own = ask.requester(host);
    // Most containers are root's.
    let user = user.or(if is_assumed { Some(0) } else { own.uid });
    let requester = Requester { uid: user, ..own };
    let answer = foresee(host, launch, &mut ask, requester);
    let asked = ask.asked;
    match answer {
        Ok(grant) => {
            // The leases of one MPS daemon have one user.
            let by_user = grant.isolation.effective == Isolation::Mps
                && asked.config.mps.daemon == MpsDaemon::Device;
            let request = PlannedRequest { asked, user, user_matters: is_assumed && by_user };
            Ok(PlannedOutcome::Granted(request, grant))
        }
        Err(refusal) if refusal.details.is_some() => {
            let by_user = refusal.verdicts().iter().any(Verdict::is_by_user);
            let request = PlannedRequest { asked, user, user_matters: is_assumed && by_user };
            Ok(PlannedOutcome::Refused(request, refusal))
        }
        Err(failure) => Err(failure),
    }
}
