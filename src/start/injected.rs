//! Treats GPUs that the engine has put into the spec (`docker run --gpus`, CDI, a device plugin) as
//! a request for exactly those devices.

use crate::allocator::{self, Snapshot};
use crate::failure::Failure;
use crate::injection::{Access, Facts, VendorHooks};
use crate::model::device::{Device, Node, PciAddress, Vendor};
use crate::model::order;
use crate::model::text::shown;
use crate::model::variables::{CUDA_VERSION, NVIDIA_REQUIRE_CUDA, NVIDIA_VISIBLE};
use crate::paths::Paths;
use crate::request::{self, Count, Input, MigChoice, Policy, Request, RequestSource, Selector};
use crate::start::policy::denied;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The request that follows from the spec's own GPUs and the vendor's hook. Devices outside of the
/// inventory cannot be leased, so they make no request.
pub(super) fn request(
    facts: &Facts,
    access: &Access,
    node: &Node,
    policy: &Policy,
    paths: &Paths,
) -> Result<Option<Request>, Failure> {
    let has_nvidia = node.devices.iter().any(|device| device.vendor == Vendor::Nvidia);
    let hooks = if has_nvidia { &facts.vendor_hooks } else { &VendorHooks::default() };
    if let Some(words) = &hooks.unclear {
        return Err(unclear(words));
    }
    let by_hook = if hooks.by_variables { by_hook(facts, policy)? } else { None };
    let asked = by_hook.iter().flat_map(|request| &request.devices);
    for selector in asked {
        match selector {
            Selector::Index(gpu) => permit_index(&gpu.to_string(), node, paths)?,
            Selector::Instance(gpu, one) => permit_index(&format!("{gpu}:{one}"), node, paths)?,
            _ => {}
        }
    }
    let found = devices(access, node, paths);
    if found.is_empty() && facts.named.is_empty() && hooks.named.is_empty() {
        return Ok(by_hook);
    }
    let mut uuids = order::set(found.iter().map(|d| d.uuid.to_string()));
    for name in facts.named.iter().chain(&hooks.named) {
        uuids.extend(by_name(name, node, paths)?);
    }
    if let Some(request) = by_hook {
        uuids.extend(named(&request, node)?);
    }
    for gpu in gpus_of_instances(&uuids, node) {
        uuids.remove(&gpu);
    }
    // `nvidia.com/gpu=none` names nothing.
    if uuids.is_empty() {
        return Ok(None);
    }
    let devices: Vec<Selector> = uuids.into_iter().map(Selector::Uuid).collect();
    let count = Count::Exactly(u32::try_from(devices.len()).unwrap_or(u32::MAX));
    let one = Request::one(policy.strategy, RequestSource::Injected);
    Ok(Some(Request { devices, count, mig: MigChoice::Either, ..one }))
}

/// The GPUs of the MIG instances among these. A GPU's node beside those of an instance serves the
/// instance. Alone it means the whole GPU.
fn gpus_of_instances(uuids: &BTreeSet<String>, node: &Node) -> Vec<String> {
    let named = node.devices.iter().filter(|device| uuids.contains(device.uuid.as_str()));
    let instances = named.filter_map(Device::instance);
    instances.map(|instance| instance.parent.to_string()).collect()
}

/// The UUIDs of the devices that a request names: those that it would get on an idle node.
fn named(request: &Request, node: &Node) -> Result<Vec<String>, Failure> {
    let grant = allocator::grant(&Snapshot::idle(node), request).map_err(Failure::from)?;
    Ok(grant.devices.iter().map(|device| device.uuid.to_string()).collect())
}

/// The devices that the container's mounts bring. They cannot be removed.
pub(super) fn mounted<'a>(facts: &Facts, node: &'a Node, paths: &Paths) -> Vec<&'a Device> {
    let nodes = super::mounted::nodes(&Access::of(facts).mounts, paths);
    devices(&Access { nodes, ..Access::default() }, node, paths)
}

/// The devices of the inventory whose nodes, or display nodes, the container can open.
fn devices<'a>(access: &Access, node: &'a Node, paths: &Paths) -> Vec<&'a Device> {
    let is_there = |device: &&Device| {
        let card = device.card_node();
        let mut own = device.nodes.iter().chain(&card);
        own.any(|own| access.opens(&own.path, super::device_nodes::numbers(own, paths)))
    };
    node.devices.iter().filter(is_there).collect()
}

