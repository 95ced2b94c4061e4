//! The engine's command line, read leniently: we look for the few words that concern us and pass
//! everything on as it came. The grammar belongs to runc (man pages runc-create(8), runc-run(8),
//! …) and crun; whatever is not understood is theirs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the runtime is asked to do, as far as it concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make a container.
    Create,
    /// Make a container and start it.
    Run,
    /// Make a container from a checkpoint.
    Restore,
    /// Start a process in a container.
    Exec,
    /// Remove a container.
    Delete,
    /// `--version` without a verb.
    Version,
    /// Anything about a container that exists: `start`, `kill`, `state`, …
    Other,
    /// No verb, or one that is about no container: `features`, `list`, `spec`.
    None,
}

/// A file that was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// What was named.
    pub path: PathBuf,
    /// Which of the forwarded words names it, and from which byte on.
    pub place: (usize, usize),
}

/// One call of the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Our own option, `--gpulease-config`.
    pub config: Option<PathBuf>,
    /// All arguments but our own, in their order.
    pub forwarded: Vec<OsString>,
    /// What to do.
    pub verb: Verb,
    /// `--root`.
    pub root: Option<String>,
    /// `--log`.
    pub log: Option<PathBuf>,
    /// `--log-format json`.
    pub log_json: bool,
    /// `--bundle`.
    pub bundle: Option<PathBuf>,
    /// crun's `--config`: another name for `config.json`.
    pub config_file: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `exec --process`.
    pub process: Option<Given>,
    /// `--preserve-fds`.
    pub preserved: u32,
    /// The container.
    pub id: Option<String>,
}

/// Global options that take a value, in runc and crun.
const GLOBAL_VALUES: &[&str] =
    &["root", "log", "log-format", "log-level", "criu", "rootless", "cgroup-manager"];

/// Options that take a value, after the verb.
fn takes_value(verb: Verb, option: &str) -> bool {
    const MAKE: &[&str] = &[
        "b",
        "bundle",
        "console-socket",
        "pidfd-socket",
        "pid-file",
        "preserve-fds",
        "config",
        "f",
        "image-path",
        "work-path",
        "manage-cgroups-mode",
        "lsm-profile",
        "lsm-mount-context",
        "empty-ns",
    ];
    const EXEC: &[&str] = &[
        "p",
        "process",
        "console-socket",
        "pidfd-socket",
        "pid-file",
        "preserve-fds",
        "cwd",
        "e",
        "env",
        "u",
        "user",
        "g",
        "additional-gids",
        "apparmor",
        "c",
        "cap",
        "cgroup",
        "process-label",
    ];
    // Of `ps`, `events`, `update`, `checkpoint`, `kill`. (In `delete`, -f is --force.)
    const OTHER: &[&str] = &[
        "f",
        "format",
        "interval",
        "r",
        "resources",
        "image-path",
        "work-path",
        "parent-path",
        "manage-cgroups-mode",
        "page-server",
        "status-fd",
        "status-socket",
        "signal",
        "blkio-weight",
        "cpu-burst",
        "cpu-idle",
        "cpu-period",
        "cpu-quota",
        "cpu-rt-period",
        "cpu-rt-runtime",
        "cpu-share",
        "cpu-shares",
        "cpuset-cpus",
        "cpuset-mems",
        "kernel-memory",
        "l3-cache-schema",
        "mem-bw-schema",
        "memory",
        "memory-reservation",
        "memory-swap",
        "pids-limit",
    ];
    match verb {
        Verb::Create | Verb::Run | Verb::Restore => MAKE.contains(&option),
        Verb::Exec => EXEC.contains(&option),
        Verb::Delete => false,
        Verb::Other | Verb::None | Verb::Version => OTHER.contains(&option),
    }
}

fn verb(word: &str) -> Verb {
    match word {
        "create" => Verb::Create,
        "run" => Verb::Run,
        "restore" => Verb::Restore,
        "exec" => Verb::Exec,
        "delete" => Verb::Delete,
        "features" | "list" | "spec" | "help" | "completion" => Verb::None,
        _ => Verb::Other,
    }
}

