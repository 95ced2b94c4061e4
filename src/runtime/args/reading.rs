//! The result of one reading of a command line.

use super::table::Options;
use super::verb::Verb;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A word, or its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArgWord<'a> {
    /// The position of the word.
    at: usize,
    /// The offset of the first byte in the word.
    from: usize,
    pub bytes: &'a [u8],
}

impl<'a> ArgWord<'a> {
    pub(super) fn all(words: &'a [OsString]) -> Vec<Self> {
        let word = |(at, word): (usize, &'a OsString)| Self { at, from: 0, bytes: word.as_bytes() };
        words.iter().enumerate().map(word).collect()
    }

    /// The word without its first bytes.
    pub(super) fn from(self, count: usize) -> Self {
        let bytes = self.bytes.get(count..).unwrap_or_default();
        Self { from: self.from + self.bytes.len() - bytes.len(), bytes, ..self }
    }

    pub(super) fn trimmed(self) -> Self {
        let end = self.bytes.trim_ascii_end();
        let from = end.len() - end.trim_ascii_start().len();
        Self { bytes: end, ..self }.from(from)
    }

    /// Splits the word into a name, and the value behind `=`.
    pub(super) fn split_at_equals(self) -> (Self, Option<Self>) {
        match self.bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                let name = self.bytes.get(..at).unwrap_or_default();
                (Self { bytes: name, ..self }, Some(self.from(at + 1)))
            }
            None => (self, None),
        }
    }

    fn text(self) -> OsString {
        OsStr::from_bytes(self.bytes).to_owned()
    }

    fn given(self) -> Given {
        Given { path: PathBuf::from(self.text()), place: (self.at, self.from) }
    }
}

/// A file that was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub path: PathBuf,
    /// The position of the forwarded word that contains the path, and the offset of the path in it.
    pub(super) place: (usize, usize),
}

/// Why a reading ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The runtime refuses these words.
    Wrong,
    /// The meaning of the words is uncertain, for this reason.
    Unclear(String),
}

impl Stop {
    pub(super) fn unclear(word: ArgWord<'_>, why: &str) -> Self {
        Self::Unclear(format!("`{}` {why}", String::from_utf8_lossy(word.bytes)))
    }
}

/// Guesses for options that are in no table, because a later version of the runtime may have them.
/// All ways are tried. Usually only one of them is a command line that the runtime accepts.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// One bit for each unknown option, in their order: whether it takes the next word.
    bits: u8,
    /// The number of unknown options.
    pub asked: u8,
    /// The first unknown option.
    pub word: Option<String>,
}

impl Guess {
    /// The most unknown options that are tried.
    const MOST: u8 = 4;

    pub(super) fn new(bits: u8) -> Self {
        Self { bits, ..Self::default() }
    }

    /// Whether an unknown option takes the next word.
    pub(super) fn takes_value(
        &mut self,
        word: ArgWord<'_>,
        has_value: bool,
        options: Options,
    ) -> Result<bool, Stop> {
        let name = word.from(2).split_at_equals().0;
        // A program that calls crun would read these differently, whatever its own name is.
        let is_other = !word.bytes.starts_with(b"--") || options.beginning(name.bytes).count() > 0;
        if is_other || self.asked >= Self::MOST {
            return Err(Stop::unclear(word, UNKNOWN));
        }
        if has_value {
            return Ok(false);
        }
        let bit = self.bits >> self.asked & 1;
        self.asked += 1;
        self.word.get_or_insert_with(|| format!("`{}`", String::from_utf8_lossy(word.bytes)));
        Ok(bit == 1)
    }
}

pub(super) const UNKNOWN: &str = "is not known to gpulease";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ParsedWords {
    pub verb: Verb,
    /// Which of the words is the verb.
    pub verb_at: Option<usize>,
    pub root: Option<OsString>,
    pub log: Option<OsString>,
    pub log_json: bool,
    pub bundle: Option<PathBuf>,
    pub config: Option<Given>,
    pub pid_file: Option<PathBuf>,
    pub process: Option<Given>,
    pub resources: Option<Given>,
    pub preserved: u32,
    pub id: Option<OsString>,
    help: bool,
    version: bool,
}

impl ParsedWords {
    pub(super) fn set_verb(&mut self, word: ArgWord<'_>) {
        self.verb = Verb::of(word.bytes);
        self.verb_at = Some(word.at);
    }

    /// Notes an option. Always gives `None`: no further word is needed.
    pub(super) fn note(&mut self, name: &str, value: Option<ArgWord<'_>>) -> Option<&'static str> {
        let Some(value) = value else { return self.switch(name, true) };
        match name {
            "root" => self.root = Some(value.text()),
            "log" => self.log = Some(value.text()),
            "log-format" => self.log_json = value.bytes == b"json",
            "bundle" => self.bundle = Some(value.text().into()),
            "config" => self.config = Some(value.given()),
            "pid-file" => self.pid_file = Some(value.text().into()),
            "process" => self.process = Some(value.given()),
            "resources" => self.resources = Some(value.given()),
            "preserve-fds" => {
                let number = std::str::from_utf8(value.bytes).ok().and_then(|n| n.parse().ok());
                self.preserved = number.unwrap_or(0);
            }
            _ => {}
        }
        None
    }

    /// Notes a switch. Always gives `None`.
    pub(super) fn switch(&mut self, name: &str, is_on: bool) -> Option<&'static str> {
        match name {
            "help" | "usage" => self.help = is_on,
            // Behind the verb the option belongs to the verb.
            "version" => self.version = is_on && self.verb_at.is_none(),
            _ => {}
        }
        None
    }

    /// Notes the words that are no options. Fails if the runtime does not accept so many.
    pub(super) fn set_positional(&mut self, words: &[ArgWord<'_>]) -> Result<(), Stop> {
        self.id = words.first().map(|word| word.text());
        let fits = match self.verb {
            _ if self.help => true,
            Verb::Create | Verb::Run | Verb::Restore | Verb::Delete => words.len() == 1,
            Verb::Exec => !words.is_empty(),
            _ => true,
        };
        if fits { Ok(()) } else { Err(Stop::Wrong) }
    }

    /// The verb that is carried out: if help is requested, the runtime prints it and makes nothing.
    pub(super) fn effective_verb(&self) -> Verb {
        match self.verb {
            _ if self.help => Verb::None,
            _ if self.version => Verb::Version,
            verb => verb,
        }
    }
}
