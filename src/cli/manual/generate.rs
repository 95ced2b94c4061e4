//! The tables of the code, written as troff.

use crate::cli::args::Cli;
use crate::request::keys::{KEYS, Key};
use clap::{Arg, Command, CommandFactory};
use std::collections::{BTreeMap, BTreeSet};

/// The blocks between the marks of gpulease(1), by name.
pub(super) fn blocks() -> BTreeMap<String, String> {
    let mut command = Cli::command();
    command.build();
    let mut blocks = BTreeMap::new();
    blocks.insert("synopsis".to_owned(), synopsis(&command));
    blocks.insert("options".to_owned(), command.get_arguments().map(item).collect());
    blocks.insert("annotations".to_owned(), KEYS.iter().map(annotation).collect());
    for (path, leaf) in leaves(&command) {
        let own: String = own_arguments(leaf).map(item).collect();
        if !own.is_empty() {
            // One step deeper than the command's own name.
            blocks.insert(format!("options of {path}"), format!(".RS\n{own}.RE\n"));
        }
    }
    blocks
}

/// The words of every command, but for clap's own `help`.
pub(super) fn commands() -> BTreeSet<String> {
    leaves(&Cli::command()).into_iter().map(|(path, _)| path).collect()
}

/// The commands that have none below them, by their words, but for those that are not for people.
/// clap's own `help` repeats the others.
fn leaves(command: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    let is_listed = |inner: &&Command| inner.get_name() != "help" && !inner.is_hide_set();
    for inner in command.get_subcommands().filter(is_listed) {
        let name = inner.get_name();
        if inner.has_subcommands() {
            let below = leaves(inner).into_iter();
            found.extend(below.map(|(path, leaf)| (format!("{name} {path}"), leaf)));
        } else {
            found.push((name.to_owned(), inner));
        }
    }
    found
}

/// Without those that every command has.
fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let shared = |argument: &&Arg| argument.is_global_set() || argument.get_id() == "help";
    command.get_arguments().filter(move |argument| !shared(argument) && !argument.is_hide_set())
}

fn synopsis(command: &Command) -> String {
    let lines = leaves(command).into_iter().map(|(path, leaf)| {
        let mut line = format!("\\fBgpulease\\fR [\\fIoptions\\fR] \\fB{}\\fR", escaped(&path));
        for argument in own_arguments(leaf) {
            let word = word(argument);
            let is_many = argument.get_num_args().is_some_and(|n| n.max_values() > 1)
                || matches!(argument.get_action(), clap::ArgAction::Append);
            let dots = if is_many { " ..." } else { "" };
            let needed = argument.is_required_set();
            line += &if needed { format!(" {word}") } else { format!(" [{word}{dots}]") };
        }
        line + "\n"
    });
    lines.collect::<Vec<_>>().join(".br\n")
}

/// `--config FILE`, or a positional's name.
fn word(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let value = takes_value.then(|| names.iter().map(|n| format!("\\fI{}\\fR", escaped(n))));
    let value = value.into_iter().flatten();
    let flag = argument.get_long().map(|long| format!("\\fB\\-\\-{}\\fR", escaped(long)));
    flag.into_iter().chain(value).collect::<Vec<_>>().join(" ")
}

fn item(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("\\fB\\-{short}\\fR, "));
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    assert!(!help.is_empty(), "{} has no help", argument.get_id());
    let defaults = argument
        .get_default_values()
        .iter()
        .filter(|_| argument.get_action().takes_values() && !argument.is_hide_default_value_set());
    let default: String =
        defaults.map(|value| format!("Default: {}.\n", troff(&value.to_string_lossy()))).collect();
    let name = word(argument);
    format!(".TP\n{}{name}\n{}{default}", short.unwrap_or_default(), sentence(&help))
}

fn annotation(key: &Key) -> String {
    let mut text =
        format!(".TP\n.B {}\n{}", escaped(key.name), sentence(&with_capital(key.meaning)));
    text += &sentence(&format!("Value: {}", key.syntax));
    text += &sentence(&format!("Default: {}", key.default));
    if let Some(alias) = key.alias {
        text += &sentence(&format!("Also read from `{}`: {}", alias.name, alias.syntax));
    }
    if let Some(note) = key.support.note() {
        text += &sentence(&with_capital(&note));
    }
    text
}

/// One line that ends with a full stop.
fn sentence(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}.\n", troff(words.trim_end_matches('.')))
}

fn with_capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// With what is in backticks in bold.
fn troff(words: &str) -> String {
    let mut text = String::new();
    for (at, part) in words.split('`').enumerate() {
        text += &if at % 2 == 1 { format!("\\fB{}\\fR", escaped(part)) } else { escaped(part) };
    }
    // A line that begins so would be a macro.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn escaped(words: &str) -> String {
    words.replace('\\', "\\e").replace('-', "\\-")
}

/// Troff as it is read: without macros, fonts and escapes, on one line.
pub(super) fn bare(troff: &str) -> String {
    let lines = troff.lines().filter(|line| !line.starts_with(".\\\"")).map(|line| {
        match line.strip_prefix('.').and_then(|line| line.split_once(' ')) {
            Some((_, words)) => words.replace('"', ""),
            None if line.starts_with('.') => String::new(),
            None => line.to_owned(),
        }
    });
    let mut text = lines.collect::<Vec<_>>().join(" ");
    for font in ["\\fB", "\\fI", "\\fR"] {
        text = text.replace(font, "");
    }
    text.replace("\\-", "-").split_whitespace().collect::<Vec<_>>().join(" ")
}
