//! The manual pages against the code.
//!
//! The tables of the code are written into gpulease(1), between the marks `.\" generated: NAME` and
//! `.\" end`: synopsis, options and annotations. `make man` writes them, and a plain test run fails on
//! a page that is not current. The prose around the marks is written by hand. Codes and configuration
//! keys have prose of their own in the pages; a test checks that these are all of them, and no others.
//! Nothing of this is in the program.

mod generate;

use crate::config::Config;
use crate::model::code::Code;
use crate::sys::atomic;
use generate::{bare, blocks, commands};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE_1: &str = "packaging/man/gpulease.1";
const GPULEASE_1: &str = include_str!("../../../packaging/man/gpulease.1");
const CONFIG_5: &str = include_str!("../../../packaging/man/gpulease-config.5");
const HOOK_8: &str = include_str!("../../../packaging/man/gpulease-hook.8");
const RUNTIME_8: &str = include_str!("../../../packaging/man/gpulease-runtime.8");

const BEGIN: &str = ".\\\" generated: ";
const END: &str = ".\\\" end\n";

/// The page with what is between its marks made anew.
fn current(page: &str) -> String {
    let mut blocks = blocks();
    let mut parts = page.split(BEGIN);
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('\n').unwrap();
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("`{name}` has no end"));
        let block = blocks.remove(name);
        let block = block.unwrap_or_else(|| panic!("nothing is called `{name}`, or not twice"));
        text += &format!("{BEGIN}{name}\n{block}{END}{after}");
    }
    let missing: Vec<&String> = blocks.keys().collect();
    assert!(missing.is_empty(), "{PAGE_1} has no place for {missing:?}: add `{BEGIN}…` and an end");
    text
}

#[test]
fn the_generated_parts_are_current() {
    let text = current(GPULEASE_1);
    if std::env::var_os("GPULEASE_WRITE_MAN").is_some() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE_1);
        atomic::create(&page, text.as_bytes(), 0o644).unwrap();
        return;
    }
    let differs = text.lines().zip(GPULEASE_1.lines()).find(|(new, old)| new != old);
    assert!(text == GPULEASE_1, "{PAGE_1} is not current, run `make man`: {differs:?}");
}

/// The text under a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n.SH {heading}\n")).unwrap();
    rest.split_once("\n.SH ").map_or(rest, |(section, _)| section)
}

/// The items of a list: from the line under `.TP` to the text that follows it.
fn items(section: &str) -> Vec<(String, String)> {
    let items = section.split(".TP\n").skip(1);
    items
        .map(|item| {
            let item = item.split(".SS ").next().unwrap();
            let (tag, text) = item.split_once('\n').unwrap();
            (bare(tag), bare(text))
        })
        .collect()
}

/// A page without what is generated.
fn by_hand(page: &str) -> String {
    let mut parts = page.split(BEGIN);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once(END).unwrap().1)
}

#[test]
fn every_command_is_described_and_no_other_is() {
    let page = by_hand(GPULEASE_1);
    let found: BTreeSet<String> =
        items(section(&page, "COMMANDS")).into_iter().map(|i| i.0).collect();
    let mut expected = commands();
    expected.insert("help".to_owned());
    assert_eq!(found, expected);
}

#[test]
fn every_code_is_listed_under_its_exit_status() {
    let mut found = BTreeMap::new();
    let statuses = items(section(GPULEASE_1, "\"EXIT STATUS\"")).into_iter();
    for (status, text) in statuses.filter(|(status, _)| status != "0") {
        for (before, _) in text.match_indices(" : ").map(|(at, _)| text.split_at(at)) {
            let code = before.rsplit(' ').next().unwrap();
            let twice = found.insert(code.to_owned(), status.parse::<u8>().unwrap());
            assert_eq!(twice, None, "{code}");
        }
    }
    let expected = Code::ALL.iter().map(|code| (code.to_string(), code.exit_status()));
    assert_eq!(found, expected.collect());
}

/// The keys that the parser says it expects where it meets one that it does not know.
fn config_keys(table: &str) -> BTreeSet<String> {
    let text = format!("{table}no-such-key = 1\n");
    let error = Config::default().with_text(&text, Path::new("x")).unwrap_err();
    let message = crate::failure::chain(&error);
    let (_, list) = message.split_once("expected one of ").unwrap();
    let names = list.split('`').skip(1).step_by(2);
    names.map(str::to_owned).filter(|name| !matches!(name.as_str(), "policy" | "mps")).collect()
}

#[test]
fn configuration_keys_match_the_parser() {
    let keys = section(CONFIG_5, "KEYS");
    let (top, rest) = keys.split_once(".SS \"In the table [policy]\"\n").unwrap();
    let (policy, mps) = rest.split_once(".SS \"In the table [mps]\"\n").unwrap();
    for (part, table) in [(top, ""), (policy, "[policy]\n"), (mps, "[mps]\n")] {
        let found: BTreeSet<String> = items(part).into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, config_keys(table), "{table}");
    }
}

#[test]
fn configuration_defaults_match_the_example() {
    // config/tests.rs checks that its values are the defaults.
    let example = include_str!("../../../packaging/config.toml");
    let items: BTreeMap<_, _> = items(section(CONFIG_5, "KEYS")).into_iter().collect();
    let mut seen = 0;
    for line in example.lines().filter_map(|line| line.strip_prefix('#')) {
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) else {
            continue;
        };
        let text = &items[key];
        let (_, default) = text.rsplit_once("Default: ").unwrap_or_else(|| panic!("{key}"));
        let list = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let value = match list {
            Some("") => "none".to_owned(),
            Some(list) => list.replace('"', ""),
            None => value.trim_matches('"').to_owned(),
        };
        let default = default.replace(" ,", ",");
        // These depend on the host.
        let is_said = default.trim_end_matches(['.', ' ']) == value;
        assert!(
            is_said || matches!(key, "runtime" | "hook" | "control"),
            "{key}: {default}, not {value}"
        );
        seen += 1;
    }
    assert_eq!(seen, items.len());
}

fn long_options(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !c.is_ascii_lowercase() && c != '-';
    let found = text.match_indices("--").filter(|(at, _)| !text[..*at].ends_with('-'));
    let names = found.map(|(at, _)| text[at..].split(ends).next().unwrap().to_owned());
    names.filter(|name| name.len() > 2).collect()
}

#[test]
fn the_options_of_the_hooks_are_those_that_are_read() {
    let source = include_str!("../../hook/args.rs");
    let (source, _) = source.split_once("#[cfg(test)]").unwrap();
    // The words that `parse` compares with.
    let read: String = source.lines().filter(|line| line.contains("=>")).collect();
    let read = long_options(&read);
    assert!(read.len() >= 4, "{read:?}");
    let tags = items(section(HOOK_8, "OPTIONS")).into_iter().map(|(tag, _)| tag);
    assert_eq!(long_options(&tags.collect::<Vec<_>>().join(" ")), read);
}

#[test]
fn the_runtime_has_one_option_of_its_own() {
    let source = include_str!("../../runtime/args/mod.rs");
    assert_eq!(source.matches("name == b\"gpulease-").count(), 1);
    assert!(source.contains("name == b\"gpulease-config\""));
    let tags = items(section(RUNTIME_8, "OPTIONS"));
    assert_eq!(tags.len(), 1);
    assert_eq!(tags[0].0, "--gpulease-config FILE");
}
