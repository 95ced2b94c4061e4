//! runc's command line: Go's `flag` package under urfave/cli. `-name` is `--name`, there are no
//! abbreviations and no joined letters, and a switch takes a value only behind `=`.
//!
//! Which words are options depends on the version of urfave/cli, since `flag` itself stops at the
//! first word that is none: version 1 puts the options first, by a guess of what their values are,
//! and guesses otherwise since 1.22.2; version 3 takes them wherever they are.

use super::reading::{ArgWord, Guess, Said, Stop};
use super::table::{Opt, Options, Takes};
use super::verb::Verb;
use crate::start::lowlevel::RuntimeKind;

/// How the version at hand finds the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// urfave/cli up to 1.22.1: runc 1.1, as its makers build it.
    Old,
    /// From 1.22.2 on: distributions' runc 1.1, and all of 1.2 and 1.3.
    New,
    Three,
}

pub(super) const FLAVORS: [Flavor; 3] = [Flavor::Old, Flavor::New, Flavor::Three];

/// Fails if runc would refuse, or what it would do cannot be told. What was
/// understood until then stays.
pub(super) fn read(
    words: &[ArgWord<'_>],
    flavor: Flavor,
    said: &mut Said,
    guess: &mut Guess,
) -> Result<(), Stop> {
    let global = Cursor { options: Options::global(RuntimeKind::Runc), flavor, most: 0 };
    let rest = flags(words, global, said, guess)?;
    let Some((verb, words)) = rest.split_first() else { return Ok(()) };
    said.set_verb(*verb);
    let own = Options::of(RuntimeKind::Runc, said.verb, verb.bytes);
    let place = Cursor { options: own, ..global };
    let is_exec = said.verb == Verb::Exec;
    let positional = if flavor == Flavor::Three {
        // What follows the id of an exec is the process's own command line.
        let most = if is_exec { 1 } else { usize::MAX };
        flags(words, Cursor { options: own.with_global(), most, ..place }, said, guess)?
    } else if is_exec {
        flags(words, place, said, guess)?
    } else {
        flags(&reordered(words, flavor), place, said, guess)?
    };
    // An option that the version does not have may then be the container: its name is allowed to
    // begin with `-`.
    if positional.is_empty() && words.iter().any(|word| word.bytes == b"--") {
        return Err(Stop::unclear(*verb, "has no container but words behind `--`"));
    }
    said.set_positional(&positional)
}

/// The options first, and behind each that has no `=` the word that may be its value.
fn reordered<'a>(words: &[ArgWord<'a>], flavor: Flavor) -> Vec<ArgWord<'a>> {
    let is_new = flavor == Flavor::New;
    let (mut options, mut rest) = (Vec::new(), Vec::new());
    let mut wants_value = false;
    for (at, word) in words.iter().enumerate() {
        let begins = word.bytes.starts_with(b"-");
        let is_option = begins && !matches!(word.bytes, b"-" | b"--");
        if is_new && wants_value && !is_option {
            wants_value = false;
            options.push(*word);
        } else if word.bytes == b"--" {
            if is_new {
                rest.insert(0, *word);
                rest.extend(words.iter().skip(at + 1));
            } else {
                rest.extend(words.iter().skip(at));
            }
            break;
        } else if wants_value && !begins {
            wants_value = false;
            options.push(*word);
        } else if is_option {
            options.push(*word);
            wants_value = !word.bytes.contains(&b'=');
        } else {
            wants_value = false;
            rest.push(*word);
        }
    }
    options.append(&mut rest);
    options
}

/// A place on the command line.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    options: Options,
    flavor: Flavor,
    /// After how many words that are no options there are no more options.
    most: usize,
}

/// Takes the options in; gives the words that are none.
fn flags<'a>(
    mut words: &[ArgWord<'a>],
    place: Cursor,
    said: &mut Said,
    guess: &mut Guess,
) -> Result<Vec<ArgWord<'a>>, Stop> {
    let is_three = place.flavor == Flavor::Three;
    let mut positional = Vec::new();
    while let Some((whole, rest)) = words.split_first() {
        let word = if is_three { whole.trimmed() } else { *whole };
        if word.bytes == b"--" {
            words = rest;
            break;
        }
        let is_option = word.bytes.len() > 1 && word.bytes.starts_with(b"-");
        if positional.len() >= place.most && (!is_option || place.most > 0) {
            break;
        }
        if !is_option {
            positional.push(word);
            // Version 3 forgets what follows it.
            words = if word.bytes == b"-" { &[] } else { rest };
            continue;
        }
        let double = word.bytes.starts_with(b"--");
        if is_three && !double && !word.from(1).bytes.first().is_some_and(u8::is_ascii_alphabetic) {
            break;
        }
        words = rest;
        let (name, value) = word.from(if double { 2 } else { 1 }).split_at_equals();
        if name.bytes.is_empty() || name.bytes.starts_with(b"-") {
            return Err(Stop::Wrong);
        }
        let wants_next = match found(place.options, name.bytes) {
            Some(Opt { name, takes: Takes::Value, .. }) => match value {
                None => Some(*name),
                value => said.note(name, value),
            },
            Some(Opt { name, .. }) => {
                said.switch(name, is_on(value.map(|value| value.bytes), place.flavor)?)
            }
            None => guess.takes_value(word, value.is_some(), place.options)?.then_some(""),
        };
        if let Some(name) = wants_next {
            let (value, rest) = words.split_first().ok_or(Stop::Wrong)?;
            said.note(name, Some(*value));
            words = rest;
        }
    }
    positional.extend(words);
    Ok(positional)
}

/// `flag` makes no difference between a name and a letter.
fn found(options: Options, name: &[u8]) -> Option<&'static Opt> {
    let letter = || match name {
        [letter] => options.lettered(*letter),
        _ => None,
    };
    options.named(name).or_else(letter)
}

fn is_on(value: Option<&[u8]>, flavor: Flavor) -> Result<bool, Stop> {
    match value {
        None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => Ok(true),
        Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => Ok(false),
        Some(b"") if flavor == Flavor::Three => Ok(true),
        Some(_) => Err(Stop::Wrong),
    }
}
