//! The edits that exist. There are no others.

use crate::model::spelled::spelled;
use std::collections::BTreeMap;

/// What we write into a container's annotations is under this prefix; a user's own
/// such keys are stripped.
pub const GRANTED_PREFIX: &str = "gpulease.granted/";

/// A device node with its numbers, ready to go into a spec
/// (runtime-spec, config-linux.md, "Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedNode {
    /// Path in the container.
    pub path: String,
    /// Major number, read from the host now (or the simulated one).
    pub major: u32,
    pub minor: u32,
    /// Permission bits, e.g. 0o660.
    pub file_mode: u32,
    /// Owning user in the container; null where that has no such user.
    pub uid: Option<u32>,
    /// Owning group in the container: the host's, so that group access carries over; null where the
    /// container has no such group.
    pub gid: Option<u32>,
    /// What the device cgroup is to allow: letters of `rw`. Without any there is no rule.
    pub access: String,
}

/// A mount that is already in the spec (config.md, "Mounts").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecMount {
    /// Path in the container; empty where the spec has none.
    pub destination: String,
    /// Where what it shows lies; a word of no meaning where that is made for it.
    pub source: String,
    /// Whether it shows a file or directory that lies somewhere else.
    pub bind: bool,
    /// Whether it shows control groups, by a mount of their own.
    pub cgroups: bool,
    /// Nothing can be written in it, except below what else is mounted in it.
    pub read_only: bool,
    /// Nothing can be written below that either.
    pub all_read_only: bool,
    /// It is a file system of the host's device nodes.
    pub devices: bool,
    /// No device can be opened by a node in it, except below what else is mounted in it.
    pub closes_devices: bool,
    /// None below that either.
    pub closes_all_devices: bool,
}

/// What a granted node may be used for, unless somebody wants less: see `fragments::rule`.
pub const READ_WRITE: &str = "rw";

/// A GPU node of this host that is not granted: it is taken out of a spec that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNode {
    /// Path on the host.
    pub path: String,
    /// Its numbers where the node exists.
    pub numbers: Option<(u32, u32)>,
}

spelled! {
    /// Hook stages (runtime-spec, config.md, "POSIX-platform Hooks"). Our own hooks are at two of them;
    /// CDI specs may use all.
    pub enum HookStage {
        /// As `CreateRuntime`, in the words of older versions of the specification.
        Prestart = "prestart",
        /// On the host, after the container's process exists and before it runs user code.
        CreateRuntime = "createRuntime",
        /// In the container's namespaces, before its root becomes the root.
        CreateContainer = "createContainer",
        /// In the container, before its program starts.
        StartContainer = "startContainer",
        /// On the host, after the container's program has started.
        Poststart = "poststart",
        /// After the container is deleted.
        Poststop = "poststop",
    }
}

/// A hook to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEntry {
    pub stage: HookStage,
    pub path: String,
    /// Arguments, beginning with `argv[0]`.
    pub args: Vec<String>,
    /// The hook's whole environment: without this key it would get the runtime's
    /// or, worse, the container's.
    pub env: Vec<String>,
    /// Seconds after which the runtime kills it; null where it may take its time.
    pub timeout: Option<u32>,
}

/// A mount to add (runtime-spec, config.md, "Mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Absolute path on the host; a word such as `tmpfs` for a file system of its own.
    pub source: String,
    /// Absolute path in the container. What is mounted there already stays: this one lies over it,
    /// but under what is mounted below it.
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
    /// Mounts to add, parents before children.
    pub mounts: Vec<MountEntry>,
    /// Paths that the container must not read, such as what procfs shows of other
    /// GPUs (config-linux.md, "Masked Paths").
    pub masked: Vec<String>,
    /// Annotations to set, all under `gpulease.granted/`.
    pub annotations: BTreeMap<String, String>,
    pub hooks: Vec<HookEntry>,
    /// GPU nodes to take out, with the rules that allow exactly them.
    pub hidden_nodes: Vec<HostNode>,
}
