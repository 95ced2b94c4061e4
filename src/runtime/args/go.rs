//! runc's command line: Go's `flag` package under urfave/cli. `-name` is `--name`, there are no
//! abbreviations and no joined letters, and a switch takes a value only behind `=`.
//!
//! The version of urfave/cli decides which words are options, since `flag` itself stops at the
//! first word that is not one. Version 1 moves the options to the front, by a guess of what their
//! values are, and guesses differently since 1.22.2. Version 3 accepts options anywhere.

use super::reading::{ArgWord, Guess, ParsedWords, Stop};
use super::table::{Opt, Options, Takes};
use super::verb::Verb;
use crate::start::lowlevel::RuntimeKind;

/// How a version finds the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    /// urfave/cli up to 1.22.1: runc 1.1 as its authors build it.
    Old,
    /// urfave/cli from 1.22.2 on: runc 1.1 of distributions, and all of 1.2 and 1.3.
    New,
    Three,
}

pub(super) const FLAVORS: [Flavor; 3] = [Flavor::Old, Flavor::New, Flavor::Three];

/// Fails if runc would refuse the words, or if their meaning is uncertain. The part that was
/// understood until then is kept.
pub(super) fn read(
    words: &[ArgWord<'_>],
    flavor: Flavor,
    parsed: &mut ParsedWords,
    guess: &mut Guess,
) -> Result<(), Stop> {
    let global = Cursor { options: Options::global(RuntimeKind::Runc), flavor, most: 0 };
    let rest = flags(words, global, parsed, guess)?;
    let Some((verb, words)) = rest.split_first() else { return Ok(()) };
    parsed.set_verb(*verb);
    let own = Options::of(RuntimeKind::Runc, parsed.verb, verb.bytes);
    let place = Cursor { options: own, ..global };
    let is_exec = parsed.verb == Verb::Exec;
    let positional = if flavor == Flavor::Three {
        // The words behind the id of an exec are the process's own command line.
        let most = if is_exec { 1 } else { usize::MAX };
        flags(words, Cursor { options: own.with_global(), most, ..place }, parsed, guess)?
    } else if is_exec {
        flags(words, place, parsed, guess)?
    } else {
        flags(&reordered(words, flavor), place, parsed, guess)?
    };
    // A version may lack an option, and take its word for the container, whose name may begin with
    // `-`.
    if positional.is_empty() && words.iter().any(|word| word.bytes == b"--") {
        return Err(Stop::unclear(*verb, "has no container but words behind `--`"));
    }
    parsed.set_positional(&positional)
}

/// Moves the options to the front. An option without `=` takes the next word along, which may be
/// its value.
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

/// A position on the command line.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    options: Options,
    flavor: Flavor,
    /// After this many words that are no options there are no more options.
    most: usize,
}

/// Notes the options, and returns the other words.
fn flags<'a>(
    mut words: &[ArgWord<'a>],
    place: Cursor,
    parsed: &mut ParsedWords,
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
            // Version 3 drops the words behind it.
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
                value => parsed.note(name, value),
            },
            Some(Opt { name, .. }) => {
                parsed.switch(name, is_on(value.map(|value| value.bytes), place.flavor)?)
            }
            None => guess.takes_value(word, value.is_some(), place.options)?.then_some(""),
        };
        if let Some(name) = wants_next {
            let (value, rest) = words.split_first().ok_or(Stop::Wrong)?;
            parsed.note(name, Some(*value));
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
