//! Does this container ask for a GPU, and may it?

use super::ask::{Asked, Launch};
use super::policy::{self, denied};
use super::{adopted, driver, injected, known, mounted};
use crate::config::Config;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::Facts;
use crate::model::code::Code;
use crate::model::text::shown;
use crate::request::policy::{Injected, is_admissible};
use crate::request::{self, Input, Request, RequestSource};

/// Why a failure that has nothing to do with a container keeps it from starting.
const OPENS_GPU: &str = "the container's device nodes, device rules or mounts let it open what the kernel or a lease \
     knows as a GPU";

/// Whether the container could be asking for a GPU at all. Environment variables do not count
/// here unless one of the names that an administrator can admit is there.
pub(super) fn may_ask(facts: &Facts) -> bool {
    asks_in_words(facts)
        || facts.may_be_injected()
        || facts.env.iter().any(|(name, _)| is_admissible(name))
}

/// Whether there are annotations of ours. A pod's sandbox has its containers' annotations, and
/// never gets a GPU; a container has those that are for another one of its pod.
fn asks_in_words(facts: &Facts) -> bool {
    let keys = facts.annotations.keys().map(String::as_str);
    !facts.is_sandbox && request::mentions_request(keys, facts.container_name.as_deref())
}

/// What the container asks for, if it may; `None` if nothing.
pub(super) fn permitted(
    host: &Host,
    launch: &Launch<'_>,
    facts: &Facts,
) -> Result<Option<Asked>, Failure> {
    let Some(asked) = asked(host, launch, facts)? else { return Ok(None) };
    refuse_rootless(host, launch)?;
    if let Some(fault) = &launch.fault {
        return Err(fault.clone());
    }
    driver::permit(asked.config.driver, launch.vendor, launch.runtime)?;
    let node = &asked.inventory.node;
    policy::permit(facts, &asked.request, &asked.config.policy, node, &host.paths)?;
    Ok(Some(asked))
}

/// What it asks for, before it is asked whether it may.
pub fn asked(host: &Host, launch: &Launch<'_>, facts: &Facts) -> Result<Option<Asked>, Failure> {
    if !may_ask(facts) {
        return Ok(None);
    }
    let access = mounted::access(facts, &host.paths);
    let by_vendor = facts.vendor_hooks.give_any() || !facts.named.is_empty();
    // Only words and a vendor's own ways are a request whatever the configuration says. A variable
    // counts if it says so; a node, a rule or a mount if the inventory has the device. Without
    // these, a variable is nothing, and a device is what the kernel knows it for.
    let in_any_case = asks_in_words(facts) || by_vendor;
    let without = |failure: Failure| {
        if !in_any_case && !known::opens_gpu(&access, &host.paths, host.store()) {
            return None;
        }
        // What a user namespace cannot read is not at fault.
        let failure = refuse_rootless(host, launch).err().unwrap_or(failure);
        if in_any_case {
            return Some(failure);
        }
        // Before the hint: it is why the container is refused, and nothing to be done about it.
        let message = format!("{}, and {OPENS_GPU}", failure.message);
        Some(Failure { message, ..failure })
    };
    let config = match host.config() {
        Ok(config) => config.clone(),
        Err(failure) => return without(failure).map_or(Ok(None), Err),
    };
    let asked = in_words(facts, &config)?;
    if asked.is_some() {
        refuse_rootless(host, launch)?;
    }
    let injected = by_vendor || !access.is_empty();
    let injected = injected && config.policy.injected != Injected::Ignore;
    if asked.is_none() && !injected {
        return Ok(None);
    }
    let inventory = match (launch.inventory)(host, &config) {
        Ok(inventory) => inventory,
        Err(failure) if asked.is_some() => {
            return Err(refuse_rootless(host, launch).err().unwrap_or(failure));
        }
        Err(failure) => return without(failure).map_or(Ok(None), Err),
    };
    let injected = if injected {
        let node = &inventory.node;
        if let Some(path) = known::opens_forgotten(&access, node, &host.paths, host.store()) {
            return Err(forgotten(&path));
        }
        injected::request(facts, &access, node, &config.policy, &host.paths)?
    } else {
        None
    };
    permit_injected(injected.as_ref(), &config)?;
    let hooks = &facts.vendor_hooks;
    let named = !facts.named.is_empty() || !hooks.named.is_empty() || hooks.unclear.is_some();
    if asked.is_some() && named {
        return Err(denied(
            "the container asks gpulease for GPUs, and NVIDIA's tools too, by a `cdi.k8s.io/` annotation, a mount in /var/run/nvidia-container-devices or a hook that runs `nvidia-container-cli`",
            "ask by `gpulease/…` annotations alone",
        ));
    }
    let Some(request) = asked.or(injected) else { return Ok(None) };
    if request.source == RequestSource::Injected {
        adopted::check(facts, &inventory.node, &host.paths)?;
    }
    Ok(Some(Asked { request, config, inventory }))
}

fn in_words(facts: &Facts, config: &Config) -> Result<Option<Request>, Failure> {
    if facts.is_sandbox {
        return Ok(None);
    }
    let input = Input {
        annotations: &facts.annotations,
        env: &facts.env,
        container_name: facts.container_name.as_deref(),
    };
    Ok(request::parse(&input, &config.policy)?)
}

fn permit_injected(injected: Option<&Request>, config: &Config) -> Result<(), Failure> {
    if injected.is_some() && config.policy.injected == Injected::Refuse {
        return Err(denied(
            "the engine gives the container GPUs (--gpus, --device, --device-cgroup-rule, CDI), and `policy.injected` is `refuse`",
            "ask for GPUs by `gpulease/…` annotations instead",
        ));
    }
    Ok(())
}

fn forgotten(path: &str) -> Failure {
    let text = format!(
        "the container could open `{}`, which is leased and no longer in the inventory",
        shown(path)
    );
    Failure::new(Code::StaleInventory, text)
        .hint("see `gpulease leases`; is the devices file right?")
}

fn refuse_rootless(host: &Host, launch: &Launch<'_>) -> Result<(), Failure> {
    if launch.by_root || host.is_root() {
        return Ok(());
    }
    let text = "a lease cannot be had from a rootless engine or a user namespace";
    Err(Failure::new(Code::RootlessUnsupported, text).hint("use an engine that runs as root"))
}
