//! The engine's command line, read as the low-level runtime will read it. We look for the few words
//! that concern us, and pass everything on unchanged.
//!
//! Versions of a runtime differ in how they read, and later ones have options that we do not know.
//! So a command line is read in each of these ways. If all ways that the runtime accepts agree, the
//! meaning is certain. If it accepts none, the runtime itself reports the error. Otherwise
//! [`Certainty::Unsure`] has the reason, and no container that may be meant gets a GPU.

mod argp;
mod go;
mod reading;
mod table;
#[cfg(test)]
mod tests;
mod verb;

pub use reading::Given;
pub use verb::Verb;

use crate::start::lowlevel::RuntimeKind;
use reading::{ArgWord, Guess, ParsedWords, Stop, UNKNOWN};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Whether it is certain how the runtime reads its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certainty {
    Sure,
    /// The runtime will refuse them.
    Wrong,
    /// It is uncertain, for this reason.
    Unsure(String),
}

/// The words of one call of the shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Our own option, `--gpulease-config`.
    pub config: Option<PathBuf>,
    /// All arguments but our own, in their order.
    pub forwarded: Vec<OsString>,
}

/// One call, as a runtime reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// All arguments but our own, in their order.
    pub forwarded: Vec<OsString>,
    /// Whether the other fields are certain.
    pub certainty: Certainty,
    pub verb: Verb,
    pub root: Option<String>,
    /// The file of `--log`, if it is one.
    pub log: Option<PathBuf>,
    pub log_json: bool,
    pub bundle: Option<PathBuf>,
    /// The file of `--config`, which replaces the bundle's `config.json`.
    pub config_file: Option<Given>,
    pub pid_file: Option<PathBuf>,
    pub process: Option<Given>,
    pub resources: Option<Given>,
    pub preserved: u32,
    pub id: Option<String>,
    verb_at: Option<usize>,
}

/// Removes our own option from the arguments after `argv[0]`. It may stand anywhere before the
/// verb.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Words {
    let mut words = Words { config: None, forwarded: Vec::new() };
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        let bytes = word.as_bytes();
        let option = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"));
        let Some(option) = option.filter(|option| !option.is_empty()) else {
            words.forwarded.push(word);
            break;
        };
        let mut parts = option.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        if name == b"gpulease-config" {
            let value = value.map(|value| OsStr::from_bytes(value).to_owned());
            words.config = value.or_else(|| args.next()).map(PathBuf::from);
            continue;
        }
        let takes_next = value.is_none() && table::global_takes_value(name);
        words.forwarded.push(word);
        words.forwarded.extend(takes_next.then(|| args.next()).flatten());
    }
    words.forwarded.extend(args);
    words
}

impl Words {
    /// Reads the words as a runtime of this kind does.
    pub fn read(&self, kind: RuntimeKind) -> Invocation {
        let words = ArgWord::all(&self.forwarded);
        let mut readings = Readings::default();
        match kind {
            RuntimeKind::Crun => readings.of(|parsed, guess| argp::read(&words, parsed, guess)),
            RuntimeKind::Runc => {
                for flavor in go::FLAVORS {
                    readings.of(|parsed, guess| go::read(&words, flavor, parsed, guess));
                }
            }
        }
        let certainty = readings.certainty();
        let mut parsed = readings.best();
        if parsed.verb_at.is_none() && certainty != Certainty::Sure {
            parsed.verb = self.likely_verb();
        }
        let verb = parsed.effective_verb();
        let text = |text: OsString| text.to_string_lossy().into_owned();
        Invocation {
            forwarded: self.forwarded.clone(),
            certainty,
            verb,
            root: parsed.root.map(text),
            log: parsed.log.and_then(|log| log_file(&log, kind)),
            log_json: parsed.log_json,
            bundle: parsed.bundle,
            config_file: parsed.config,
            pid_file: parsed.pid_file,
            process: parsed.process,
            resources: parsed.resources,
            preserved: parsed.preserved,
            id: parsed.id.map(text),
            verb_at: parsed.verb_at,
        }
    }

    /// The word that matters most of those that could be the verb.
    fn likely_verb(&self) -> Verb {
        let verbs = self.forwarded.iter().map(|word| Verb::of(word.as_bytes()));
        verbs.max_by_key(|verb| verb.weight()).unwrap_or_default()
    }
}

/// All readings of a command line.
#[derive(Default)]
struct Readings {
    /// The readings that the runtime accepts.
    valid: Vec<ParsedWords>,
    /// The readings that it refuses, as far as they got.
    broken: Vec<ParsedWords>,
    unclear: Option<String>,
    /// The first unknown option.
    unknown: Option<String>,
}

