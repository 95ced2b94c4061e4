//! Recognises hooks by which NVIDIA's tools give GPUs to a container.
//!
//! dockerd adds the vendor's hook, which reads the container's variables. containerd (`ctr --gpus`,
//! nerdctl) runs the vendor's command through a hook of its own and names the devices in its
//! arguments: `containerd oci-hook -- nvidia-container-cli … configure --device=0,1 … {{rootfs}}`.
//! The hooks of CDI specs (`nvidia-cdi-hook`, `nvidia-ctk`) open no device: their devices are in
//! the spec.

use super::facts::SpecHook;
use super::file_name;

/// File names of the hook that gives the devices which the container's variables name. No other
/// part of the spec shows them. The names are the present and the former one
/// (nvidia-container-toolkit).
const BY_VARIABLES: [&str; 2] = ["nvidia-container-runtime-hook", "nvidia-container-toolkit"];

/// File name of the command that gives the devices which its arguments name (libnvidia-container,
/// `src/cli`).
const BY_ARGUMENTS: &str = "nvidia-container-cli";

/// The devices that a spec's hooks give, beside its own nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorHooks {
    /// A hook gives the devices that the container's variables name.
    pub by_variables: bool,
    /// The devices that other hooks name: an index among NVIDIA's GPUs, `GPU:INSTANCE`, a UUID, a
    /// PCI address, or `all`.
    pub named: Vec<String>,
    /// The command line of a hook that gives devices which cannot be determined.
    pub unclear: Option<String>,
}

/// The devices that one hook gives.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gives {
    ByVariables,
    Named(Vec<String>),
    Unclear,
}

impl VendorHooks {
    /// The devices that all hooks give together.
    pub(super) fn of(hooks: &[SpecHook]) -> Self {
        let mut all = Self::default();
        for hook in hooks {
            match gives(&hook.path, &hook.args) {
                None => {}
                Some(Gives::ByVariables) => all.by_variables = true,
                Some(Gives::Named(names)) => all.named.extend(names),
                Some(Gives::Unclear) => {
                    all.unclear = Some(format!("{} {}", hook.path, hook.args.join(" ")));
                }
            }
        }
        all
    }

    /// Whether the hooks may give any device.
    pub const fn give_any(&self) -> bool {
        self.by_variables || !self.named.is_empty() || self.unclear.is_some()
    }
}

/// Whether a hook with this path and these arguments, which begin with `argv[0]`, gives GPUs to
/// containers.
pub fn is_vendor_hook<S: AsRef<str>>(path: &str, args: &[S]) -> bool {
    gives(path, args).is_some()
}

fn gives<S: AsRef<str>>(path: &str, args: &[S]) -> Option<Gives> {
    let runs = |words: &[&str]| {
        let is_one = |word: &&str| words.contains(&program(word));
        let argument = args.iter().position(|arg| is_one(&arg.as_ref()));
        // The arguments after `argv[0]`, or after the word that another program is told to run.
        if is_one(&path) { Some(1) } else { argument.map(|at| at + 1) }
    };
    if runs(&BY_VARIABLES).is_some() {
        return Some(Gives::ByVariables);
    }
    if let Some(first) = runs(&[BY_ARGUMENTS]) {
        return named(args.get(first..).unwrap_or_default());
    }
    // A command inside a longer word, such as a shell script, cannot be parsed.
    let mentions =
        |word: &str| BY_VARIABLES.iter().chain([&BY_ARGUMENTS]).any(|w| word.contains(w));
    (mentions(path) || args.iter().any(|arg| mentions(arg.as_ref()))).then_some(Gives::Unclear)
}

/// The name of a program. NVIDIA's operator replaces each program by a wrapper and renames the
/// program to `NAME.real`.
fn program(word: &str) -> &str {
    let name = file_name(word);
    name.strip_suffix(".real").unwrap_or(name)
}

/// The devices that the command's arguments name, read as argp(3) does: a long option may be
/// shortened, its value may be the next word, and all values add up. `None` if the command gives no
/// device.
fn named<S: AsRef<str>>(args: &[S]) -> Option<Gives> {
    const OPTION: &str = "--device";
    let mut args = args.iter().map(AsRef::as_ref);
    let asks_only = |arg: &str| matches!(arg, "info" | "list");
    // The value of an option before the command may look like the command.
    if !args.clone().any(|arg| arg == CONFIGURE) {
        return if args.any(asks_only) { None } else { Some(Gives::Unclear) };
    }
    let mut args = args.skip_while(|arg| *arg != CONFIGURE);
    let mut names = Vec::new();
    while let Some(arg) = args.next() {
        let (option, value) = match arg.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (arg, None),
        };
        let value = if option.len() > 2 && OPTION.starts_with(option) {
            match value.or_else(|| args.next()) {
                Some(value) => value,
                None => return Some(Gives::Unclear),
            }
        } else if arg == "--" {
            break;
        } else if is_short(arg) && arg.contains('d') {
            // `-d0`, `-d 0`, and `-cud0`, where the value cannot be separated.
            match arg.strip_prefix("-d") {
                Some("") => args.next().unwrap_or_default(),
                Some(value) => value,
                None => return Some(Gives::Unclear),
            }
        } else {
            continue;
        };
        // containerd replaces text in braces, partly from the container's annotations.
        if value.contains("{{") {
            return Some(Gives::Unclear);
        }
        names.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    (!names.is_empty()).then_some(Gives::Named(names))
}

