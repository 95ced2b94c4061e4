//! `gpulease completions`: what a shell can offer while a command is typed.
//!
//! All of it is read from the tables that the parsers read: commands and options from clap's, the
//! engines from their enum, annotations from `request::keys`, profiles from `inventory::profiles`.

use super::args::Cli;
use super::output::Answer;
use crate::inventory::profiles::PROFILES;
use crate::model::mig_layout::{GEOMETRIES, Geometry};
use crate::request::keys::{KEYS, Key};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, CommandFactory, ValueEnum};
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsStr;

/// The program's name.
const NAME: &str = "gpulease";

/// The shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    /// /usr/share/bash-completion/completions/gpulease
    Bash,
    /// /usr/share/zsh/vendor-completions/_gpulease
    Zsh,
    /// /usr/share/fish/vendor_completions.d/gpulease.fish
    Fish,
}

impl Shell {
    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Takes any text, as a plain argument does: what is wrong with it, its command says better than
/// clap. Completions offer these.
#[derive(Debug, Clone)]
pub(super) struct Offered(Vec<String>);

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
    let Some(values) = listed(key.syntax) else {
        // `wait` can only be 0, `ttl` cannot be given at all.
        let is_any = key.support.admits(key.example);
        return if is_any { vec![format!("{}=", key.short())] } else { Vec::new() };
    };
    let honoured = values.into_iter().filter(|value| key.support.admits(value));
    honoured.map(|value| format!("{}={value}", key.short())).collect()
}

/// The values of a syntax that only lists them: `` `nvidia`|`amd` ``.
fn listed(syntax: &'static str) -> Option<Vec<&'static str>> {
    let value = |part: &'static str| part.strip_prefix('`')?.strip_suffix('`');
    let values = syntax.split('|').map(value).collect::<Option<Vec<_>>>()?;
    // `1` to `1024` begins and ends so too.
    values.iter().all(|value| !value.contains('`')).then_some(values)
}

/// Bash takes `vendor=a` for three words, and puts a space behind a word that is not complete yet.
const BASH_WORDS_WITH_EQUALS: &str = r#"
_gpulease_words() {
    local line=${COMP_LINE:0:COMP_POINT} prefix=''
    local word=${line##*[[:space:]]}
    if [[ $word == *=* && $word != -* && $COMP_WORDBREAKS == *=* ]]; then
        local -a COMP_WORDS
        read -ra COMP_WORDS <<<"$line"
        local COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        prefix=${word%%=*}=
        _gpulease "$1" "$word" "${COMP_WORDS[COMP_CWORD - 1]}"
        COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    else
        _gpulease "$@"
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _gpulease_words -o bashdefault -o default gpulease
"#;

/// The same for zsh: whoever takes `count=` goes on behind it.
fn zsh_words_with_equals(script: &str) -> String {
    let words = request_words().0.join(" ");
    script.replace(&format!(":({words})'"), &format!(":{{compadd -S \"\" - {words}}}'"))
}

/// clap's completions for fish have no values for arguments without a name, as in
/// `gpulease install docker`.
fn fish_values(command: &Command, condition: &str, script: &mut String) {
    for argument in command.get_positionals() {
        let values = argument.get_possible_values();
        let values: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        if !values.is_empty() {
            let values = values.join(" ");
            script.push_str(&format!("complete -c {NAME} -n \"{condition}\" -f -a \"{values}\"\n"));
        }
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        let name = inner.get_name();
        let condition = match condition {
            "" => format!("__fish_{NAME}_using_subcommand {name}"),
            outer => format!("{outer}; and __fish_seen_subcommand_from {name}"),
        };
        fish_values(inner, &condition, script);
    }
}

/// The commands without those that are hidden, which clap's completions would offer.
fn offered() -> Command {
    Cli::command().mut_subcommand("mps", |mps| {
        let seen = mps.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned();
        let about = mps.get_about().cloned().unwrap_or_default();
        Command::new("mps").about(about).args(mps.get_arguments().cloned()).subcommands(seen)
    })
}

/// The completions of one shell.
pub(super) fn completions(shell: Shell) -> Answer {
    let of = |generator: clap_complete::Shell| {
        let mut script = Vec::new();
        clap_complete::generate(generator, &mut offered(), NAME, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    };
    let script = match shell {
        Shell::Bash => of(clap_complete::Shell::Bash) + BASH_WORDS_WITH_EQUALS,
        Shell::Zsh => zsh_words_with_equals(&of(clap_complete::Shell::Zsh)),
        Shell::Fish => {
            let mut script = of(clap_complete::Shell::Fish);
            fish_values(&Cli::command(), "", &mut script);
            script
        }
    };
    let json = json!({ "shell": shell.name(), "script": script });
    Answer::file(script, json)
}
