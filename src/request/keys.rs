//! The one table of request keys. The parser, `--help`, the man page and the README all read it, so
//! they document exactly the accepted keys.

/// The prefix of all native keys.
pub const PREFIX: &str = "gpulease/";

/// The prefix of all native environment variables.
pub const ENV_PREFIX: &str = "GPULEASE_";

/// Identifies a key for the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyId {
    Count,
    Devices,
    Vendor,
    Model,
    Compute,
    Memory,
    MinMemory,
    Sharing,
    Isolation,
    Enforcement,
    MigProfile,
    Strategy,
    Topology,
    Priority,
    Wait,
    Ttl,
    Workload,
    Capabilities,
    Lease,
}

/// The values that this version supports. Other valid values are recognised and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Full,
    /// All values except these, in canonical spelling.
    Except(&'static [&'static str]),
    /// Only these, in canonical spelling; none if empty.
    Only(&'static [&'static str]),
}

impl Support {
    /// Whether a value in canonical spelling is supported.
    pub fn admits(self, canonical: &str) -> bool {
        match self {
            Self::Full => true,
            Self::Except(values) => !values.contains(&canonical),
            Self::Only(values) => values.contains(&canonical),
        }
    }

    /// A note for the documentation; `None` if all values are supported.
    pub fn note(self) -> Option<String> {
        match self {
            Self::Full => None,
            Self::Except(values) => Some(format!("not supported yet: {}", quoted(values))),
            Self::Only([]) => Some("not supported yet".to_owned()),
            Self::Only(values) => Some(format!("only {} is supported yet", quoted(values))),
        }
    }
}

fn quoted(values: &[&str]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
}

/// Another project's name for a key, with that project's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    pub name: &'static str,
    /// The accepted values, in words.
    pub syntax: &'static str,
    /// A value that is accepted.
    pub example: &'static str,
}

/// One key of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub name: &'static str,
    /// The environment variable, which counts if the administrator admits `GPULEASE_*`.
    pub env: &'static str,
    /// The accepted values, in words. The message about a wrong value ends with this text.
    pub syntax: &'static str,
    /// The meaning, in one sentence without a full stop.
    pub meaning: &'static str,
    /// The value that applies if the key is absent.
    pub default: &'static str,
    /// A value that the parser accepts. A request with this key alone is complete.
    pub example: &'static str,
    /// The supported values.
    pub support: Support,
    /// Another project's name for it.
    pub alias: Option<Alias>,
}

impl Key {
    /// The name without [`PREFIX`], e.g. `count`.
    pub fn short(&self) -> &'static str {
        self.name.strip_prefix(PREFIX).unwrap_or(self.name)
    }

    /// The values that this version supports; `None` if there are too many to list.
    pub fn honoured(&self) -> Option<Vec<&'static str>> {
        // `1` to `1024` begins and ends with a backtick too.
        let value = |part: &'static str| part.strip_prefix('`')?.strip_suffix('`');
        let value = |part| value(part).filter(|value| !value.contains('`'));
        let values = self.syntax.split('|').map(value).collect::<Option<Vec<_>>>()?;
        Some(values.into_iter().filter(|value| self.support.admits(value)).collect())
    }
}

