//! The edits that exist. There are no others.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What we write into a container's annotations is under this prefix; a user's own such keys are
/// stripped.
pub const GRANTED_PREFIX: &str = "gpulease.granted/";

/// A device node with its numbers, ready to go into a spec (runtime-spec, config-linux.md,
/// "Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedNode {
    /// Path in the container.
    pub path: String,
    /// Major number, read from the host now (or the simulated one).
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits, e.g. 0o660.
    pub file_mode: u32,
    /// Owning user in the container.
    pub uid: u32,
    /// Owning group in the container: the host's, so that group access carries over.
    pub gid: u32,
}

/// A mount that is already in the spec (config.md, "Mounts").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecMount {
    /// Path in the container; empty where the spec has none.
    pub destination: String,
    /// Whether it shows a file or directory that lies somewhere else.
    pub bind: bool,
}

/// A GPU node of this host that is not granted: it is taken out of a spec that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNode {
    /// Path on the host.
    pub path: String,
    /// Its numbers where the node exists.
    pub numbers: Option<(u32, u32)>,
}

/// Hook stages that we use (runtime-spec, config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookStage {
    /// On the host, after the container's process exists and before it runs user code.
    CreateRuntime,
    /// After the container is deleted.
    Poststop,
}

impl HookStage {
    /// The stage's key in the spec's `hooks` object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::Poststop => "poststop",
        }
    }
}

/// A hook to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEntry {
    /// When.
    pub stage: HookStage,
    /// Absolute path.
    pub path: String,
    /// Arguments, beginning with `argv[0]`.
    pub args: Vec<String>,
    /// The hook's whole environment: without this key it would get the runtime's or, worse, the
    /// container's.
    pub env: Vec<String>,
    /// Seconds after which the runtime kills it.
    pub timeout: u32,
}

/// A mount to append (runtime-spec, config.md, "Mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Absolute path on the host; a word such as `tmpfs` for a file system of its own.
    pub source: String,
    /// Absolute path in the container. What is mounted there already stays: this one lies over it.
    pub destination: String,
    /// `bind`, or a kind of file system.
    pub kind: String,
    /// Options in the spelling of mount(8).
    pub options: Vec<String>,
}

/// All edits of one start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injection {
    /// Nodes to add, each with a device-cgroup rule of its own.
    pub nodes: Vec<ResolvedNode>,
    /// Groups that the container's user needs for those nodes.
    pub gids: Vec<u32>,
    /// Environment: a value replaces every earlier one, null removes.
    pub env: BTreeMap<String, Option<String>>,
    /// Mounts to append, after those of the spec.
    pub mounts: Vec<MountEntry>,
    /// Paths that the container must not read, such as what procfs shows of other GPUs
    /// (config-linux.md, "Masked Paths").
    pub masked: Vec<String>,
    /// Annotations to set, all under `gpulease.granted/`.
    pub annotations: BTreeMap<String, String>,
    /// Hooks to append.
    pub hooks: Vec<HookEntry>,
    /// GPU nodes to take out, with the rules that allow exactly them.
    pub withhold: Vec<HostNode>,
}
