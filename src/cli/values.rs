//! What arguments can be, for the parser of the command line and for completions.

use crate::inventory::profiles::PROFILES;
use crate::model::mig_layout::{GEOMETRIES, Geometry};
use crate::request::keys::{KEYS, Key};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use std::collections::BTreeSet;
use std::ffi::OsStr;

/// Those that completions are printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// /usr/share/bash-completion/completions/gpulease
    Bash,
    /// /usr/share/zsh/vendor-completions/_gpulease
    Zsh,
    /// /usr/share/fish/vendor_completions.d/gpulease.fish
    Fish,
}

/// Takes any text, as a plain argument does: what is wrong with it, its command says better than
/// clap. Completions offer these.
#[derive(Debug, Clone)]
pub(super) struct Offered(pub(super) Vec<String>);

impl TypedValueParser for Offered {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// The nodes that can be simulated.
pub(super) fn profiles() -> Offered {
    Offered(PROFILES.iter().map(|profile| profile.name.to_owned()).collect())
}

/// Every MIG profile that is known.
pub(super) fn mig_profiles() -> Offered {
    let names = GEOMETRIES.iter().flat_map(Geometry::sizes).map(|(name, _)| name.to_owned());
    Offered(names.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Each annotation that this version honours, with its values where they can be listed.
pub(super) fn request_words() -> Offered {
    Offered(KEYS.iter().flat_map(words_of).collect())
}

fn words_of(key: &Key) -> Vec<String> {
    let Some(values) = key.honoured() else {
        // `wait` can only be 0, `ttl` cannot be given at all.
        let is_any = key.support.admits(key.example);
        return if is_any { vec![format!("{}=", key.short())] } else { Vec::new() };
    };
    values.iter().map(|value| format!("{}={value}", key.short())).collect()
}