/// `--name`, `--name=value`, and Go's `-name`; `None` for a word that is no option. A value may be
/// any bytes: it may be a path.
fn option(word: &OsStr) -> Option<(String, Option<OsString>)> {
    let bytes = word.as_bytes();
    let rest = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    let mut parts = rest.splitn(2, |byte| *byte == b'=');
    let name = std::str::from_utf8(parts.next()?).ok().filter(|name| !name.is_empty())?;
    Some((name.to_owned(), parts.next().map(|value| OsStr::from_bytes(value).to_owned())))
}

/// Reads the arguments after `argv[0]`.
#[must_use]
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Invocation {
    let mut call = Invocation {
        config: None,
        forwarded: Vec::new(),
        verb: Verb::None,
        root: None,
        log: None,
        log_json: false,
        bundle: None,
        config_file: None,
        pid_file: None,
        process: None,
        preserved: 0,
        id: None,
    };
    let mut args = args.into_iter();
    let mut in_verb = false;
    let mut options_over = false;
    while let Some(word) = args.next() {
        let found = if options_over { None } else { option(&word) };
        let Some((name, inline)) = found else {
            options_over |= word == "--";
            if word != "--" && !in_verb {
                in_verb = true;
                call.verb = verb(&word.to_string_lossy());
            } else if word != "--" && call.id.is_none() {
                call.id = Some(word.to_string_lossy().into_owned());
                // What follows the id of an exec is the process's own command line.
                options_over |= call.verb == Verb::Exec;
            }
            call.forwarded.push(word);
            continue;
        };
        if name == "gpulease-config" && !in_verb {
            call.config = inline.map(PathBuf::from).or_else(|| args.next().map(PathBuf::from));
            continue;
        }
        call.forwarded.push(word);
        let wants_value = if in_verb {
            takes_value(call.verb, &name)
        } else {
            GLOBAL_VALUES.contains(&name.as_str())
        };
        let length = word_length(&call);
        let from = inline.as_ref().map_or(0, |value| length.saturating_sub(value.len()));
        let value = match inline {
            Some(value) => Some(value),
            None if wants_value => args.next().inspect(|next| call.forwarded.push(next.clone())),
            None => None,
        };
        call.note(&name, value, in_verb, from);
    }
    call
}

fn word_length(call: &Invocation) -> usize {
    call.forwarded.last().map_or(0, |word| word.len())
}

impl Invocation {
    /// The forwarded words with another file in the place of one that was given.
    #[must_use]
    pub fn with(&self, given: &Given, path: &Path) -> Vec<OsString> {
        let mut words = self.forwarded.clone();
        let (at, from) = given.place;
        if let Some(word) = words.get_mut(at) {
            let mut bytes = std::mem::take(word).into_vec();
            bytes.truncate(from);
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            *word = OsString::from_vec(bytes);
        }
        words
    }

    fn note(&mut self, name: &str, value: Option<OsString>, in_verb: bool, from: usize) {
        if !in_verb {
            match (name, value) {
                ("root", value) => {
                    self.root = value.map(|root| root.to_string_lossy().into_owned())
                }
                ("log", value) => self.log = value.map(PathBuf::from),
                ("log-format", value) => self.log_json = value.is_some_and(|v| v == "json"),
                ("version" | "v", _) if self.verb == Verb::None => self.verb = Verb::Version,
                _ => {}
            }
            return;
        }
        // Help is the runtime's to give, and nothing is made then.
        if matches!(name, "h" | "help") {
            self.verb = Verb::None;
        }
        let makes = matches!(self.verb, Verb::Create | Verb::Run | Verb::Restore);
        let path = value.map(PathBuf::from);
        match name {
            "b" | "bundle" if makes => self.bundle = path,
            "f" | "config" if makes => self.config_file = path,
            "pid-file" if makes => self.pid_file = path,
            "p" | "process" if self.verb == Verb::Exec => {
                let place = (self.forwarded.len().saturating_sub(1), from);
                self.process = path.map(|path| Given { path, place });
            }
            "preserve-fds" => self.preserved = number(path.as_deref()),
            _ => {}
        }
    }
}

