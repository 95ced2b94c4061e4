//! The values that arguments can have, for the parser of the command line and for completions.

use crate::inventory::profiles::PROFILES;
use crate::model::mig_layout::{GEOMETRIES, Geometry};
use crate::request::keys::{KEYS, Key};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use std::collections::BTreeSet;
use std::ffi::OsStr;

/// A shell whose completions can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// /usr/share/bash-completion/completions/gpulease
    Bash,
    /// /usr/share/zsh/vendor-completions/_gpulease
    Zsh,
    /// /usr/share/fish/vendor_completions.d/gpulease.fish
    Fish,
}

/// Values that completions offer for an argument. The parser takes any text: the command's own
/// message for a wrong one is better than clap's.
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

/// The MIG profiles of all models that gpulease knows.
pub(super) fn mig_profiles() -> Offered {
    let names = GEOMETRIES.iter().flat_map(Geometry::sizes).map(|(name, _)| name.to_owned());
    Offered(names.collect::<BTreeSet<_>>().into_iter().collect())
}

/// The annotations that this version honours, each with its values if they can be listed.
pub(super) fn request_words() -> Offered {
    Offered(KEYS.iter().flat_map(words_of).collect())
}

fn words_of(key: &Key) -> Vec<String> {
    let Some(values) = key.honoured() else {
        // `wait` is accepted only as 0, and `ttl` not at all.
        let is_any = key.support.admits(key.example);
        return if is_any { vec![format!("{}=", key.short())] } else { Vec::new() };
    };
    values.iter().map(|value| format!("{}={value}", key.short())).collect()
}
