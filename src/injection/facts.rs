//! What must be known of a spec before anything is decided: one fast pass, no tree.
//!
//! Every container start on the node comes through here, most of them without a request, so this
//! reader fails only where the low-level runtime could not read the file either, or where a
//! request of ours is written so that it cannot be understood.

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

/// A device node that is already in the spec (config-linux.md, "Devices"). Its path is the one
/// in the container: `--device /dev/nvidia0:/dev/x` shows the GPU only in the numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecDevice {
    /// Path in the container; empty where the spec has none.
    pub path: String,
    /// `c`, `u`, `b` or `p`; empty where the spec has none.
    pub kind: String,
    pub major: Option<i64>,
    pub minor: Option<i64>,
}

impl SpecDevice {
    /// Its numbers, if it is a character device.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        // What the spec leaves out is zero to the runtimes.
        let number = |number: Option<i64>| u32::try_from(number.unwrap_or(0)).ok();
        number(self.major).zip(number(self.minor)).filter(|_| is_character(&self.kind))
    }
}

/// Whether a device of this type is a character device: `c` or `u` (config-linux.md, "Devices").
/// crun looks at the first letter and takes all but a block device and a pipe for one; runc
/// refuses what it does not know.
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
    /// Whether it is one of ours, wherever it is installed.
    pub fn is_ours(&self) -> bool {
        file_name(&self.path) == HOOK_NAME
    }
}

/// What the shim must know of a spec.
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
    /// A rule of `linux.resources.devices` opens character devices of every
    /// driver, as for `--privileged`.
    pub privileged: bool,
    /// It has `CAP_SYS_ADMIN`, to which NVIDIA's driver gives every capability there is: with a
    /// GPU's node, all MIG instances of the GPU.
    pub system_admin: bool,
    /// It has a capability by which a process comes to the host's files or into the kernel without a
    /// mount: `CAP_DAC_READ_SEARCH` (open_by_handle_at(2)), `CAP_SYS_MODULE`, `CAP_SYS_RAWIO`.
    pub host_files: bool,
    /// It has `CAP_SYS_PTRACE`: the files of each process that it sees are
    /// open to it (proc_pid_root(5)).
    pub traces: bool,
    /// It sees the processes of a new pid namespace alone.
    pub own_pids: bool,
    /// What is mounted for it is seen in a new mount namespace alone.
    pub own_mounts: bool,
    /// What the rules of `linux.resources.devices` open.
    pub rules: Rules,
    /// It has `CAP_DAC_OVERRIDE`: it may open a file of any owner.
    pub overrides: bool,
    /// The container is in a user namespace of its own or is put into one.
    pub user_namespace: bool,
    /// Who its process is, as the container counts.
    pub user: User,
    /// What its user namespace makes of ids.
    pub users: UserNamespace,
    /// The host's id of the user that its process is: `process.user.uid`, through
    /// `linux.uidMappings` where it is put into a user namespace. `None` where that cannot be
    /// told, as of a namespace that is there already.
    pub uid: Option<u32>,
    pub cgroups_path: Option<String>,
    /// The container's name in its pod.
    pub container_name: Option<String>,
    /// This is a pod's sandbox (pause container): it gets no GPU.
    pub is_sandbox: bool,
    /// There are annotations under [`super::GRANTED_PREFIX`], by us or by somebody who pretends.
    pub granted_keys: bool,
    /// What the hooks of NVIDIA's tools give.
    pub vendor_hooks: VendorHooks,
    /// Devices that are named to a vendor's runtime in other ways than by variables and the hook.
    /// It is for the shim to look for them, where there is such a runtime.
    pub named: Vec<String>,
    /// The spec can be read in more than one way. These facts are then of the reading that merges,
    /// and hold what any part of it says.
    pub doubt: Option<Doubt>,
    /// The facts of the other readings, if there is a doubt.
    pub others: Vec<Self>,
}

impl Facts {
    /// Of a container of which nothing is known but that an engine makes it: engines close devices.
    pub fn usual() -> Self {
        Self { rules: Rules { closed: true, ..Rules::default() }, ..Self::default() }
    }

    /// What the runtimes may take the spec for: one reading, as a rule.
    pub fn readings(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.others)
    }

    /// The nonces in the arguments of our hooks: `--nonce X` or `--nonce=X`.
    /// A spec is not proof: a nonce counts only if a lease has it.
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

/// Reads the facts. Fails if no runtime takes the file for JSON, if it is not an object, or one of
/// our own annotations is not a string.
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

/// With the facts of the other readings.
fn in_doubt(text: &[u8], facts: Facts, doubt: Doubt) -> Result<Facts, DocumentError> {
    let others = [JsonReading::First, JsonReading::Last]
        .into_iter()
        .map(|reading| read(text, &Reader::new(reading))?.into_facts());
    Ok(Facts { doubt: Some(doubt), others: others.collect::<Result<_, _>>()?, ..facts })
}

/// Whether a path is that of a GPU node or of a control node of a GPU driver.
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
