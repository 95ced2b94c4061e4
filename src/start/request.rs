//! Decides whether a container requests a GPU, and whether it may.

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

/// Explains why a fault that does not concern the container's request stops its start.
const OPENS_GPU: &str = "the container's device nodes, device rules or mounts let it open a device \
                         that the kernel or a lease knows as a GPU";

/// Whether the container may request a GPU. Environment variables count only if an administrator
/// can admit one of them.
pub(super) fn may_ask(facts: &Facts) -> bool {
    asks_in_words(facts)
        || facts.may_be_injected()
        || facts.env.iter().any(|(name, _)| is_admissible(name))
}

/// Whether annotations of ours are present. A pod's sandbox has its containers' annotations but
/// never gets a GPU. A container also has the annotations for other containers of its pod.
fn asks_in_words(facts: &Facts) -> bool {
    let keys = facts.annotations.keys().map(String::as_str);
    !facts.is_sandbox && request::mentions_request(keys, facts.container_name.as_deref())
}

/// The container's request, if it is allowed; `None` if there is none.
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

/// The container's request, before it is checked against the policy.
pub fn asked(host: &Host, launch: &Launch<'_>, facts: &Facts) -> Result<Option<Asked>, Failure> {
    if !may_ask(facts) {
        return Ok(None);
    }
    let access = mounted::access(facts, &host.paths);
    let by_vendor = facts.vendor_hooks.give_any() || !facts.named.is_empty();
    // Annotations and a vendor's own ways are a request whatever the configuration says. A variable
    // counts if the configuration admits it; a node, a rule or a mount counts if the inventory has
    // the device. Without configuration or inventory, a variable does not count, and a device
    // counts if the kernel or a lease knows it as a GPU.
    let in_any_case = asks_in_words(facts) || by_vendor;
    let without = |failure: Failure| {
        if !in_any_case && !known::opens_gpu(&access, &host.paths, host.store()) {
            return None;
        }
        // A user namespace may be the reason why a file cannot be read.
        let failure = refuse_rootless(host, launch).err().unwrap_or(failure);
        if in_any_case {
            return Some(failure);
        }
        // This belongs into the message, not into the hint, because it gives the reason and no way
        // out.
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
            "the container asks both gpulease and NVIDIA's tools for GPUs, the latter by a \
             `cdi.k8s.io/` annotation, a mount in /var/run/nvidia-container-devices or a hook that \
             runs `nvidia-container-cli`",
            "ask for GPUs by `gpulease/…` annotations only",
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
            "the engine gives the container GPUs (--gpus, --device, --device-cgroup-rule, CDI), \
             and `policy.injected` is `refuse`",
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
        .hint("`gpulease leases` shows the lease; correct the devices file")
}

fn refuse_rootless(host: &Host, launch: &Launch<'_>) -> Result<(), Failure> {
    if launch.by_root || host.is_root() {
        return Ok(());
    }
    let text = "a rootless engine, or one in a user namespace, cannot get leases";
    Err(Failure::new(Code::RootlessUnsupported, text).hint("use an engine that runs as root"))
}
