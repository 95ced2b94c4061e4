//! The edits that a lease makes in the container's spec.

use super::ask::{Ask, Launch};
use super::driver::{self, DriverMode};
use super::spec::bad_bundle;
use super::{device_nodes, marks, namespaces, shares};
use crate::claim::create::Environment;
use crate::failure::Failure;
use crate::host::Host;
use crate::injection::{self, Document, Injection, Undo, apply};
use crate::model::code::Code;
use crate::model::device::Device;
use crate::model::lease::Lease;
use crate::request::RequestSource;
use crate::request::policy::Injected;
use std::path::Path;

/// Edits the container's spec for its lease, and returns how to undo it. Fails if the edits are not
/// possible, or if the lease's devices would not work with them.
pub(super) fn edited(
    host: &Host,
    launch: &Launch<'_>,
    ask: &mut Ask,
    lease: &Lease,
) -> Result<(Document, Undo), Failure> {
    let injection = of_lease(host, launch, ask, lease)?;
    let mut document = ask.spec.document()?;
    let undo = apply(&mut document, &injection).map_err(|error| bad_bundle(&error))?;
    Ok((document, undo))
}

fn of_lease(
    host: &Host,
    launch: &Launch<'_>,
    ask: &Ask,
    lease: &Lease,
) -> Result<Injection, Failure> {
    let (asked, facts, paths) = (&ask.asked, &ask.spec.facts, &host.paths);
    let node = &asked.inventory.node;
    let mut injection = Injection {
        annotations: marks::annotations(lease),
        hooks: marks::hooks(host, &asked.config, lease)?,
        ..Injection::default()
    };
    // Devices that the engine injected are leased as they are. A rule for another GPU, whose node
    // the container could make itself, is removed.
    if asked.request.source == RequestSource::Injected {
        injection.hidden_nodes = device_nodes::hidden_from(lease, node, paths);
        // A vendor's runtime must not add devices because of the image's variables.
        if let Some(vendor) = launch.vendor.filter(|_| !facts.vendor_hooks.by_variables) {
            injection.env = injection::closed(vendor, &facts.env);
        }
        return Ok(injection);
    }
    if lease.devices.iter().any(|device| device.simulated) && facts.user_namespace {
        return Err(Failure::new(
            Code::BadRequest,
            "simulated devices have no node on the host, and a container in a user namespace can \
             only get nodes that exist there",
        )
        .hint("run the container without a user namespace"));
    }
    let request = driver::DriverRequest { ask, lease, launch, paths };
    let mode = driver::mode(&request)?;
    injection.env = lease.env.clone();
    // A vendor's runtime makes the nodes and their rules. The nodes need not exist yet.
    if mode != DriverMode::Chain {
        injection.nodes = device_nodes::granted(lease, node, paths)?;
    }
    let hidden_nodes = facts.privileged
        || ask.spec.unknown_edits
        || asked.config.policy.injected != Injected::Ignore;
    if hidden_nodes {
        injection.hidden_nodes = device_nodes::hidden_from(lease, node, paths);
    }
    driver::add(&mut injection, &request, mode)?;
    if let Some(seat) = &lease.mps {
        shares::permit_shm(seat, facts)?;
        // A device cannot be mounted on a directory of that name.
        let is_file = |path: &Path| path.metadata().is_ok_and(|found| !found.is_dir());
        injection.mounts.extend(injection::mps_mounts(seat, is_file));
    }
    injection.gids.extend(device_nodes::gids(&injection.nodes));
    namespaces::fit(&mut injection, facts, paths)?;
    Ok(injection)
}

/// The variables that tell a container about its devices and limit its shares. If a vendor's
/// runtime gives all granted devices, it has variables of its own.
pub(super) fn environment(ask: &Ask, launch: &Launch<'_>, lease: &Lease) -> Environment {
    let (asked, present) = (&ask.asked, &ask.spec.facts.env);
    // Devices that the engine injected are leased as they are, and so is their environment.
    if asked.request.source == RequestSource::Injected {
        return Environment::new();
    }
    let node = &asked.inventory.node;
    let devices: Vec<&Device> = lease.devices.iter().filter_map(|d| node.device(&d.uuid)).collect();
    let capabilities = asked.request.capabilities.as_deref();
    let mut env = match launch.vendor {
        Some(vendor) if devices.iter().all(|device| device.vendor == vendor) => {
            injection::chained(vendor, &devices, capabilities, present)
        }
        _ => injection::visibility(&devices, capabilities, present),
    };
    env.extend(injection::limits(lease, &devices, present));
    env
}
