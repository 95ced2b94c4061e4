//! The options of all versions of runc and crun: `runc VERB --help`, `crun VERB --help`, and their
//! sources. It does no harm if a version lacks one of them: the runtime itself then reports an
//! error.

use super::verb::Verb;
use crate::start::lowlevel::RuntimeKind;

/// The value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None: a switch. Those of runc accept `=true` and `=false`.
    Nothing,
    /// Behind `=`, or in the next word.
    Value,
    /// Behind `=` or in the same word; it may be missing.
    Attached,
}

/// The runtimes that have an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SupportedBy {
    Both,
    Runc,
    Crun,
}
use SupportedBy::{Both, Crun, Runc};
use Takes::{Attached, Nothing, Value};

#[derive(Debug)]
pub(super) struct Opt {
    pub name: &'static str,
    pub short: &'static str,
    pub takes: Takes,
    supported_by: SupportedBy,
}

const fn opt(
    name: &'static str,
    short: &'static str,
    takes: Takes,
    supported_by: SupportedBy,
) -> Opt {
    Opt { name, short, takes, supported_by }
}

const GLOBAL: &[Opt] = &[
    opt("cgroup-manager", "", Value, Crun),
    opt("criu", "", Value, Runc),
    opt("debug", "", Nothing, Both),
    opt("log", "", Value, Both),
    opt("log-format", "", Value, Both),
    opt("log-level", "", Value, Crun),
    opt("root", "", Value, Both),
    // A synonym of `--root` in crun up to 1.21, later ignored.
    opt("rootless", "", Value, Both),
    opt("systemd-cgroup", "", Nothing, Both),
    opt("version", "v", Nothing, Runc),
    opt("version", "vV", Nothing, Crun),
];

/// Options that are valid everywhere. argp(3) adds some, two of them hidden.
const ALWAYS: &[Opt] = &[
    opt("help", "h", Nothing, Runc),
    opt("help", "?", Nothing, Crun),
    opt("usage", "", Nothing, Crun),
    opt("program-name", "", Value, Crun),
    opt("HANG", "", Attached, Crun),
];

/// The options of `create`, `run` and `restore`.
const MAKE: &[Opt] = &[
    opt("auto-dedup", "", Nothing, Runc),
    opt("bundle", "b", Value, Both),
    opt("config", "", Value, Runc),
    opt("config", "f", Value, Crun),
    opt("console-socket", "", Value, Both),
    opt("detach", "d", Nothing, Both),
    opt("empty-ns", "", Value, Runc),
    opt("ext-unix-sk", "", Nothing, Both),
    opt("file-locks", "", Nothing, Both),
    opt("image-path", "", Value, Both),
    opt("keep", "", Nothing, Both),
    opt("lazy-pages", "", Nothing, Runc),
    opt("lsm-mount-context", "", Value, Both),
    opt("lsm-profile", "", Value, Both),
    opt("manage-cgroups-mode", "", Value, Both),
    // crun's help names no value, but crun takes the next word.
    opt("network-lock", "", Value, Crun),
    opt("no-new-keyring", "", Nothing, Both),
    opt("no-pivot", "", Nothing, Both),
    opt("no-subreaper", "", Nothing, Both),
    opt("pid-file", "", Value, Both),
    opt("pidfd-socket", "", Value, Runc),
    opt("preserve-fds", "", Value, Both),
    opt("shell-job", "", Nothing, Both),
    opt("tcp-established", "", Nothing, Both),
    opt("work-path", "", Value, Both),
];

const EXEC: &[Opt] = &[
    opt("additional-gids", "g", Value, Runc),
    opt("apparmor", "", Value, Both),
    opt("cap", "c", Value, Both),
    opt("cgroup", "", Value, Both),
    opt("console-socket", "", Value, Both),
    opt("cwd", "", Value, Both),
    opt("detach", "d", Nothing, Both),
    opt("env", "e", Value, Both),
    opt("ignore-paused", "", Nothing, Runc),
    opt("no-new-privs", "", Nothing, Both),
    opt("no-subreaper", "", Nothing, Runc),
    opt("pid-file", "", Value, Both),
    opt("pidfd-socket", "", Value, Runc),
    opt("preserve-fds", "", Value, Both),
    opt("process", "p", Value, Both),
    opt("process-label", "", Value, Both),
    opt("tty", "t", Nothing, Runc),
    opt("tty", "t", Attached, Crun),
    opt("user", "u", Value, Both),
];