// The fields that most keys have in common.
const PLAIN: Key = Key {
    id: KeyId::Count,
    name: "",
    env: "",
    syntax: "",
    meaning: "",
    default: "any",
    example: "",
    support: Support::Full,
    alias: None,
};

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        id: KeyId::Count,
        name: "gpulease/count",
        env: "GPULEASE_COUNT",
        syntax: "`1` to `1024`, or `all`",
        meaning: "how many GPUs, or MIG instances if the request is for these; they are of one vendor unless `gpulease/devices` names them; `all` means every device that matches, of all vendors",
        default: "`1` if any other key is present",
        example: "2",
        ..PLAIN
    },
    Key {
        id: KeyId::Devices,
        name: "gpulease/devices",
        env: "GPULEASE_DEVICES",
        syntax: "a comma-separated list of indices (`0`), MIG instances (`0:1`), UUIDs or \
                 their beginnings (`GPU-5f1c`, `MIG-09ab`), PCI addresses (`0000:1b:00.0`), `cardN` or `renderDN`",
        meaning: "only these devices: all of them, or with `count` that many of them; in a request for MIG instances, a GPU stands for its instances",
        example: "0,GPU-5f1c09ab",
        ..PLAIN
    },
    Key {
        id: KeyId::Vendor,
        name: "gpulease/vendor",
        env: "GPULEASE_VENDOR",
        syntax: "`nvidia`|`amd`|`intel`",
        meaning: "only devices of this vendor",
        example: "amd",
        ..PLAIN
    },
    Key {
        id: KeyId::Model,
        name: "gpulease/model",
        env: "GPULEASE_MODEL",
        syntax: "up to 128 printable characters",
        meaning: "only models that contain this text, in any case; with `*` or `?` it is a glob for the whole name, as `*L40*`",
        example: "H100",
        ..PLAIN
    },
    Key {
        id: KeyId::Compute,
        name: "gpulease/compute",
        env: "GPULEASE_COMPUTE",
        syntax: "0.1 to 1 of a device in steps of 0.001, as `0.5`, `50%` or `500m`",
        meaning: "the share of each device's compute",
        default: "the whole device",
        example: "0.5",
        alias: Some(Alias {
            name: "kaiwo.ai/gpu-fraction",
            syntax: "`0.1` to `1.0` in steps of 0.001",
            example: "0.5",
        }),
        ..PLAIN
    },
    Key {
        id: KeyId::Memory,
        name: "gpulease/memory",
        env: "GPULEASE_MEMORY",
        syntax: "a whole number of MiB, or a quantity with Ki, Mi, Gi, Ti, k, M, G or T, above 0",
        meaning: "the share of each device's memory; alone, compute follows in proportion",
        default: "in proportion to compute",
        example: "8Gi",
        alias: Some(Alias {
            name: "kaiwo.ai/gpu-memory",
            syntax: "a whole number of MiB above 0",
            example: "4000",
        }),
        ..PLAIN
    },
    Key {
        id: KeyId::MinMemory,
        name: "gpulease/min-memory",
        env: "GPULEASE_MIN_MEMORY",
        syntax: "a whole number of MiB, or a quantity with Ki, Mi, Gi, Ti, k, M, G or T, above 0",
        meaning: "only devices with at least this much memory in total",
        example: "40Gi",
        ..PLAIN
    },
    Key {
        id: KeyId::Sharing,
        name: "gpulease/sharing",
        env: "GPULEASE_SHARING",
        syntax: "`exclusive`|`shared`",
        meaning: "whether other leases may have the rest of the device; `shared` needs a share",
        default: "`exclusive` for a whole device, `shared` for a share",
        example: "exclusive",
        alias: Some(Alias {
            name: "kaiwo.ai/gpu-sharing",
            syntax: "`true`|`false`",
            example: "false",
        }),
        ..PLAIN
    },
    Key {
        id: KeyId::Isolation,
        name: "gpulease/isolation",
        env: "GPULEASE_ISOLATION",
        syntax: "`none`|`time-slicing`|`mps`|`mig`|`partition`|`cu-mask`|`auto`",
        meaning: "how a share is enforced, if the node can do it; the lease says which isolation it has; `mig` requests whole MIG instances",
        default: "`auto`",
        example: "mps",
        alias: Some(Alias {
            name: "kaiwo.ai/gpu-isolation",
            syntax: "`none`|`time-slicing`|`mps`|`mig`",
            example: "mps",
        }),
        ..PLAIN
    },
    Key {
        id: KeyId::Enforcement,
        name: "gpulease/enforcement",
        env: "GPULEASE_ENFORCEMENT",
        syntax: "`required`|`preferred`",
        meaning: "`required` refuses the request if the workload could undo a limit of compute or memory that it names; the lease says who enforces each limit",
        default: "`preferred`",
        example: "preferred",
        ..PLAIN
    },
    Key {
        id: KeyId::MigProfile,
        name: "gpulease/mig-profile",
        env: "GPULEASE_MIG_PROFILE",
        syntax: "a MIG profile like `1g.10gb` or `1g.10gb+me`",
        meaning: "only MIG instances of this profile, each of them whole",
        default: "none",
        example: "1g.10gb",
        ..PLAIN
    },
    Key {
        id: KeyId::Strategy,
        name: "gpulease/strategy",
        env: "GPULEASE_STRATEGY",
        syntax: "`first-fit`|`best-fit`|`worst-fit`|`round-robin`|`load-balanced`",
        meaning: "how to choose among the devices that fit; `minimize_fragmentation` means `best-fit`, \
                  `distributed_small_instances` means `worst-fit`",
        default: "`best-fit`, or the configuration's `policy.strategy`",
        example: "best-fit",
        support: Support::Except(&[
            "round-robin",
            "load-balanced",
            "single_large_instance",
            "hybrid_dynamic",
        ]),
        ..PLAIN
    },
    Key {
        id: KeyId::Topology,
        name: "gpulease/topology",
        env: "GPULEASE_TOPOLOGY",
        syntax: "`none`|`preferred`|`required`",
        meaning: "how much the links between the devices of a set matter",
        default: "`preferred`",
        example: "none",
        support: Support::Except(&["required"]),
        ..PLAIN
    },
    Key {
        id: KeyId::Priority,
        name: "gpulease/priority",
        env: "GPULEASE_PRIORITY",
        syntax: "a whole number from 0 to 4294967295, or `low` (1), `normal` (5), `high` (10), \
                 `urgent` (15)",
        meaning: "recorded in the lease, without effect: there is no queue",
        default: "`5`",
        example: "high",
        ..PLAIN
    },
    Key {
        id: KeyId::Wait,
        name: "gpulease/wait",
        env: "GPULEASE_WAIT",
        syntax: "a duration like `30s`, or `0`",
        meaning: "how long to wait for devices; with `0` the start fails at once",
        default: "`0`",
        example: "0",
        support: Support::Only(&["0"]),
        ..PLAIN
    },
    Key {
        id: KeyId::Ttl,
        name: "gpulease/ttl",
        env: "GPULEASE_TTL",
        syntax: "a duration like `8h`, above 0",
        meaning: "after this long the lease is marked as expired",
        default: "none",
        example: "8h",
        support: Support::Only(&[]),
        ..PLAIN
    },
    Key {
        id: KeyId::Workload,
        name: "gpulease/workload",
        env: "GPULEASE_WORKLOAD",
        syntax: "`training`|`inference`|`embedding`|`ocr`|`graph_processing`|`generic`",
        meaning: "the kind of work, for reports",
        default: "none",
        example: "training",
        ..PLAIN
    },
    Key {
        id: KeyId::Capabilities,
        name: "gpulease/capabilities",
        env: "GPULEASE_CAPABILITIES",
        syntax: "a comma-separated list of `compute`, `utility`, `graphics`, `video`, `display`, \
                 `all`; or `none`",
        meaning: "the features of NVIDIA's driver whose files are put into the container, and the \
                  value of `NVIDIA_DRIVER_CAPABILITIES` there; with `none` there are device nodes \
                  and no files",
        default: "the container's own value, or `compute,utility`",
        example: "compute,utility",
        ..PLAIN
    },
    Key {
        id: KeyId::Lease,
        name: "gpulease/lease",
        env: "GPULEASE_LEASE",
        syntax: "the token that was printed when the lease was made",
        meaning: "take over, once, a lease that was made by hand",
        default: "none",
        example: "5f1c09ab77de4b1e8c5d2f3a9b6e7c10",
        support: Support::Only(&[]),
        ..PLAIN
    },
];

/// The native key with this short name, e.g. `count`.
pub fn by_short_name(short: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.short() == short)
}

/// The native key with this environment spelling.
pub fn by_env(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.env == name)
}

/// The key that another project calls by this full name.
pub fn by_alias(name: &str) -> Option<(&'static Key, &'static Alias)> {
    KEYS.iter()
        .filter_map(|key| key.alias.as_ref().map(|alias| (key, alias)))
        .find(|(_, alias)| alias.name == name)
}
