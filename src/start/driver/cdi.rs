//! Applies the edits of the host's CDI specs for the granted devices. A spec adds files, hooks and
//! variables, and never a GPU that is not granted.

use crate::failure::Failure;
use crate::injection::{HookEntry, Injection, MountEntry, READ_WRITE, ResolvedNode};
use crate::inventory::Inventory;
use crate::model::cdi::{Cdi, ContainerEdits, EditHook, EditMount, EditNode};
use crate::model::code::Code;
use crate::model::lease::Lease;
use crate::model::text::shown;
use crate::model::variables;
use crate::paths::Paths;
use crate::start::device_nodes;
use crate::sys::char_drivers::numbers;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Variables that select a container's devices. gpulease sets them, and no spec changes them:
/// NVIDIA's specs have `NVIDIA_VISIBLE_DEVICES=void` for NVIDIA's runtime, which is not used here.
const OURS: &[&str] = &[
    variables::NVIDIA_VISIBLE,
    variables::NVIDIA_CAPABILITIES,
    variables::CUDA_VISIBLE,
    variables::CUDA_ORDER,
    variables::AMD_VISIBLE,
    variables::HIP_VISIBLE,
    variables::ROCR_VISIBLE,
    variables::GPU_ORDINAL,
    variables::LEVEL_ZERO_MASK,
    crate::model::variables::SIMULATED,
];

/// The environment of a hook whose spec has none. Without `env`, low-level runtimes give a hook
/// their own environment or the container's.
const HOOK_ENV: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Adds the edits of the leased devices, in the order of the lease: first, once, those of the spec,
/// then those of the device. Fails if no spec has one of the devices, or if a spec brings a GPU
/// that is not granted.
pub(super) fn add(
    injection: &mut Injection,
    inventory: &Inventory,
    lease: &Lease,
    paths: &Paths,
) -> Result<(), Failure> {
    let guard = Guard::new(inventory, lease, paths);
    for (from, edits) in edits(&inventory.cdi, lease)? {
        let wrap = |what: String| fault(format!("the CDI spec `{}` {what}", shown(from)));
        add_env(injection, edits, &wrap)?;
        for node in &edits.device_nodes {
            add_node(injection, node, &guard, &wrap)?;
        }
        injection.mounts.extend(edits.mounts.iter().map(mount));
        for edit in &edits.hooks {
            injection.hooks.push(hook(edit, &wrap)?);
        }
        injection.gids.extend(&edits.additional_gids);
    }
    Ok(())
}

/// The edits of a lease, each with its file.
fn edits<'a>(cdi: &'a Cdi, lease: &Lease) -> Result<Vec<(&'a str, &'a ContainerEdits)>, Failure> {
    let mut all = Vec::new();
    let mut done = Vec::new();
    for leased in &lease.devices {
        let named = cdi.device(&leased.uuid).and_then(|device| {
            let spec = cdi.specs.get(device.spec)?;
            Some((device, spec))
        });
        let Some((device, spec)) = named else {
            let text = format!(
                "`driver` is `cdi`, and no CDI spec in /etc/cdi or /var/run/cdi names the granted \
                 device {}",
                leased.uuid
            );
            return Err(Failure::new(Code::BadInventory, text).hint(
                "run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` or `amd-ctk cdi \
                 generate`, or set `driver` to another mode; `gpulease cdi list` shows what the \
                 specs name",
            ));
        };
        if !done.contains(&device.spec) {
            done.push(device.spec);
            all.push((spec.path.as_str(), &spec.edits));
        }
        all.push((spec.path.as_str(), &device.edits));
    }
    Ok(all)
}

fn fault(text: String) -> Failure {
    Failure::new(Code::BadInventory, text)
        .hint("write the spec anew by the vendor's tool, or set `driver` to another mode")
}

fn add_env(
    injection: &mut Injection,
    edits: &ContainerEdits,
    wrap: &dyn Fn(String) -> Failure,
) -> Result<(), Failure> {
    for variable in &edits.env {
        let Some((name, value)) = variable.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            return Err(wrap(format!("sets a variable `{}` without a name", shown(variable))));
        };
        // The last one counts, since each replaces the one before it.
        if !OURS.contains(&name) {
            injection.env.insert(name.to_owned(), Some(value.to_owned()));
        }
    }
    Ok(())
}

/// The GPU nodes of the inventory that a spec must not bring.
struct Guard<'a> {
    others: Vec<crate::injection::HostNode>,
    paths: &'a Paths,
}

impl<'a> Guard<'a> {
    fn new(inventory: &Inventory, lease: &Lease, paths: &'a Paths) -> Self {
        let node = &inventory.node;
        let control = node.control.iter().flat_map(|control| &control.nodes);
        let leased = lease.devices.iter().filter_map(|leased| node.device(&leased.uuid));
        let allowed = leased.flat_map(|device| node.nodes_of(device)).chain(control);
        let allowed: Vec<&str> = allowed.map(|node| node.path.as_str()).collect();
        Self { others: device_nodes::hidden_but(node, &allowed, paths), paths }
    }

