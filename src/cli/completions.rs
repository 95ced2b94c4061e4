//! `gpulease completions`: what a shell can offer while a command is typed.
//!
//! All of it is read from the tables that the parsers read: commands and options from clap's, the
//! engines from their enum, annotations from `request::keys`, profiles from `inventory::profiles`.

use super::args::Cli;
use super::output::Answer;
use super::values::{Shell, request_words};
use clap::builder::PossibleValue;
use clap::{Command, CommandFactory};
use serde_json::json;

const NAME: &str = "gpulease";

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

/// clap's completions for fish have no values for arguments without a name, as
/// in `gpulease install docker`.
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
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut offered(), NAME, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script.push_str(BASH_WORDS_WITH_EQUALS),
        Shell::Zsh => script = zsh_words_with_equals(&script),
        Shell::Fish => fish_values(&Cli::command(), "", &mut script),
    }
    let json = json!({ "shell": generator.to_string(), "script": script });
    Answer::file(script, json)
}
