//! All edits of a spec. There are no others.

use crate::model::spelled::spelled;
use std::collections::BTreeMap;

/// The prefix of the annotations that we set. A user's own keys with this prefix are removed.
pub const GRANTED_PREFIX: &str = "gpulease.granted/";

/// A device node with its numbers, ready for a spec (runtime-spec, config-linux.md, "Devices").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedNode {
    /// Path in the container.
    pub path: String,
    /// Major number, read from the host for this start, or simulated.
    pub major: u32,
    pub minor: u32,
    /// Permission bits, e.g. 0o660.
    pub file_mode: u32,
    /// Owner in the container; `None` if the container has no such user.
    pub uid: Option<u32>,
    /// Group in the container. It is the host's group, so that group access works in the container;
    /// `None` if the container has no such group.
    pub gid: Option<u32>,
    /// The access that the device cgroup grants: letters of `rw`. If it is empty, there is no rule.
    pub access: String,
}

/// A mount that is already in the spec (config.md, "Mounts").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecMount {
    /// Path in the container; empty if the spec has none.
    pub destination: String,
    /// The source of a bind mount. For other mounts it is a word without meaning.
    pub source: String,
    /// Whether it is a bind mount.
    pub bind: bool,
    /// Whether it is a cgroup file system.
    pub cgroups: bool,
    /// It is read-only, but not the mounts inside it.
    pub read_only: bool,
    /// It is read-only together with the mounts inside it.
    pub all_read_only: bool,
    /// It is a file system with the host's device nodes.
    pub devices: bool,
    /// Nodes in it open no device, but nodes in the mounts inside it may.
    pub closes_devices: bool,
    /// Nodes in it and in the mounts inside it open no device.
    pub closes_all_devices: bool,
}

/// The access of a granted node, unless less is configured: see `fragments::rule`.
pub const READ_WRITE: &str = "rw";

/// A GPU node of this host that is not granted. It is removed from a spec that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNode {
    /// Path on the host.
    pub path: String,
    /// Its numbers, if the node exists.
    pub numbers: Option<(u32, u32)>,
}

spelled! {
    /// Hook stages (runtime-spec, config.md, "POSIX-platform Hooks"). Our own hooks use two of
    /// them; CDI specs may use all.
    pub enum HookStage {
        /// The older name of `CreateRuntime` in the specification.
        Prestart = "prestart",
        /// On the host, after the container's process exists and before it runs user code.
        CreateRuntime = "createRuntime",
        /// In the container's namespaces, before the container's root becomes the root directory.
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
    /// The hook's whole environment. Without this key the hook would get the runtime's, or, worse,
    /// the container's.
    pub env: Vec<String>,
    /// Seconds after which the runtime kills the hook; `None` for no limit.
    pub timeout: Option<u32>,
}

/// A mount to add (runtime-spec, config.md, "Mounts").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Absolute path on the host, or a word such as `tmpfs` for a file system without a source.
    pub source: String,
    /// Absolute path in the container. Earlier mounts at this path remain below it; later mounts
    /// inside it remain visible.
    pub destination: String,
    /// `bind`, or a type of file system.
    pub kind: String,
    /// Options, spelled as for mount(8).
    pub options: Vec<String>,
}

/// All edits of one start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injection {
    /// Nodes to add, each with a device-cgroup rule.
    pub nodes: Vec<ResolvedNode>,
    /// Groups that the container's user needs for these nodes.
    pub gids: Vec<u32>,
    /// Environment variables: a value replaces all earlier ones, `None` removes them.
    pub env: BTreeMap<String, Option<String>>,
    /// Mounts to add, parents before children.
    pub mounts: Vec<MountEntry>,
    /// Paths that the container must not read, for instance the procfs entries of other GPUs
    /// (config-linux.md, "Masked Paths").
    pub masked: Vec<String>,
    /// Annotations to set, all under `gpulease.granted/`.
    pub annotations: BTreeMap<String, String>,
    pub hooks: Vec<HookEntry>,
    /// GPU nodes to remove, with the rules that allow exactly them.
    pub hidden_nodes: Vec<HostNode>,
}