/// The only command that gives a container anything.
const CONFIGURE: &str = "configure";

fn is_short(arg: &str) -> bool {
    arg.len() > 1 && arg.starts_with('-') && !arg.starts_with("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The devices that a hook with this command line gives. The first word is its path.
    fn hooks(words: &str) -> VendorHooks {
        let (path, args) = words.split_once(' ').unwrap_or((words, ""));
        let args = args.split_whitespace().map(str::to_owned).collect();
        VendorHooks::of(&[SpecHook { stage: "prestart", path: path.to_owned(), args }])
    }

    fn named(words: &str) -> Vec<String> {
        let found = hooks(words);
        assert!(!found.by_variables && found.unclear.is_none(), "{words}: {found:?}");
        found.named
    }

    const CONTAINERD: &str =
        "/usr/bin/containerd containerd oci-hook -- /usr/bin/nvidia-container-cli --load-kmods";

    #[test]
    fn containerds_hook_names_its_devices() {
        for (rest, names) in [
            ("configure --device=0 --compute --utility --pid={{pid}} {{rootfs}}", &["0"][..]),
            ("configure --device=0,GPU-1 --pid={{pid}} {{rootfs}}", &["0", "GPU-1"]),
            ("--ldcache=/x configure --device=all {{rootfs}}", &["all"]),
            ("configure --device=0:1 --device=,2, {{rootfs}}", &["0:1", "2"]),
            ("configure --dev 3 --devi=4 -d5 -d 6 -cu {{rootfs}}", &["3", "4", "5", "6"]),
            ("configure {{rootfs}} --device=1", &["1"]),
            ("configure --compute --pid={{pid}} {{rootfs}}", &[]),
            ("configure --display -- --device=1", &[]),
            ("list --device=0", &[]),
            ("--root list configure --device=2 {{rootfs}}", &["2"]),
            ("--root configure configure --device=2 {{rootfs}}", &["2"]),
        ] {
            assert_eq!(named(&format!("{CONTAINERD} {rest}")), names, "{rest}");
        }
    }

    #[test]
    fn the_command_counts_whichever_program_runs_it() {
        for words in [
            "/usr/bin/nvidia-container-cli x configure --device=7 /r",
            "/opt/nvidia-container-cli.real x configure --device=7 /r",
            "/usr/bin/env env /usr/bin/nvidia-container-cli configure --device=7 /r",
            "/opt/wrapper nvidia-container-cli configure --device=7 /r",
            "/usr/bin/nerdctl containerd oci-hook -- nvidia-container-cli configure --device=7 /r",
        ] {
            assert_eq!(named(words), ["7"], "{words}");
        }
        for words in [
            "/usr/bin/nvidia-container-runtime-hook nvidia-container-runtime-hook prestart",
            "/usr/local/nvidia/toolkit/nvidia-container-runtime-hook.real",
            "/usr/bin/nvidia-container-toolkit x prestart",
            "/usr/bin/env env nvidia-container-runtime-hook prestart",
        ] {
            assert!(hooks(words).by_variables, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        for words in [
            "/bin/sh sh -c /usr/bin/nvidia-container-cli;configure",
            "/bin/sh sh -c x=nvidia-container-runtime-hook;$x",
            "/usr/bin/nvidia-container-cli x",
            "/usr/bin/nvidia-container-cli x configure --device",
            "/usr/bin/nvidia-container-cli x configure -cud0 /r",
            "/usr/bin/nvidia-container-cli x configure --device={{annotation}} /r",
        ] {
            let found = hooks(words);
            assert!(found.unclear.as_deref() == Some(words) && found.give_any(), "{words}");
        }
    }

    #[test]
    fn other_hooks_give_nothing() {
        for words in [
            "/usr/bin/nvidia-cdi-hook nvidia-cdi-hook update-ldcache --folder /usr/lib",
            "/usr/bin/nvidia-ctk nvidia-ctk hook create-symlinks --link a::b",
            "/usr/bin/containerd containerd oci-hook -- /usr/bin/something configure --device=0",
            "/usr/bin/gpulease-hook gpulease-hook poststop",
            "",
        ] {
            assert!(!hooks(words).give_any(), "{words}");
        }
    }
}
