//! The record of an edit: enough to undo it to the byte, and the backup as well.
//!
//! Records lie in a directory of their own, and not beside the files: engines read whole
//! directories of drop-ins, and a copy of a configuration must not show its passwords to more users
//! than before. The directory survives a reboot, unlike the leases. A record has the text before and
//! the text after: a file that equals the text after has not been changed since. A record is one
//! file, replaced in one step, so it cannot contradict itself after a crash.

use super::config_file::{check_directory_of, make_dirs_above};
use crate::engines::EngineFile;
use crate::failure::Failure;
use crate::model::code::Code;
use crate::sys::atomic::{self, Durability};
use crate::sys::{PathError, checked};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(super) const VERSION: u32 = 1;

/// One file that was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InstallRecord {
    pub(super) v: u32,
    pub(super) engine: String,
    pub(super) path: PathBuf,
    /// `None` if there was no file.
    pub(super) before: Option<String>,
    pub(super) after: String,
    /// The parts that were appended.
    pub(super) added: Vec<String>,
    /// The directories that were made for the file, the outermost first.
    pub(super) made_dirs: Vec<PathBuf>,
}

/// Where the record of a file is, there or not.
#[derive(Debug)]
pub(super) struct RecordFile {
    pub(super) path: PathBuf,
}

impl RecordFile {
    /// In `dir`, under a name that is the file's path with its slashes escaped.
    pub(super) fn of(dir: &Path, file: EngineFile, config: &Path) -> Result<Self, Failure> {
        let dir = std::path::absolute(dir).map_err(PathError::new("resolve", dir))?;
        let config = config.to_string_lossy();
        let config = config.trim_start_matches('/').replace('%', "%25").replace('/', "%2F");
        Ok(Self { path: dir.join(format!("{}:{config}.json", file.name())) })
    }

    /// Those in `dir`, by name backwards: so Podman is told to read a hooks directory no more
    /// before the hook in it is removed.
    pub(super) fn all(dir: &Path) -> Result<Vec<Self>, Failure> {
        // As [`RecordFile::of`] names them.
        let dir = &std::path::absolute(dir).map_err(PathError::new("resolve", dir))?;
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(PathError::new("read", dir)(error).into()),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(PathError::new("read", dir))?.path();
            // Not what a crash has left of a record that was being written.
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(Self { path });
            }
        }
        files.sort_by(|one, other| other.path.cmp(&one.path));
        Ok(files)
    }

    pub(super) fn read(&self) -> Result<Option<InstallRecord>, Failure> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bad = |text: String| {
            let text = format!("cannot use the record `{}`: {text}", self.path.display());
            Failure::new(Code::StateUnavailable, text)
                .hint("move it away; then only what gpulease put in is removed from the file")
        };
        let Some(file) = checked::read_checked(&self.path).map_err(|e| bad(e.to_string()))? else {
            return Ok(None);
        };
        let record: InstallRecord =
            serde_json::from_slice(&file.bytes).map_err(|error| bad(error.to_string()))?;
        if record.v != VERSION {
            return Err(bad(format!("it is of version {}", record.v)));
        }
        Ok(Some(record))
    }

    /// Writes it, for root alone.
    pub(super) fn write(&self, record: &InstallRecord) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(record)
            .map_err(|error| Failure::new(Code::StateUnavailable, error.to_string()))?;
        if let Some(dir) = self.path.parent() {
            make_dirs_above(dir)?;
            atomic::make_dir(dir, 0o700)?;
        }
        // `uninstall` would not believe a record that others could replace.
        check_directory_of(&self.path)?;
        Ok(atomic::replace(&self.path, format!("{text}\n").as_bytes(), Durability::Synced)?)
    }

    pub(super) fn remove(&self) -> Result<(), Failure> {
        Ok(atomic::remove(&self.path)?)
    }
}
