//! Command lines, and what runc and crun make of them: Go's `flag` behind urfave/cli, which puts a
//! verb's options first, and GNU's getopt, which takes a beginning of a name for the name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use crate::mutate::Dice;
use std::path::{Path, PathBuf};

/// A runtime whose grammar a line is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    Runc,
    Crun,
}

/// An option: its name, its letter if it has one, and whether it has a value.
type Known = (&'static str, Option<char>, bool);

const RUNC_GLOBAL: &[Known] = &[
    ("debug", None, false),
    ("log", None, true),
    ("log-format", None, true),
    ("root", None, true),
    ("criu", None, true),
    ("systemd-cgroup", None, false),
    ("rootless", None, true),
];
const RUNC_MAKE: &[Known] = &[
    ("bundle", Some('b'), true),
    ("console-socket", None, true),
    ("pidfd-socket", None, true),
    ("pid-file", None, true),
    ("no-pivot", None, false),
    ("no-new-keyring", None, false),
    ("preserve-fds", None, true),
];
const RUNC_RUN: &[Known] =
    &[("detach", Some('d'), false), ("keep", None, false), ("no-subreaper", None, false)];
const CRUN_GLOBAL: &[Known] = &[
    ("debug", None, false),
    ("cgroup-manager", None, true),
    ("systemd-cgroup", None, false),
    ("log", None, true),
    ("log-format", None, true),
    ("no-pivot", None, false),
    ("root", None, true),
    ("rootless", None, true),
];
const CRUN_MAKE: &[Known] = &[
    ("bundle", Some('b'), true),
    ("config", Some('f'), true),
    ("console-socket", None, true),
    ("preserve-fds", None, true),
    ("no-pivot", None, false),
    ("pid-file", None, true),
    ("no-subreaper", None, false),
    ("no-new-keyring", None, false),
];
const CRUN_RUN: &[Known] = &[("detach", Some('d'), false), ("keep", None, false)];

/// The options and the other words of a line, or that it cannot be one.
type Split = Option<(Vec<(&'static str, String)>, Vec<String>)>;

/// Go's `flag`: all options come first, with one dash or two.
fn go(words: &[String], known: &[Known]) -> Split {
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at).filter(|word| word.len() > 1 && word.starts_with('-')) {
        at += 1;
        if word == "--" {
            break;
        }
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let (name, _, valued) = *known.iter().find(|(long, letter, _)| {
            *long == name || letter.is_some_and(|letter| name == letter.to_string())
        })?;
        let value = match (valued, inline) {
            (false, None) => String::new(),
            (false, Some(value)) => {
                let words = [
                    "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
                ];
                words.contains(&value.as_str()).then(String::new)?
            }
            (true, Some(value)) => value,
            (true, None) => {
                at += 1;
                words.get(at - 1)?.clone()
            }
        };
        options.push((name, value));
    }
    Some((options, words[at..].to_vec()))
}

/// urfave/cli v1, `reorderArgs`.
fn reordered(words: &[String], known: &[Known]) -> Vec<String> {
    let is_known = |word: &String| {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        word.starts_with('-')
            && known.iter().any(|(long, letter, _)| {
                *long == name || letter.is_some_and(|letter| name == letter.to_string())
            })
    };
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut may_be_value = false;
    for (at, word) in words.iter().enumerate() {
        if word == "--" {
            rest.extend_from_slice(&words[at..]);
            break;
        } else if may_be_value && !word.starts_with('-') {
            may_be_value = false;
            first.push(word.clone());
        } else if is_known(word) {
            may_be_value = !word.contains('=');
            first.push(word.clone());
        } else {
            rest.push(word.clone());
        }
    }
    first.extend(rest);
    first
}

/// GNU's getopt_long as crun calls it: it stops at the first word that is no option.
fn gnu(words: &[String], known: &[Known]) -> Split {
    let (mut options, mut others) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            others.extend(words.cloned());
            break;
        } else if let Some(name) = word.strip_prefix("--") {
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let exact = known.iter().find(|(long, ..)| *long == name);
            let mut begins = known.iter().filter(|(long, ..)| long.starts_with(name));
            let only = begins.next().filter(|_| begins.next().is_none());
            let (name, _, valued) = *exact.or(only)?;
            let value = match (valued, inline) {
                (false, None) => String::new(),
                (false, Some(_)) => return None,
                (true, Some(value)) => value,
                (true, None) => words.next()?.clone(),
            };
            options.push((name, value));
        } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let (name, _, valued) = *known.iter().find(|(_, own, _)| *own == Some(letter))?;
                let rest: String = if valued { letters.by_ref().collect() } else { String::new() };
                let value = if valued && rest.is_empty() { words.next()?.clone() } else { rest };
                options.push((name, value));
            }
        } else {
            others.push(word.clone());
            others.extend(words.cloned());
            break;
        }
    }
    Some((options, others))
}