/// For a hook that runs NVIDIA's command with arguments that cannot be parsed.
fn unclear(words: &str) -> Failure {
    let text = format!(
        "a hook of the container runs NVIDIA's tools, and it is unclear which GPUs it gives: `{}`",
        shown(words)
    );
    denied(
        text,
        "let the hook run `nvidia-container-cli … configure --device=LIST …` and nothing \
                  else",
    )
}

/// The devices that a name means for NVIDIA's runtime and its command: an index among NVIDIA's
/// GPUs, `GPU:INSTANCE`, a UUID, a PCI address, or `all`. A qualified CDI name has the kind before
/// it.
fn by_name(name: &str, node: &Node, paths: &Paths) -> Result<Vec<String>, Failure> {
    let short = name.rsplit_once('=').map_or(name, |(_, device)| device);
    let address = PciAddress::parse(short);
    let is_index = short.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    if is_index && address.is_none() {
        permit_index(short, node, paths)?;
    }
    let mut gpus = 0..;
    let mut gpu = 0;
    let mut found = Vec::new();
    for device in node.devices.iter().filter(|device| device.vendor == Vendor::Nvidia) {
        let index = match device.instance() {
            Some(instance) => format!("{gpu}:{}", instance.index),
            None => {
                gpu = gpus.next().unwrap_or_default();
                gpu.to_string()
            }
        };
        // All devices of a GPU in MIG mode are its instances.
        let by_all = short.eq_ignore_ascii_case("all") && !device.is_in_mig_mode();
        let by_address = address == Some(device.pci) && device.instance().is_none();
        let by_uuid = device.uuid.as_str().eq_ignore_ascii_case(short);
        if by_all || by_address || by_uuid || short == index {
            found.push(device.uuid.to_string());
        }
    }
    if found.is_empty() && short != "none" {
        let text = format!(
            "the container asks NVIDIA's runtime for `{}`, which the inventory does not have",
            shown(name)
        );
        return Err(denied(text, "`gpulease devices` lists the node's devices"));
    }
    Ok(found)
}

/// Refuses an index that could mean different GPUs. The inventory and NVIDIA's tools agree on
/// indices only if the inventory has each of NVIDIA's GPUs. Without a driver there is no GPU to
/// count, and without a real GPU of NVIDIA's in the inventory, none of its devices can be meant.
fn permit_index(index: &str, node: &Node, paths: &Paths) -> Result<(), Failure> {
    let ours = node.devices.iter().filter(|device| {
        device.vendor == Vendor::Nvidia && !device.simulated && device.instance().is_none()
    });
    let ours = ours.count();
    let theirs = fs::read_dir(paths.proc.join("driver/nvidia/gpus")).map_or(0, Iterator::count);
    if theirs == 0 || ours == 0 || theirs == ours {
        return Ok(());
    }
    let text = format!(
        "the container asks NVIDIA's tools for GPU `{}` by its index, but they count GPUs that the \
         inventory does not have",
        shown(index)
    );
    Err(denied(text, "name the GPU by its UUID, or list every GPU in the devices file"))
}

/// NVIDIA's prestart hook injects the devices of `NVIDIA_VISIBLE_DEVICES`. If the variable is not
/// set, it injects all devices into an image that is older than the variable: one with
/// `CUDA_VERSION` and without any `NVIDIA_REQUIRE_CUDA` (nvidia-container-toolkit,
/// internal/config/image).
fn by_hook(facts: &Facts, policy: &Policy) -> Result<Option<Request>, Failure> {
    let has = |name: &str| facts.env.iter().any(|(key, _)| key == name);
    let mut env = facts.env.clone();
    if !has(NVIDIA_VISIBLE) && has(CUDA_VERSION) && !has(NVIDIA_REQUIRE_CUDA) {
        env.push((NVIDIA_VISIBLE.into(), "all".into()));
    }
    let admitted = Policy { accept_env: vec![NVIDIA_VISIBLE.into()], ..policy.clone() };
    let none = BTreeMap::new();
    let input = Input { annotations: &none, env: &env, container_name: None };
    let request = request::parse(&input, &admitted)?;
    Ok(request.map(|request| Request { source: RequestSource::Injected, ..request }))
}
