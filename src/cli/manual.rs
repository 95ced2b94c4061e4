//! The manual pages say what the code does: checked here, since they are written by hand.

use super::args::Cli;
use crate::model::code::Code;
use crate::request::keys::KEYS;
use clap::{Command, CommandFactory};

const GPULEASE_1: &str = include_str!("../../packaging/man/gpulease.1");
const CONFIG_5: &str = include_str!("../../packaging/man/gpulease-config.5");
const HOOK_8: &str = include_str!("../../packaging/man/gpulease-hook.8");

/// The page as it is read: without macros, fonts and escapes, on one line.
fn text(page: &str) -> String {
    let lines = page.lines().filter(|line| !line.starts_with(".\\\"")).map(|line| {
        match line.strip_prefix('.').and_then(|line| line.split_once(' ')) {
            Some((_, words)) => words,
            None => line,
        }
    });
    let mut text = lines.collect::<Vec<_>>().join(" ");
    for font in ["\\fB", "\\fI", "\\fR"] {
        text = text.replace(font, "");
    }
    text.replace("\\-", "-").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn plain(words: &str) -> String {
    words.replace('`', "")
}

#[test]
fn every_code_stands_with_its_exit_status() {
    let page = text(GPULEASE_1);
    let (_, statuses) = page.split_once("EXIT STATUS").unwrap();
    let (statuses, _) = statuses.split_once("ENVIRONMENT").unwrap();
    for code in Code::ALL {
        let (before, _) = statuses.split_once(&format!(" {code} : ")).unwrap_or_else(|| {
            panic!("gpulease(1) does not describe `{code}`");
        });
        let number = before.split(' ').rev().find_map(|word| word.parse::<u8>().ok());
        assert_eq!(number, Some(code.exit_status()), "{code}");
    }
}

#[test]
fn every_key_stands_with_all_that_the_table_says() {
    let page = text(GPULEASE_1);
    for key in KEYS {
        assert!(page.contains(&format!(" {} ", key.name)), "{}", key.name);
        let mut meaning = plain(key.meaning);
        let first = meaning.remove(0).to_ascii_uppercase();
        let notes = key.support.note().map(|note| {
            let mut note = plain(&note);
            let first = note.remove(0).to_ascii_uppercase();
            format!("{first}{note}.")
        });
        let expected = [
            Some(format!("{first}{meaning}.")),
            Some(format!("Value: {}.", plain(key.syntax))),
            Some(format!("Default: {}.", plain(key.default))),
            key.alias.map(|a| format!("Also read from {}: {}.", a.name, plain(a.syntax))),
            notes,
        ];
        for text in expected.iter().flatten() {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(page.contains(&text), "gpulease(1) lacks: {text}");
        }
    }
}

#[test]
fn every_command_and_every_flag_is_described() {
    fn walk(command: &Command, path: &str, page: &str) {
        for long in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{long}")), "gpulease(1) lacks {path}--{long}");
        }
        // clap's own `help` repeats every command below itself.
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            let path = format!("{path}{} ", inner.get_name());
            let is_group = inner.has_subcommands();
            assert!(is_group || page.contains(&format!(" {path}")), "gpulease(1) lacks {path}");
            walk(inner, &path, page);
        }
    }
    let page = text(GPULEASE_1);
    let (_, described) = page.split_once(" COMMANDS ").unwrap();
    let mut command = Cli::command();
    command.build();
    walk(&command, "", described);
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let example = include_str!("../../packaging/config.toml");
    let page = text(CONFIG_5);
    let keys: Vec<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    assert!(keys.len() >= 10, "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!(" {key} ")), "gpulease-config(5) lacks {key}");
    }
}

#[test]
fn every_option_of_the_hooks_is_described() {
    let page = text(HOOK_8);
    for word in ["create-runtime", "poststop", "precreate", "--run-dir", "--key", "--nonce"] {
        assert!(page.contains(word), "gpulease-hook(8) lacks {word}");
    }
}
