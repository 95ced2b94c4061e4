//! Reads the facts of a spec that a decision needs: one fast pass, without a tree.
//!
//! Every container start on the node passes through this reader, and most have no request. So it
//! fails only if the low-level runtime cannot read the file either, or if one of our requests
//! cannot be understood.

use super::document::DocumentError;
use super::doubt::{Doubt, JsonReading, Reader, repaired};
use super::lenient::Object;
use super::rules::Rules;
use super::spec_reader::RawSpec;
use super::spec_user::{User, UserNamespace};
use super::types::SpecMount;
use super::vendor_hook::VendorHooks;
use super::{HOOK_NAME, file_name};
use crate::model::id::Nonce;
use crate::model::text::shown;
use serde::de::DeserializeSeed;
use std::collections::BTreeMap;
use std::iter;

/// A device node that is already in the spec (config-linux.md, "Devices"). Its path is the one in
/// the container: of `--device /dev/nvidia0:/dev/x`, only the numbers show that it is the GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecDevice {
    /// Path in the container; empty if the spec has none.
    pub path: String,
    /// `c`, `u`, `b` or `p`; empty if the spec has none.
    pub kind: String,
    pub major: Option<i64>,
    pub minor: Option<i64>,
}

impl SpecDevice {
    /// The numbers of a character device.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        // For the runtimes, a missing number is zero.
        let number = |number: Option<i64>| u32::try_from(number.unwrap_or(0)).ok();
        number(self.major).zip(number(self.minor)).filter(|_| is_character(&self.kind))
    }
}

/// Whether a device of this type is a character device: `c` or `u` (config-linux.md, "Devices").
/// crun looks at the first letter only, and treats all but a block device and a pipe as one; runc
/// refuses unknown types.
pub(super) fn is_character(kind: &str) -> bool {
    !kind.starts_with(['b', 'p'])
}

/// A hook that is already in the spec (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecHook {
    /// The stage's key: `createRuntime`, `poststop`, …
    pub stage: &'static str,
    /// Path of the program.
    pub path: String,
    /// Arguments, beginning with `argv[0]`.
    pub args: Vec<String>,
}

impl SpecHook {
    /// Whether it is one of our hooks, wherever it is installed.
    pub fn is_ours(&self) -> bool {
        file_name(&self.path) == HOOK_NAME
    }
}

/// The facts that the shim needs from a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// All annotations that are strings (config.md, "Annotations").
    pub annotations: BTreeMap<String, String>,
    /// `process.env`, in order, split at the first `=`; repeated names are kept.
    pub env: Vec<(String, String)>,
    /// `root.path`: the directory of the root file system, absolute or below the bundle.
    pub root: Option<String>,
    pub mounts: Vec<SpecMount>,
    pub device_paths: Vec<SpecDevice>,
    /// The hooks of all stages.
    pub hooks: Vec<SpecHook>,
    /// A rule of `linux.resources.devices` opens the character devices of every driver, as for
    /// `--privileged`.
    pub privileged: bool,
    /// The container has `CAP_SYS_ADMIN`. NVIDIA's driver gives it every MIG instance of a GPU
    /// whose node it has.
    pub system_admin: bool,
    /// The container has a capability by which a process reaches the host's files or the kernel
    /// without a mount: `CAP_DAC_READ_SEARCH` (open_by_handle_at(2)), `CAP_SYS_MODULE`,
    /// `CAP_SYS_RAWIO`.
    pub host_files: bool,
    /// The container has `CAP_SYS_PTRACE`: it can open the files of each process that it sees
    /// (proc_pid_root(5)).
    pub traces: bool,
    /// The container has a new pid namespace, so it sees only its own processes.
    pub own_pids: bool,
    /// The container has a new mount namespace, so its mounts are visible only in it.
    pub own_mounts: bool,
    /// Devices that the rules of `linux.resources.devices` open.
    pub rules: Rules,
    /// The container has `CAP_DAC_OVERRIDE`: it can open a file of any owner.
    pub overrides: bool,
    /// The container gets a user namespace of its own or joins one.
    pub user_namespace: bool,
    /// The user of the container's process, with the container's ids.
    pub user: User,
    /// How the container's user namespace maps ids.
    pub users: UserNamespace,
    /// The uid of the container's process in the host's user namespace: `process.user.uid`, mapped
    /// by `linux.uidMappings` in a user namespace. `None` if it is unknown, as in a namespace that
    /// the container joins.
    pub uid: Option<u32>,
    pub cgroups_path: Option<String>,
    /// The container's name in its pod.
    pub container_name: Option<String>,
    /// The container is a pod's sandbox (pause container), which gets no GPU.
    pub is_sandbox: bool,
    /// There are annotations under [`super::GRANTED_PREFIX`]. They are ours, or a user has forged
    /// them.
    pub granted_keys: bool,
    /// The devices that hooks of NVIDIA's tools give.
    pub vendor_hooks: VendorHooks,
    /// Devices that are named to a vendor's runtime in other ways than by variables and the hook.
    /// The shim fills this in if such a runtime is configured.
    pub named: Vec<String>,
    /// The spec can be read in several ways. These facts are then those of the merged reading,
    /// which has the values of every reading.
    pub doubt: Option<Doubt>,
    /// The facts of the other readings, if there is a doubt.
    pub others: Vec<Self>,
}