impl Readings {
    fn of(&mut self, read: impl Fn(&mut ParsedWords, &mut Guess) -> Result<(), Stop>) {
        let (mut bits, mut ways) = (0u8, 1u8);
        while bits < ways {
            let (mut parsed, mut guess) = (ParsedWords::default(), Guess::new(bits));
            match read(&mut parsed, &mut guess) {
                Ok(()) if self.valid.contains(&parsed) => {}
                Ok(()) => self.valid.push(parsed),
                Err(stop) => {
                    self.broken.push(parsed);
                    if let Stop::Unclear(why) = stop {
                        self.unclear.get_or_insert(why);
                    }
                }
            }
            ways = ways.max(1 << guess.asked);
            self.unknown = self.unknown.take().or(guess.word);
            bits += 1;
        }
    }

    fn certainty(&self) -> Certainty {
        if let Some(why) = &self.unclear {
            return Certainty::Unsure(why.clone());
        }
        match (self.valid.len(), &self.unknown) {
            (0, _) => Certainty::Wrong,
            (1, _) => Certainty::Sure,
            (_, Some(option)) => Certainty::Unsure(format!("{option} {UNKNOWN}")),
            _ => Certainty::Unsure("versions of runc read its options differently".to_owned()),
        }
    }

    /// The reading that matters most.
    fn best(self) -> ParsedWords {
        let of = |all: Vec<ParsedWords>| {
            all.into_iter().max_by_key(|parsed| parsed.effective_verb().weight())
        };
        let (valid, broken) = (of(self.valid), of(self.broken));
        valid.or(broken).unwrap_or_default()
    }
}

/// crun also accepts `file:PATH`, and targets that are no files.
fn log_file(log: &OsStr, kind: RuntimeKind) -> Option<PathBuf> {
    let bytes = log.as_bytes();
    let is_target = [&b"journald:"[..], b"syslog:"].iter().any(|target| bytes.starts_with(target));
    match bytes.strip_prefix(b"file:") {
        _ if kind == RuntimeKind::Runc => Some(log.into()),
        Some(path) => Some(OsStr::from_bytes(path).into()),
        None => Some(log.into()).filter(|_| !is_target),
    }
}

impl Invocation {
    /// The forwarded words with the given file replaced.
    pub fn with(&self, given: &Given, path: &Path) -> Vec<OsString> {
        let mut words = self.forwarded.clone();
        let (at, from) = given.place;
        if let Some(word) = words.get_mut(at) {
            let mut bytes = std::mem::take(word).into_vec();
            bytes.truncate(from);
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            *word = OsString::from_vec(bytes);
        }
        words
    }

    /// The forwarded words with `--config`, which names a configuration for this container.
    pub fn with_config(&self, path: &Path) -> Vec<OsString> {
        let mut words = self.forwarded.clone();
        let mut option = OsString::from("--config=");
        option.push(path);
        words.insert(self.verb_at.map_or(words.len(), |at| at + 1).min(words.len()), option);
        words
    }

    /// Every bundle that the call could mean if that is uncertain, the current directory among
    /// them.
    pub(super) fn likely_bundles(&self) -> Vec<PathBuf> {
        let mut likely = self.likely("bundle", b'b');
        likely.push(PathBuf::new());
        likely
    }

    /// Every file that the call could mean as the configuration, besides that of a bundle.
    pub(super) fn likely_configs(&self) -> Vec<PathBuf> {
        self.likely("config", b'f')
    }

    /// Whether the call may name a file with the process of an exec.
    pub(super) fn may_have_process(&self) -> bool {
        !self.likely("process", b'p').is_empty()
    }

    /// Whether the call may name a file with the resources of an update.
    pub(super) fn may_have_resources(&self) -> bool {
        !self.likely("resources", b'r').is_empty()
    }

    /// Every word that could be the container's id.
    pub(super) fn likely_ids(&self) -> impl Iterator<Item = &str> {
        self.forwarded.iter().filter_map(|word| word.to_str()).map(str::trim)
    }

    /// The values of an option in every way in which a runtime could read them. A value that is not
    /// in the same word as its option may be any word, since runc reorders words.
    fn likely(&self, name: &str, letter: u8) -> Vec<PathBuf> {
        let words = self.forwarded.iter().map(|word| word.as_bytes());
        let words: Vec<&[u8]> = words.flat_map(|word| [word, word.trim_ascii()]).collect();
        let mut likely: Vec<&[u8]> = Vec::new();
        let mut is_there = false;
        for option in words.iter().filter_map(|word| word.strip_prefix(b"-")) {
            let long = option.strip_prefix(b"-");
            let mut parts = long.unwrap_or(option).splitn(2, |byte| *byte == b'=');
            let begin = parts.next().unwrap_or_default();
            if !begin.is_empty() && name.as_bytes().starts_with(begin) {
                is_there = true;
                likely.extend(parts.next());
            }
            let letters = option.iter().enumerate().filter(|_| long.is_none());
            for (at, _) in letters.filter(|(_, byte)| **byte == letter) {
                is_there = true;
                likely.extend(option.get(at + 1..));
            }
        }
        if is_there {
            likely.extend(&words);
        }
        likely.retain(|value| !value.is_empty());
        likely.into_iter().map(|value| PathBuf::from(OsStr::from_bytes(value))).collect()
    }
}
