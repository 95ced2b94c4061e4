//! The keys that must survive a mistake elsewhere in the file.

use super::Config;
use super::values::fault_of_path;
use crate::sys::checked::{FileError, read_checked};
use std::path::{Path, PathBuf};

/// What can be said without understanding the whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lenient {
    /// The low-level runtime, where the file names one.
    pub runtime: Option<PathBuf>,
    /// The state directory, where the file names one.
    pub run_dir: Option<PathBuf>,
    /// How the reading went.
    pub state: LenientState,
}

/// How a lenient reading went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LenientState {
    /// The file was read: a key that is `None` is not in it.
    Read,
    /// There is no file: the defaults hold.
    #[default]
    Missing,
    /// Not TOML, or `runtime` has a value that cannot be one: what the administrator chose cannot
    /// be told.
    Unparsable,
    /// Others could have written the file, so it says nothing.
    Insecure,
    /// The system would not let it be read.
    Unreadable,
}

impl Lenient {
    /// True where the administrator's choice of a runtime may exist but cannot be told, so that
    /// the last good choice is a better guess than the default.
    #[must_use]
    pub const fn wants_last_good_choice(&self) -> bool {
        match self.state {
            LenientState::Read | LenientState::Missing => false,
            LenientState::Unparsable | LenientState::Insecure | LenientState::Unreadable => true,
        }
    }
}

/// Reads only `runtime` and `run_dir`, and never fails: a container without a GPU request must
/// start however wrong the rest is.
#[must_use]
pub fn runtime_leniently(path: &Path) -> Lenient {
    read_once(path).0
}

/// The same, and the whole configuration if there is a file without any mistake: then it need not
/// be read again.
#[must_use]
pub fn read_once(path: &Path) -> (Lenient, Option<Config>) {
    let nothing = |state| (Lenient { state, ..Lenient::default() }, None);
    match read_checked(path) {
        Ok(None) => nothing(LenientState::Missing),
        Ok(Some(file)) => both_from_bytes(&file.bytes, path),
        Err(FileError::Insecure { .. }) => nothing(LenientState::Insecure),
        Err(FileError::Io(_) | FileError::TooLarge { .. }) => nothing(LenientState::Unreadable),
    }
}

/// A file without mistakes is parsed once. What it does not say is the default, so `run_dir` is
/// always told.
pub(super) fn both_from_bytes(bytes: &[u8], path: &Path) -> (Lenient, Option<Config>) {
    let strict = || Config::default().with_text(std::str::from_utf8(bytes).ok()?, path).ok();
    let Some(config) = strict() else { return (from_bytes(bytes), None) };
    let (runtime, run_dir) = (config.runtime.clone(), Some(config.run_dir.clone()));
    (Lenient { runtime, run_dir, state: LenientState::Read }, Some(config))
}

/// The same for the bytes of a file.
pub(super) fn from_bytes(bytes: &[u8]) -> Lenient {
    let table = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<toml::Table>().ok());
    let Some(table) = table else {
        return Lenient { state: LenientState::Unparsable, ..Lenient::default() };
    };
    let path = |key| {
        let text = table.get(key)?.as_str().filter(|text| fault_of_path(text).is_none())?;
        Some(PathBuf::from(text))
    };
    let runtime = path("runtime");
    let state = if runtime.is_none() && table.contains_key("runtime") {
        LenientState::Unparsable
    } else {
        LenientState::Read
    };
    Lenient { runtime, run_dir: path("run_dir"), state }
}