/// The options of `delete` and `kill`.
const END: &[Opt] = &[
    opt("all", "a", Nothing, Both),
    opt("force", "f", Nothing, Both),
    opt("regex", "r", Nothing, Crun),
];

const UPDATE: &[Opt] = &[
    opt("blkio-weight", "", Value, Both),
    opt("cpu-burst", "", Value, Runc),
    opt("cpu-idle", "", Value, Runc),
    opt("cpu-period", "", Value, Both),
    opt("cpu-quota", "", Value, Both),
    opt("cpu-rt-period", "", Value, Both),
    opt("cpu-rt-runtime", "", Value, Both),
    opt("cpu-share", "", Value, Both),
    opt("cpuset-cpus", "", Value, Both),
    opt("cpuset-mems", "", Value, Both),
    opt("kernel-memory", "", Value, Both),
    opt("kernel-memory-tcp", "", Value, Both),
    opt("l3-cache-schema", "", Value, Both),
    opt("mem-bw-schema", "", Value, Both),
    opt("memory", "", Value, Both),
    opt("memory-reservation", "", Value, Both),
    opt("memory-swap", "", Value, Both),
    opt("pids-limit", "", Value, Both),
    opt("resources", "r", Value, Both),
];

/// The options of `checkpoint`, `events`, `list`, `ps`, `spec`, and of verbs without options.
const OTHER: &[Opt] = &[
    opt("auto-dedup", "", Nothing, Runc),
    opt("bundle", "b", Value, Both),
    opt("empty-ns", "", Value, Runc),
    opt("ext-unix-sk", "", Nothing, Both),
    opt("file-locks", "", Nothing, Both),
    opt("format", "f", Value, Both),
    opt("image-path", "", Value, Both),
    opt("interval", "", Value, Runc),
    opt("lazy-pages", "", Nothing, Runc),
    opt("leave-running", "", Nothing, Both),
    opt("manage-cgroups-mode", "", Value, Both),
    opt("network-lock", "", Value, Crun),
    opt("page-server", "", Value, Runc),
    opt("parent-path", "", Value, Both),
    opt("pre-dump", "", Nothing, Both),
    opt("quiet", "q", Nothing, Both),
    opt("rootless", "", Nothing, Both),
    opt("shell-job", "", Nothing, Both),
    opt("stats", "", Nothing, Runc),
    opt("status-fd", "", Value, Runc),
    opt("tcp-established", "", Nothing, Both),
    opt("work-path", "", Value, Both),
];

/// The options of one runtime at one position of its command line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    kind: RuntimeKind,
    lists: [&'static [Opt]; 3],
}

impl Options {
    pub(super) const fn global(kind: RuntimeKind) -> Self {
        Self { kind, lists: [GLOBAL, ALWAYS, &[]] }
    }

    pub(super) fn of(kind: RuntimeKind, verb: Verb, word: &[u8]) -> Self {
        let own = match (verb, word) {
            (Verb::Create | Verb::Run | Verb::Restore, _) => MAKE,
            (Verb::Exec, _) => EXEC,
            (Verb::Delete, _) | (_, b"kill") => END,
            (Verb::Update, _) => UPDATE,
            _ => OTHER,
        };
        Self { kind, lists: [own, ALWAYS, &[]] }
    }

    /// Adds the global options, which newer versions of runc accept behind the verb.
    pub(super) const fn with_global(self) -> Self {
        let [own, always, _] = self.lists;
        Self { lists: [own, always, GLOBAL], ..self }
    }

    fn all(self) -> impl Iterator<Item = &'static Opt> {
        let own = match self.kind {
            RuntimeKind::Runc => Runc,
            RuntimeKind::Crun => Crun,
        };
        let all = self.lists.into_iter().flatten();
        all.filter(move |opt| opt.supported_by == Both || opt.supported_by == own)
    }

    /// The option with this full name.
    pub(super) fn named(self, name: &[u8]) -> Option<&'static Opt> {
        self.all().find(|opt| opt.name.as_bytes() == name)
    }

    pub(super) fn lettered(self, letter: u8) -> Option<&'static Opt> {
        self.all().find(|opt| opt.short.as_bytes().contains(&letter))
    }

    /// All options whose names begin like this.
    pub(super) fn beginning(self, name: &[u8]) -> impl Iterator<Item = &'static Opt> {
        self.all().filter(move |opt| opt.name.as_bytes().starts_with(name))
    }
}

/// Whether an option before the verb takes the next word, in either runtime.
pub(super) fn global_takes_value(name: &[u8]) -> bool {
    GLOBAL.iter().any(|opt| opt.name.as_bytes() == name && opt.takes == Value)
}