fn number(text: Option<&Path>) -> u32 {
    text.and_then(|text| text.to_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Invocation {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn containerd_creates() {
        let call = call(
            "--root /var/run/docker/runtime-runc/moby --log /b/log.json --log-format json create \
             --bundle /b --pid-file /b/init.pid --console-socket /tmp/s abc",
        );
        assert_eq!(call.verb, Verb::Create);
        assert_eq!(call.root.as_deref(), Some("/var/run/docker/runtime-runc/moby"));
        assert_eq!(call.log, Some("/b/log.json".into()));
        assert!(call.log_json);
        assert_eq!(call.bundle, Some("/b".into()));
        assert_eq!(call.pid_file, Some("/b/init.pid".into()));
        assert_eq!(call.id.as_deref(), Some("abc"));
    }

    #[test]
    fn our_option_is_taken_out_and_nothing_else() {
        let line = "--gpulease-config /etc/x.toml --systemd-cgroup --root=/r delete --force create";
        let call = call(line);
        assert_eq!(call.config, Some("/etc/x.toml".into()));
        assert_eq!(call.verb, Verb::Delete);
        assert_eq!(call.id.as_deref(), Some("create"));
        let rest: Vec<_> = call.forwarded.iter().map(|a| a.to_string_lossy()).collect();
        assert_eq!(rest.join(" "), "--systemd-cgroup --root=/r delete --force create");
        assert_eq!(super::tests::call("--gpulease-config=/y create c").config, Some("/y".into()));
        let theirs = super::tests::call("exec c prog --gpulease-config /z");
        assert_eq!(theirs.config, None);
        assert_eq!(theirs.forwarded.len(), 5);
    }

    #[test]
    fn exec_stops_at_the_id() {
        let call = call("exec --process /tmp/p --detach --pid-file /f -u 1:2 c1 --process /other");
        assert_eq!(call.process.map(|given| given.path), Some("/tmp/p".into()));
        assert_eq!(call.id.as_deref(), Some("c1"));
        assert_eq!(call.pid_file, None);
    }

    #[test]
    fn every_spelling_of_the_bundle() {
        for line in [
            "run -b /x c",
            "run c -b /x",
            "run --bundle=/x c",
            "run -bundle /x c",
            "run c --bundle /x",
        ] {
            let call = call(line);
            assert_eq!((call.bundle, call.id.as_deref()), (Some("/x".into()), Some("c")), "{line}");
        }
        assert_eq!(call("create create").id.as_deref(), Some("create"));
        assert_eq!(call("create -- -c").id.as_deref(), Some("-c"));
        assert_eq!(call("create -f other.json c").config_file, Some("other.json".into()));
    }

    #[test]
    fn a_path_may_be_any_bytes() {
        let odd = OsStr::from_bytes(b"/b\xff");
        let both = OsStr::from_bytes(b"--bundle=/b\xff");
        for args in [vec![OsStr::new("run"), OsStr::new("-b"), odd], vec![OsStr::new("run"), both]]
        {
            let call = parse(args.into_iter().map(OsStr::to_owned));
            assert_eq!(call.bundle, Some(odd.into()));
        }
    }

    #[test]
    fn verbs_without_a_container() {
        assert_eq!(call("--version").verb, Verb::Version);
        assert_eq!(call("-v").verb, Verb::Version);
        assert_eq!(call("features").verb, Verb::None);
        assert_eq!(call("--root /create state x").verb, Verb::Other);
        assert_eq!(call("--root create list").verb, Verb::None);
        assert_eq!(call("ps --format json x").id.as_deref(), Some("x"));
        assert_eq!(call("ps -f json x").id.as_deref(), Some("x"));
        assert_eq!(call("update --memory 100M x").id.as_deref(), Some("x"));
        assert_eq!(call("create --help x").verb, Verb::None);
        assert_eq!(call("exec x prog --help").verb, Verb::Exec);
        assert_eq!(call("").verb, Verb::None);
    }
}
