//! What one reading of a command line comes to.

use super::table::Options;
use super::verb::Verb;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A word, or the end of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArgWord<'a> {
    /// Which of the words it is.
    at: usize,
    /// From which byte on.
    from: usize,
    pub bytes: &'a [u8],
}

impl<'a> ArgWord<'a> {
    pub(super) fn all(words: &'a [OsString]) -> Vec<Self> {
        let word = |(at, word): (usize, &'a OsString)| Self { at, from: 0, bytes: word.as_bytes() };
        words.iter().enumerate().map(word).collect()
    }

    /// Without its first bytes.
    pub(super) fn from(self, count: usize) -> Self {
        let bytes = self.bytes.get(count..).unwrap_or_default();
        Self { from: self.from + self.bytes.len() - bytes.len(), bytes, ..self }
    }

    pub(super) fn trimmed(self) -> Self {
        let end = self.bytes.trim_ascii_end();
        let from = end.len() - end.trim_ascii_start().len();
        Self { bytes: end, ..self }.from(from)
    }

    /// A name, and the value behind `=`.
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
    /// Which of the forwarded words names it, and from which byte on.
    pub(super) place: (usize, usize),
}

/// Why a reading ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The runtime refuses these words.
    Wrong,
    /// What they are to the runtime cannot be told, with the reason.
    Unclear(String),
}

impl Stop {
    pub(super) fn unclear(word: ArgWord<'_>, why: &str) -> Self {
        Self::Unclear(format!("`{}` {why}", String::from_utf8_lossy(word.bytes)))
    }
}

/// How options are taken that are in no table: a later version of the runtime may have them. All
/// ways are tried, and mostly only one of them is a command line that the runtime takes.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// Of each unknown option in its turn whether it takes the next word.
    bits: u8,
    /// How many there were.
    pub asked: u8,
    /// The first of them.
    pub word: Option<String>,
}

impl Guess {
    /// The most that are tried out.
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
        // A program that calls crun, whatever its own name, would take these for others.
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
pub(super) struct Said {
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

impl Said {
    pub(super) fn set_verb(&mut self, word: ArgWord<'_>) {
        self.verb = Verb::of(word.bytes);
        self.verb_at = Some(word.at);
    }

    /// Takes in an option. For the ends of matches: nothing more is wanted then.
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

    /// Takes in a switch.
    pub(super) fn switch(&mut self, name: &str, is_on: bool) -> Option<&'static str> {
        match name {
            "help" | "usage" => self.help = is_on,
            // Behind the verb it is another's.
            "version" => self.version = is_on && self.verb_at.is_none(),
            _ => {}
        }
        None
    }

    /// The words that are no options. Fails if the runtime takes no such number of them.
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

    /// What is done after all: help is the runtime's to give, and nothing is made then.
    pub(super) fn deed(&self) -> Verb {
        match self.verb {
            _ if self.help => Verb::None,
            _ if self.version => Verb::Version,
            verb => verb,
        }
    }
}