/// The spec of the container that this line makes, if it makes one.
pub fn spec_of(words: &[String], grammar: Grammar, cwd: &Path) -> Option<PathBuf> {
    let (_, rest) = match grammar {
        Grammar::Runc => go(words, RUNC_GLOBAL)?,
        Grammar::Crun => gnu(words, CRUN_GLOBAL)?,
    };
    let (verb, rest) = rest.split_first()?;
    let more = match (verb.as_str(), grammar) {
        ("create", _) => &[][..],
        ("run", Grammar::Runc) => RUNC_RUN,
        ("run", Grammar::Crun) => CRUN_RUN,
        _ => return None,
    };
    let (options, ids) = match grammar {
        Grammar::Runc => {
            let known = [RUNC_MAKE, more].concat();
            go(&reordered(rest, &known), &known)?
        }
        Grammar::Crun => gnu(rest, &[CRUN_MAKE, more].concat())?,
    };
    if ids.len() != 1 || ids[0].is_empty() {
        return None;
    }
    let value = |wanted: &str| {
        options.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    };
    let bundle = value("bundle").filter(|dir| !dir.is_empty());
    let bundle = bundle.map_or_else(|| cwd.to_owned(), |dir| cwd.join(dir));
    Some(bundle.join(value("config").unwrap_or_else(|| "config.json".to_owned())))
}

/// Words that are put anywhere. Our own option is not among them: with another configuration, the
/// host's own runtime would be called.
const WORDS: &[&str] = &[
    "--",
    "-",
    "",
    "-d",
    "--detach",
    "--detach=false",
    "--help",
    "-h",
    "--help=false",
    "--version",
    "--debug",
    "--no-pivot",
    "--keep",
    "--systemd-cgroup",
    "--systemd-cgroup=true",
    "--log",
    "x",
    "--log-format",
    "json",
    "--root",
    "--pid-file",
    "--preserve-fds",
    "3",
    "--console-socket",
    "c1",
    "-b",
    "--bundle",
    "--bundle=@asks",
    "-b@asks",
    "-b=@asks",
    "-db@asks",
    "--bundl",
    "--bund=@asks",
    "-bundle",
    "-f",
    "--config",
    "--config=@asks/config.json",
    "-f@asks/config.json",
    "--conf",
    "@asks",
    "@plain",
    "@asks/config.json",
    "@plain/../asks",
    "create",
    "run",
    "restore",
    "exec",
    "--root=x",
    "-root",
    "--rootless=true",
    "\u{fffd}",
    "--no-such=1",
];

/// Other ways to say where the bundle or its spec is.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("bundle", &["-b V", "-bV", "-b=V", "--bundle V", "--bundle=V", "-bundle V", "-bundle=V"]),
    ("bundle", &["--bundl V", "--bun=V", "--b V", "-dbV", "-db V", "-d -bV", "--help=false -b V"]),
    ("config", &["-f V", "-fV", "--config V", "--config=V", "--conf V", "--c=V", "-dfV"]),
];

fn respell(dice: &mut Dice, words: &mut Vec<String>) {
    let at = words.iter().position(|word| {
        ["-b", "--bundle", "-f", "--config"]
            .iter()
            .any(|option| word.split('=').next() == Some(option))
    });
    let Some(at) = at else { return };
    let word = words.remove(at);
    let name = if word.contains('b') { "bundle" } else { "config" };
    let value = match word.split_once('=') {
        Some((_, value)) => value.to_owned(),
        None if at < words.len() => words.remove(at),
        None => return,
    };
    let of_name: Vec<&&str> = SPELLINGS
        .iter()
        .filter(|(own, _)| *own == name)
        .flat_map(|(_, spellings)| spellings.iter())
        .collect();
    let spelled = dice.pick(&of_name).replace('V', &value);
    // In front of or behind the container's name.
    let at = if dice.one_in(3) { words.len() } else { at };
    words.splice(at..at, spelled.split(' ').map(str::to_owned));
}

/// A line of one of the seeds, changed in one to three ways.
pub fn line(dice: &mut Dice, seeds: &[Vec<String>], dir: &Path) -> Vec<String> {
    let mut words = dice.pick(seeds).clone();
    for _ in 0..=dice.below(3) {
        if dice.one_in(2) {
            respell(dice, &mut words);
            continue;
        }
        let at = dice.below(words.len() + 1);
        match dice.below(6) {
            0 if at < words.len() => drop(words.remove(at)),
            1 if at < words.len() => words.swap(at, 0),
            2 if at + 1 < words.len() => {
                let next = words.remove(at + 1);
                let glue = if dice.one_in(2) { "=" } else { "" };
                words[at] = format!("{}{glue}{next}", words[at]);
            }
            3 if at < words.len() => {
                let keep = dice.below(words[at].chars().count() + 1);
                words[at] = words[at].chars().take(keep).collect();
            }
            4 if at < words.len() => {
                let copy = words[at].clone();
                words.insert(at, copy);
            }
            _ => words.insert(at, (*dice.pick(WORDS)).to_owned()),
        }
    }
    words.iter().map(|word| word.replace('@', &format!("{}/", dir.display()))).collect()
}
