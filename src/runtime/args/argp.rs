//! crun's command line: argp(3) of glibc, which reads the words in their order. Long options may be
//! abbreviated, letters may be joined (`-db/DIR`), and options end at the first word that is not
//! one.

use super::reading::{ArgWord, Guess, ParsedWords, Stop};
use super::table::{Opt, Options, Takes};
use super::verb::Verb;
use crate::start::lowlevel::RuntimeKind;

/// Fails if crun would refuse the words, or if their meaning is uncertain. The part that was
/// understood until then is kept.
pub(super) fn read(
    words: &[ArgWord<'_>],
    parsed: &mut ParsedWords,
    guess: &mut Guess,
) -> Result<(), Stop> {
    let rest = options(words, Options::global(RuntimeKind::Crun), parsed, guess)?;
    let Some((verb, words)) = rest.split_first() else { return Ok(()) };
    parsed.set_verb(*verb);
    let own = Options::of(RuntimeKind::Crun, parsed.verb, verb.bytes);
    let positional = options(words, own, parsed, guess)?;
    parsed.set_positional(positional)?;
    // Without a file the words have to name the process.
    let has_command = positional.len() > 1 || parsed.process.is_some();
    if parsed.verb == Verb::Exec && !has_command { Err(Stop::Wrong) } else { Ok(()) }
}

/// Notes the options, and returns the words behind them.
fn options<'s, 'a>(
    mut words: &'s [ArgWord<'a>],
    options: Options,
    parsed: &mut ParsedWords,
    guess: &mut Guess,
) -> Result<&'s [ArgWord<'a>], Stop> {
    while let Some((word, rest)) = words.split_first() {
        if word.bytes == b"--" {
            return Ok(rest);
        }
        if word.bytes.len() < 2 || !word.bytes.starts_with(b"-") {
            break;
        }
        words = rest;
        let next = if word.bytes.starts_with(b"--") {
            let (name, value) = word.from(2).split_at_equals();
            match long(options, name.bytes, *word)? {
                Some(opt) => take(opt, value, parsed)?,
                None => guess.takes_value(*word, value.is_some(), options)?.then_some(""),
            }
        } else {
            letters(options, word.from(1), *word, parsed)?
        };
        if let Some(name) = next {
            let (value, rest) = words.split_first().ok_or(Stop::Wrong)?;
            parsed.note(name, Some(*value));
            words = rest;
        }
    }
    Ok(words)
}

/// The option with this name, or with a name that begins so.
fn long(options: Options, name: &[u8], word: ArgWord<'_>) -> Result<Option<&'static Opt>, Stop> {
    if let Some(opt) = options.named(name) {
        return Ok(Some(opt));
    }
    let mut all = options.beginning(name);
    match (all.next(), all.next()) {
        // A version that has only one of them accepts it.
        (Some(_), Some(_)) => Err(Stop::unclear(word, "may be more than one option")),
        (found, _) => Ok(found),
    }
}

/// Notes an option, or returns its name if the next word is its value.
fn take(
    opt: &'static Opt,
    value: Option<ArgWord<'_>>,
    parsed: &mut ParsedWords,
) -> Result<Option<&'static str>, Stop> {
    match (opt.takes, value) {
        (Takes::Nothing, Some(_)) => Err(Stop::Wrong),
        (Takes::Value, None) => Ok(Some(opt.name)),
        (_, value) => Ok(parsed.note(opt.name, value)),
    }
}

/// Joined letters. The first one that takes a value has the rest of the word.
fn letters(
    options: Options,
    mut letters: ArgWord<'_>,
    word: ArgWord<'_>,
    parsed: &mut ParsedWords,
) -> Result<Option<&'static str>, Stop> {
    while let Some((letter, _)) = letters.bytes.split_first() {
        let Some(opt) = options.lettered(*letter) else {
            return Err(Stop::unclear(word, "is not known to gpulease"));
        };
        letters = letters.from(1);
        if opt.takes != Takes::Nothing {
            return take(opt, Some(letters).filter(|rest| !rest.bytes.is_empty()), parsed);
        }
        parsed.note(opt.name, None);
    }
    Ok(None)
}
