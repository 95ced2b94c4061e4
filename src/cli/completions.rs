//! `gpulease completions`: the words that a shell offers while a command is typed.
//!
//! They are read from the tables of the parsers: commands and options from clap's, engines from
//! their enum, annotations from `request::keys`, profiles from `inventory::profiles`.

use super::args::Cli;
use super::output::Answer;
use super::values::{Shell, request_words};
use clap::builder::PossibleValue;
use clap::{Command, CommandFactory};
use serde::Serialize;

const NAME: &str = "gpulease";

/// Bash splits `vendor=a` into three words, and puts a space after `vendor=`.
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

/// Zsh puts a space after `count=` unless it is told not to.
fn zsh_words_with_equals(script: &str) -> String {
    let words = request_words().0.join(" ");
    script.replace(&format!(":({words})'"), &format!(":{{compadd -S \"\" - {words}}}'"))
}

/// clap's completions for fish lack the values of positional arguments, as in
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

/// The commands without the hidden ones, which clap's completions would offer.
fn offered() -> Command {
    Cli::command().mut_subcommand("mps", |mps| {
        let seen = mps.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned();
        let about = mps.get_about().cloned().unwrap_or_default();
        Command::new("mps").about(about).args(mps.get_arguments().cloned()).subcommands(seen)
    })
}

#[derive(Debug, Serialize)]
struct CompletionScript {
    shell: String,
    script: String,
}

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
    let view = CompletionScript { shell: generator.to_string(), script };
    Answer::file(view.script.clone(), &view)
}
