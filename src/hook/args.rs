//! The hook's arguments. The shim writes them into the spec, so they are read strictly.

use crate::model::id::{LeaseKey, Nonce};
use crate::model::text::shown;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookVerb {
    CreateRuntime,
    Poststop,
    /// Release the lease of a start that this program has made fail. No other hook is called for
    /// it.
    FailedStart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub verb: HookVerb,
    pub run_dir: PathBuf,
    pub key: LeaseKey,
    pub nonce: Nonce,
    /// The configuration file, for the `gpulease` command.
    pub config: Option<PathBuf>,
}

impl Call {
    /// The arguments that make the `gpulease` command use the shim's configuration.
    pub(super) fn own_arguments(&self) -> Vec<OsString> {
        let flag = |file: &PathBuf| ["--gpulease-config".into(), file.clone().into()];
        self.config.iter().flat_map(flag).collect()
    }

    /// The arguments for another call for the same start.
    pub(super) fn again(&self, verb: &str) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![verb.into(), "--run-dir".into()];
        args.push(self.run_dir.clone().into());
        args.extend(["--key".into(), self.key.file_stem().into()]);
        args.extend(["--nonce".into(), self.nonce.to_string().into()]);
        args.extend(self.own_arguments());
        args
    }
}

/// A call of `precreate`, made by the file that an administrator has installed for Podman.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Precreate {
    pub config: Option<PathBuf>,
    /// The fault of the arguments. It concerns only containers that ask for a GPU.
    pub fault: Option<String>,
}

/// A call, or a text to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Call(Call),
    Precreate(Precreate),
    Text(String),
}

const USAGE: &str = "\
Usage: gpulease-hook create-runtime|poststop --run-dir DIR --key KEY --nonce HEX
                     [--gpulease-config FILE]
       gpulease-hook precreate [--gpulease-config FILE]

The OCI hooks of gpulease. gpulease-runtime writes the first two into a
container's config.json; the low-level runtime calls them with the container's
state on standard input. Podman calls `precreate` in a container's directory,
with its config.json on standard input, and takes another one from standard
output. They are not meant to be called by hand.

  create-runtime  bind the lease to the container's init process
  poststop        release the lease; always exits with 0
  precreate       lease what the container asks for; one that asks for nothing
                  goes out as it came in; exits with the status of the code,
                  and tells the system's log why: journalctl -t gpulease-hook
  --version       print version and commit
  --help          print this text";

pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed, String> {
    let mut args = args.into_iter();
    let verb = match args.next().as_deref() {
        Some("create-runtime") => HookVerb::CreateRuntime,
        Some("poststop") => HookVerb::Poststop,
        Some("failed-start") => HookVerb::FailedStart,
        Some("precreate") => return Ok(Parsed::Precreate(precreate(args))),
        Some("--version" | "-V") => {
            return Ok(Parsed::Text(format!("gpulease-hook {}", crate::VERSION)));
        }
        Some("--help" | "-h") => return Ok(Parsed::Text(USAGE.to_owned())),
        _ => return Err(format!("no hook named\n{USAGE}")),
    };
    let (mut run_dir, mut key, mut nonce, mut config) = (None, None, None, None);
    while let Some(option) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{option}` needs a value"));
        match option.as_str() {
            "--run-dir" => run_dir = Some(PathBuf::from(value()?)),
            "--key" => {
                let text = value()?;
                key = Some(LeaseKey::from_file_stem(&text).ok_or("`--key` is not a lease's key")?);
            }
            "--nonce" => nonce = Some(Nonce::new(&value()?).map_err(|error| error.to_string())?),
            // The shim has written everything that a hook needs of the configuration into the other
            // arguments. An edit of the file must not change what the hooks of a running container
            // do.
            "--gpulease-config" => config = Some(PathBuf::from(value()?)),
            _ => return Err("unknown option; see --help".into()),
        }
    }
    match (run_dir, key, nonce) {
        (Some(run_dir), Some(key), Some(nonce)) if run_dir.is_absolute() => {
            Ok(Parsed::Call(Call { verb, run_dir, key, nonce, config }))
        }
        _ => Err("--run-dir (absolute), --key and --nonce are all needed; see --help".into()),
    }
}

/// This never fails, because it is called for every container of the node.
fn precreate(mut args: impl Iterator<Item = String>) -> Precreate {
    let mut call = Precreate::default();
    while let Some(option) = args.next() {
        match (option.as_str(), args.next()) {
            ("--gpulease-config", Some(file)) => call.config = Some(file.into()),
            ("--gpulease-config", None) => call.fault = Some(format!("`{option}` needs a value")),
            _ => call.fault = Some(format!("unknown option `{}`", shown(&option))),
        }
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Parsed, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_shims_own_arguments_are_understood() {
        let nonce = "0123456789abcdef0123456789abcdef";
        let line = format!(
            "poststop --run-dir /run/gpulease --key c@run!runc --nonce {nonce} --gpulease-config /x"
        );
        let Ok(Parsed::Call(call)) = words(&line) else { panic!() };
        assert_eq!(call.verb, HookVerb::Poststop);
        assert_eq!(call.key.runtime_root, "/run/runc");
        assert_eq!(call.nonce.as_str(), nonce);
    }

    #[test]
    fn precreate_is_called_whatever_its_arguments() {
        let call = |line| match words(line) {
            Ok(Parsed::Precreate(call)) => (call.config, call.fault),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(call("precreate"), (None, None));
        assert_eq!(call("precreate --gpulease-config /x"), (Some("/x".into()), None));
        let (config, fault) = call("precreate --gpulease-config /x --gpulease-config");
        assert_eq!(config, Some("/x".into()));
        assert!(fault.is_some_and(|fault| fault.contains("needs a value")));
        let (_, fault) = call("precreate --fast yes --gpulease-config /x");
        assert_eq!(fault.as_deref(), Some("unknown option `--fast`"));
    }

    #[test]
    fn half_a_call_is_none() {
        for line in [
            "",
            "bind",
            "poststop",
            "poststop --run-dir",
            "poststop --key a/b@c",
            "create-runtime --what x",
        ] {
            assert!(words(line).is_err(), "{line}");
        }
        assert!(matches!(words("--version"), Ok(Parsed::Text(text)) if text.contains("commit")));
    }
}