impl Facts {
    /// The facts to assume of a container whose spec is unknown: an engine closes its devices.
    pub fn usual() -> Self {
        Self { rules: Rules { closed: true, ..Rules::default() }, ..Self::default() }
    }

    /// The facts of each reading of the spec. Most specs have a single reading.
    pub fn readings(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.others)
    }

    /// The nonces in the arguments of our hooks: `--nonce X` or `--nonce=X`. A spec can be forged,
    /// so a nonce counts only if a lease has it.
    pub fn our_nonces(&self) -> Vec<Nonce> {
        let ours = self.hooks.iter().filter(|hook| hook.is_ours());
        let mut nonces = Vec::new();
        for hook in ours {
            let mut args = hook.args.iter();
            while let Some(arg) = args.next() {
                let value = match arg.strip_prefix("--nonce") {
                    Some("") => args.next().map(String::as_str),
                    Some(rest) => rest.strip_prefix('='),
                    None => None,
                };
                if let Some(nonce) = value.and_then(|value| Nonce::new(value).ok())
                    && !nonces.contains(&nonce)
                {
                    nonces.push(nonce);
                }
            }
        }
        nonces
    }
}

/// Reads the facts. Fails if no runtime accepts the file as JSON, if it is not an object, or if one
/// of our own annotations is not a string.
pub fn facts(config_json: &[u8]) -> Result<Facts, DocumentError> {
    let first = config_json.iter().find(|byte| !byte.is_ascii_whitespace());
    let reader = Reader::new(JsonReading::Merged);
    match read(config_json, &reader) {
        Ok(_) if first != Some(&b'{') => Err(DocumentError::no_object()),
        Ok(spec) => {
            let facts = spec.into_facts()?;
            match reader.into_doubt() {
                Some(doubt) => in_doubt(config_json, facts, doubt),
                None => Ok(facts),
            }
        }
        Err(error) => {
            let text = repaired(config_json);
            match read(&text, &reader) {
                Ok(spec) if text.trim_ascii_start().starts_with(b"{") => {
                    in_doubt(&text, spec.into_facts()?, Doubt::NotJson(shown(&error.to_string())))
                }
                _ => Err(error.into()),
            }
        }
    }
}

fn read(text: &[u8], reader: &Reader) -> Result<RawSpec, serde_json::Error> {
    let mut spec = RawSpec::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Object { into: &mut spec, reader }.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| spec)
}

/// Adds the doubt and the facts of the other readings.
fn in_doubt(text: &[u8], facts: Facts, doubt: Doubt) -> Result<Facts, DocumentError> {
    let others = [JsonReading::First, JsonReading::Last]
        .into_iter()
        .map(|reading| read(text, &Reader::new(reading))?.into_facts());
    Ok(Facts { doubt: Some(doubt), others: others.collect::<Result<_, _>>()?, ..facts })
}

/// Whether the path is that of a GPU's node or of a GPU driver's control node.
pub fn is_gpu_node_path(path: &str) -> bool {
    let numbered = |name: &str, prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let Some(name) = path.strip_prefix("/dev/") else { return false };
    match name {
        "nvidiactl" | "nvidia-uvm" | "nvidia-uvm-tools" | "nvidia-modeset" | "kfd" => true,
        _ => match name.split_once('/') {
            None => numbered(name, "nvidia"),
            Some(("nvidia-caps", cap)) => !cap.is_empty(),
            Some(("dri", node)) => numbered(node, "card") || numbered(node, "renderD"),
            Some(_) => false,
        },
    }
}

#[cfg(test)]
mod doubt_tests;
#[cfg(test)]
mod tests;
