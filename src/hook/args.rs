//! The hook's arguments: written by the shim into the spec, so read strictly.

use crate::model::id::{LeaseKey, Nonce};
use std::path::PathBuf;

/// Which hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Bind.
    CreateRuntime,
    /// Release.
    Poststop,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub verb: Verb,
    pub run_dir: PathBuf,
    pub key: LeaseKey,
    pub nonce: Nonce,
}

/// A call, or a text to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    Call(Call),
    Text(String),
}

const USAGE: &str = "\
Usage: gpulease-hook create-runtime|poststop --run-dir DIR --key KEY --nonce HEX
                     [--gpulease-config FILE]

The OCI hooks of gpulease. gpulease-runtime writes them into a container's
config.json; the low-level runtime calls them with the container's state on
standard input. They are not meant to be called by hand.

  create-runtime  bind the lease to the container's init process
  poststop        release the lease; always exits with 0
  --version       print version and commit
  --help          print this text";

pub(super) fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed, String> {
    let mut args = args.into_iter();
    let verb = match args.next().as_deref() {
        Some("create-runtime") => Verb::CreateRuntime,
        Some("poststop") => Verb::Poststop,
        Some("--version" | "-V") => {
            return Ok(Parsed::Text(format!("gpulease-hook {}", crate::VERSION)));
        }
        Some("--help" | "-h") => return Ok(Parsed::Text(USAGE.to_owned())),
        _ => return Err(format!("no hook named\n{USAGE}")),
    };
    let (mut run_dir, mut key, mut nonce) = (None, None, None);
    while let Some(option) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{option}` wants a value"));
        match option.as_str() {
            "--run-dir" => run_dir = Some(PathBuf::from(value()?)),
            "--key" => {
                let text = value()?;
                key = Some(LeaseKey::from_file_stem(&text).ok_or("`--key` is not a lease's key")?);
            }
            "--nonce" => nonce = Some(Nonce::new(&value()?).map_err(|error| error.to_string())?),
            // All that a hook needs of the configuration, the shim has written into the other
            // arguments: an edit of the file must not change what a running container's hooks do.
            "--gpulease-config" => drop(value()?),
            _ => return Err("unknown option; see --help".into()),
        }
    }
    match (run_dir, key, nonce) {
        (Some(run_dir), Some(key), Some(nonce)) if run_dir.is_absolute() => {
            Ok(Parsed::Call(Call { verb, run_dir, key, nonce }))
        }
        _ => Err("--run-dir (absolute), --key and --nonce are all needed; see --help".into()),
    }
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
        assert_eq!(call.verb, Verb::Poststop);
        assert_eq!(call.key.runtime_root, "/run/runc");
        assert_eq!(call.nonce.as_str(), nonce);
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