    fn refuses(&self, node: &EditNode, numbers: (u32, u32)) -> bool {
        self.others.iter().any(|other| {
            other.path == node.path
                || other.path == node.on_host()
                || other.numbers == Some(numbers)
        })
    }
}

/// Adds a node. A granted node at the same path stays, with the access that the spec allows.
fn add_node(
    injection: &mut Injection,
    edit: &EditNode,
    guard: &Guard<'_>,
    wrap: &dyn Fn(String) -> Failure,
) -> Result<(), Failure> {
    let path = shown(&edit.path);
    if let Some(kind) = edit.kind.as_deref().filter(|kind| !matches!(*kind, "" | "c" | "u")) {
        return Err(wrap(format!(
            "has `{path}` of the type `{}`, which is not a character device",
            shown(kind)
        )));
    }
    let resolved = resolve(edit, guard.paths)
        .map_err(|what| wrap(format!("has the device node `{path}`, which {what}")))?;
    if guard.refuses(edit, (resolved.major, resolved.minor)) {
        return Err(wrap(format!(
            "brings `{path}`, the node of a GPU that is not granted, with one that is"
        )));
    }
    match injection.nodes.iter_mut().find(|node| node.path == resolved.path) {
        Some(own) if (own.major, own.minor) != (resolved.major, resolved.minor) => {
            return Err(wrap(format!(
                "gives `{path}` the number {}:{}, and the granted node has {}:{}",
                resolved.major, resolved.minor, own.major, own.minor
            )));
        }
        Some(own) => own.access = resolved.access,
        None => {
            injection.gids.extend(device_nodes::gids(std::slice::from_ref(&resolved)));
            injection.nodes.push(resolved);
        }
    }
    Ok(())
}

/// The node, with the host's numbers, owner and mode where the spec has none.
fn resolve(edit: &EditNode, paths: &Paths) -> Result<ResolvedNode, String> {
    let metadata = fs::metadata(paths.node(edit.on_host()));
    let here = metadata.as_ref().ok().and_then(numbers);
    let device = metadata.as_ref().ok().filter(|_| here.is_some());
    // The spec may be older than the loading of the driver.
    if let (Some(said), Some(here)) = (edit.numbers(), here)
        && said != here
    {
        return Err(format!(
            "has the number {}:{} there, and {}:{} on this host",
            said.0, said.1, here.0, here.1
        ));
    }
    let numbers = match (edit.numbers().or(here), &metadata) {
        (Some(numbers), _) => numbers,
        (None, Ok(_)) => return Err("is not a character device on the host".to_owned()),
        (None, Err(error)) => return Err(format!("cannot be used: {error}")),
    };
    Ok(ResolvedNode {
        path: edit.path.clone(),
        major: numbers.0,
        minor: numbers.1,
        file_mode: edit.file_mode.or(device.map(MetadataExt::mode)).unwrap_or(0o666) & 0o777,
        uid: Some(edit.uid.or(device.map(MetadataExt::uid)).unwrap_or(0)),
        gid: Some(edit.gid.or(device.map(MetadataExt::gid)).unwrap_or(0)),
        access: access(edit.permissions.as_deref().unwrap_or_default()),
    })
}

/// The access for a device rule, without `m`: nothing in a container needs to make the node.
fn access(permissions: &str) -> String {
    match permissions {
        "" => READ_WRITE.to_owned(),
        "none" => String::new(),
        letters => READ_WRITE.chars().filter(|letter| letters.contains(*letter)).collect(),
    }
}

fn mount(edit: &EditMount) -> MountEntry {
    let kind = edit.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
    let mut options = edit.options.clone();
    let is_bind = |option: &String| option == "bind" || option == "rbind";
    if kind == "bind" && !options.iter().any(is_bind) {
        options.push("rbind".to_owned());
    }
    MountEntry {
        source: edit.host_path.clone(),
        destination: edit.container_path.clone(),
        kind: kind.to_owned(),
        options,
    }
}

fn hook(edit: &EditHook, wrap: &dyn Fn(String) -> Failure) -> Result<HookEntry, Failure> {
    let no_stage =
        |()| wrap(format!("has a hook with the unknown stage `{}`", shown(&edit.hook_name)));
    let stage = edit.hook_name.parse().map_err(no_stage)?;
    if !edit.path.starts_with('/') {
        return Err(wrap(format!(
            "has a hook `{}`, which is not an absolute path",
            shown(&edit.path)
        )));
    }
    let env = if edit.env.is_empty() { vec![HOOK_ENV.to_owned()] } else { edit.env.clone() };
    Ok(HookEntry {
        stage,
        path: edit.path.clone(),
        args: edit.args.clone(),
        env,
        timeout: edit.timeout.filter(|seconds| *seconds > 0),
    })
}

#[cfg(test)]
mod tests;
